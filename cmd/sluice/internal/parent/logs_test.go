package parent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.log")
	if err := setAside(path, 10); err != nil {
		t.Errorf("a log that is not there: %v", err)
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	write := func(text string) {
		t.Helper()
		if _, err := log.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := setAside(path, 10); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	write("short\n")
	if got := read(path); got != "short\n" {
		t.Errorf("a short log holds %q", got)
	}
	write("grown\n")
	if got := read(path + ".1"); got != "short\ngrown\n" {
		t.Errorf("the former log holds %q", got)
	}
	// Who wrote it goes on writing, at the new end.
	write("next\n")
	if got := read(path); got != "next\n" {
		t.Errorf("the log holds %q after it was set aside, want the next line alone", strings.TrimLeft(got, "\x00"))
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the former log is %v, %v; want mode 0600", info, err)
	}
}
