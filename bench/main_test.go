package main

import (
	"strings"
	"testing"
)

// A group that does not exist is refused before anything is measured, with
// those that do.
func TestUnknownGroup(t *testing.T) {
	err := run(t.Context(), t.TempDir(), []string{"gateway", "los"})
	if err == nil || !strings.Contains(err.Error(), `"los"`) || !strings.Contains(err.Error(), "startup, environment, causes, loss, soak") {
		t.Errorf("got %v", err)
	}
}
