package artifact

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

// waitsFor reports whether somebody waits for the lock file.
func waitsFor(t *testing.T, path string) bool {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	inode := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "-> FLOCK") && strings.Contains(line, inode) {
			return true
		}
	}
	return false
}

// TestSweepWaitsForAPromise has the collection decide that a blob may go just
// before somebody is told that it is there: it must see the promise.
func TestSweepWaitsForAPromise(t *testing.T) {
	for name, sweep := range map[string]Sweep{"blob": {Keep: keeping()}, "parts": {OnlyLeftovers: true}} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			f := blob(t, s, "content")
			dir := filepath.Join(s.dir, "parts", "some")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			have := filepath.Join(dir, "have")
			if err := os.WriteFile(have, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if name == "blob" {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			age(t, s)
			unlock, err := s.lockShared()
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := s.Sweep(t.Context(), sweep)
				done <- err
			}()
			deadline := time.After(time.Minute)
			for !waitsFor(t, filepath.Join(s.dir, "lock")) {
				select {
				case err := <-done:
					t.Fatalf("it did not wait: %v", err)
				case <-deadline:
					t.Fatal("it never came")
				case <-time.After(time.Millisecond):
				}
			}
			now := time.Now()
			if name == "blob" {
				err = s.use(t.Context(), f.Digest)
			} else {
				err = os.Chtimes(have, now, now)
			}
			unlock()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			left := map[string]string{"blob": s.blobPath(f.Digest), "parts": have}[name]
			if _, err := os.Stat(left); err != nil {
				t.Errorf("what was promised is gone: %v", err)
			}
		})
	}
}

// TestPromisesWaitForASweep asks while something is removed: the answer comes
// afterwards.
func TestPromisesWaitForASweep(t *testing.T) {
	s := newStore(t)
	f := blob(t, s, "content")
	d := tree(t, s, f)
	for name, ask := range map[string]func() error{
		"missing":    func() error { _, err := s.Missing(t.Context(), []string{f.Digest}); return err },
		"put again":  func() error { return s.PutBlob(t.Context(), f.Digest, f.Size, strings.NewReader("")) },
		"tree put":   func() error { _, err := s.PutTree(t.Context(), sluice.Tree{Files: []sluice.TreeFile{f}}); return err },
		"tree asked": func() error { _, err := s.HasTree(t.Context(), d); return err },
		"parts": func() error {
			_, err := s.Parts(t.Context(), sluice.LargeFile{Digest: f.Digest, Size: 9999})
			return err
		},
		"parts to come": func() error { return s.openStaging(filepath.Join(s.dir, "parts", "new")) },
	} {
		unlock, err := s.lockAlone()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- ask() }()
		deadline := time.After(time.Minute)
		for !waitsFor(t, filepath.Join(s.dir, "lock")) {
			select {
			case err := <-done:
				t.Fatalf("%s: it did not wait: %v", name, err)
			case <-deadline:
				t.Fatalf("%s: it never came", name)
			case <-time.After(time.Millisecond):
			}
		}
		unlock()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
