package main

import (
	"strings"
	"testing"

	"github.com/sluice-ml/sluice/cmd/sluice/internal/parent"
)

// Who calls another version than the one that runs is told so, and how to change.
func TestUpNamesAnotherVersionThatRuns(t *testing.T) {
	for running, want := range map[string]bool{"1.1": false, "1.0": true} {
		var said strings.Builder
		upOptions{version: "1.1"}.already(&said, parent.State{Version: running})
		warned := strings.Contains(said.String(), "version 1.0 runs, and this is 1.1") && strings.Contains(said.String(), "hint: `sluice down && ")
		if warned != want || !strings.HasPrefix(said.String(), "Sluice is up already.\n") {
			t.Errorf("%s runs: %q", running, said.String())
		}
	}
}
