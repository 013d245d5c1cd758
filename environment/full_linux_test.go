package environment

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice"
)

// TestDiskFull builds on a real file system of 1 MiB what does not fit.
func TestDiskFull(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("CI mounts a small file system: %v", err)
			}
			t.Skipf("mounting a small file system: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		large := wheel{name: "large", version: "1.0", code: "# " + string(bytes.Repeat([]byte("x"), 2<<20)) + "\n"}
		x := newIndex(t, large)
		b := open(t, Config{Dir: dir, UV: tool, Environ: x.environ(t)})
		_, err := b.Prepare(t.Context(), Spec{Requirements: "large"}, nil)
		wantCause(t, err, sluice.CauseDiskFull, "delete", dir, "free")
		if whole, err := filepath.Glob(filepath.Join(dir, "envs", "*", marker)); err != nil || len(whole) > 0 {
			t.Errorf("taken for whole: %v, %v", whole, err)
		}
	})
}
