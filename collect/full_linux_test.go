package collect_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNearlyFullDisk fills a real file system: the last of it is not given
// away, and what is refused says so.
func TestNearlyFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
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
	w := newWorldIn(t, dir, 0)
	needed := w.mustUpload(8 * mib)
	w.register("m", needed)
	gone := w.mustUpload(6 * mib)
	_, err := w.upload(6 * mib)
	wantFull(t, err, "the disk is full", "takes 6.0 MiB", "of 16.0 MiB are free", "would free nothing now, and 6.0 MiB")
	w.age()
	w.mustUpload(6 * mib)
	if w.has(gone) || !w.has(needed) {
		t.Error("it collected the wrong things")
	}
}
