package parent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-ml/sluice"
)

func TestWhyEnded(t *testing.T) {
	for _, tt := range []struct{ name, before, text, message, hint string }{
		{"with a hint", "", "{\"level\":\"INFO\"}\nsluice: the database is damaged\n  hint: restore it\n",
			"the server cannot start: the database is damaged", "restore it"},
		{"without a hint", "", "sluice: no\n", "the server cannot start: no", "its log is LOG"},
		{"the last one", "", "sluice: one\n  hint: first\nsluice: two", "the server cannot start: two", "its log is LOG"},
		{"of an earlier run", "sluice: old\n  hint: older\n", "killed\n", "the server ended while starting: exit status 1", "its log is LOG"},
		{"a hint alone", "", "  hint: lost\n", "the server ended while starting: exit status 1", "its log is LOG"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "server.log")
			if err := os.WriteFile(log, []byte(tt.before+tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.hint == "its log is LOG" {
				tt.hint = "its log is " + log
			}
			got, ok := errors.AsType[*sluice.Cause](whyEnded("server", errors.New("exit status 1"), log, int64(len(tt.before))))
			if !ok || got.Message != tt.message || got.Hint != tt.hint {
				t.Errorf("got %+v, want %q with %q", got, tt.message, tt.hint)
			}
		})
	}
}
