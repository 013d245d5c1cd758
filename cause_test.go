package sluice

import (
	"strings"
	"testing"
)

// What comes from an instance ends up on terminals.
func TestCleanedCause(t *testing.T) {
	c := Cause{Message: "run() raised \x1b[2J\u202egnp.exe\u202c \tOK\xff", File: "score\n.py", Evidence: []string{"a\rb", "日本語 \u200demoji"}}.Clean()
	for what, got := range map[string]struct{ have, want string }{
		"message":  {c.Message, "run() raised  [2J gnp.exe  \tOK?"},
		"file":     {c.File, "score .py"},
		"evidence": {strings.Join(c.Evidence, "|"), "a b|日本語 \u200demoji"},
	} {
		if got.have != got.want {
			t.Errorf("%s: %q, want %q", what, got.have, got.want)
		}
	}
}
