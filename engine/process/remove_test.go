//go:build linux || darwin

package process

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What an instance has written is removed however deep it is, whatever its
// modes, and whatever links it holds.
func TestWhatAnInstanceWroteIsRemoved(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = 200
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	kept := filepath.Join(t.TempDir(), "kept")
	run := filepath.Join(t.TempDir(), "run")
	if err := errors.Join(os.MkdirAll(filepath.Join(kept, "d"), 0o755), os.WriteFile(filepath.Join(kept, "f"), nil, 0o600), os.Mkdir(run, 0o700)); err != nil {
		t.Fatal(err)
	}
	deep(t, run, 3000)
	err := errors.Join(
		os.Symlink(kept, filepath.Join(run, "link")), os.Symlink("/", filepath.Join(run, "root")),
		os.MkdirAll(filepath.Join(run, ".moved-1", "taken"), 0o700), os.WriteFile(filepath.Join(run, ".moved-2"), nil, 0),
		os.MkdirAll(filepath.Join(run, "a", "closed", "b"), 0o700), os.Symlink(kept, filepath.Join(run, "a", "closed", "link")),
		os.Chmod(filepath.Join(run, "a", "closed"), 0), os.Chmod(filepath.Join(run, "a"), 0o100),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := removeWritten(run); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(run); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there still: %v", err)
	}
	if entries, err := os.ReadDir(kept); err != nil || len(entries) != 2 {
		t.Errorf("what links led to holds %v, %v", entries, err)
	}
	if err := removeWritten(run); err != nil {
		t.Errorf("removing nothing: %v", err)
	}
}

// deep makes folders in folders, from the innermost out.
func deep(t *testing.T, in string, levels int) {
	t.Helper()
	inner := filepath.Join(in, "x0")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range levels {
		outer := filepath.Join(in, "x"+string(rune('1'+i%2)))
		if err := errors.Join(os.Mkdir(outer, 0o700), os.Rename(inner, filepath.Join(outer, "d"))); err != nil {
			t.Fatal(err)
		}
		inner = outer
	}
}
