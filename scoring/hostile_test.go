//go:build unix

package scoring

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/scoring/frame"
)

// What a worker says of its failed start is the script's to forge: whatever is
// in it, it stays small, and the server comes to its end.
func TestForgedCauseIsBounded(t *testing.T) {
	long := strings.Repeat("\x1b\"\\", 20_000)
	forged := sluice.Cause{Code: sluice.CauseCode(long), Message: long, File: long, Hint: long, Instance: long,
		Evidence: slices.Repeat([]string{"\x1b[2J"}, 100_000)}
	meta, err := json.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{pool: NewPool(Settings{}, NewLog(io.Discard, 1)), phase: PhaseImport}
	if err := w.advance(frame.Frame{Type: frame.Failed, Meta: meta}, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(w.failed.Message) + len(w.failed.Evidence); n > 10_000 || strings.Contains(w.failed.Message, "\x1b") {
		t.Errorf("the cause is kept as it was sent: %d", n)
	}
	for _, cause := range []*sluice.Cause{&forged, w.failed} {
		short := *cause
		short.Evidence = short.Evidence[:min(len(short.Evidence), 50)]
		text, err := encodeTermination(&short)
		var back sluice.Cause
		if err != nil || len(text) > MaxTermination || json.Unmarshal(text, &back) != nil {
			t.Errorf("the termination file has %d bytes, %v", len(text), err)
		}
	}
}

// Each phase is news that the server keeps: a script cannot send them for ever.
func TestPhasesGoOn(t *testing.T) {
	w := &worker{pool: NewPool(Settings{AskAfter: time.Hour}, NewLog(io.Discard, 1)), phase: PhaseStarting}
	send := func(kind frame.Type, meta string) error {
		return w.advance(frame.Frame{Type: kind, Meta: []byte(meta)}, nil)
	}
	for _, step := range []struct {
		kind frame.Type
		meta string
		ok   bool
	}{
		{frame.Phase, `{"phase":"import"}`, true},
		{frame.Phase, `{"phase":"import"}`, false},
		{frame.Phase, `{"phase":"init"}`, true},
		{frame.Phase, `{"phase":"import"}`, false},
		{frame.Ready, `{}`, true},
		{frame.Phase, `{"phase":"init"}`, false},
		{frame.Ready, `{}`, false},
	} {
		if err := send(step.kind, step.meta); (err == nil) != step.ok {
			t.Errorf("in phase %q frame %d with %s gives %v", w.phase, step.kind, step.meta, err)
		}
	}
}

// A script that writes where only the worker may is told that, and not that its
// memory ran out: it was we who killed it.
func TestGarbageIsTheCause(t *testing.T) {
	err := fails(t, "import os, time\ndef init():\n    os.write(3, b'x' * 1000)\n    time.sleep(60)\ndef run(data):\n    return 1\n")
	cause, ok := errors.AsType[*sluice.Cause](err)
	if !ok || cause.Code != sluice.CauseInternal || !strings.Contains(cause.Message, "cannot be understood") || cause.Hint == "" {
		t.Errorf("the cause is %v", err)
	}
}

// Whatever a script has put in the place of its last words, the cause is
// written there and nowhere else.
func TestTerminationFileIsMadeAnew(t *testing.T) {
	cause := &sluice.Cause{Code: sluice.CauseInitRaised, Message: "ValueError"}
	for name, put := range map[string]func(t *testing.T, path string){
		"nothing": func(*testing.T, string) {},
		"a pipe": func(t *testing.T, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a link": func(t *testing.T, path string) {
			if err := os.Symlink(filepath.Join(filepath.Dir(path), "aim"), path); err != nil {
				t.Fatal(err)
			}
		},
		"a full folder": func(t *testing.T, path string) {
			if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "termination")
			put(t, path)
			if err := writeTermination(path, cause); err != nil {
				t.Fatal(err)
			}
			info, err := os.Lstat(path)
			if err != nil || !info.Mode().IsRegular() {
				t.Fatalf("there is %v, %v", info, err)
			}
			var back sluice.Cause
			text, err := os.ReadFile(path)
			if err != nil || json.Unmarshal(text, &back) != nil || back.Message != cause.Message {
				t.Errorf("the file holds %q, %v", text, err)
			}
			if _, err := os.Lstat(filepath.Join(filepath.Dir(path), "aim")); err == nil {
				t.Error("the link was followed")
			}
		})
	}
}
