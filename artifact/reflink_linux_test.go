package artifact

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// TestReflink places a file on a file system that can share blocks: it has an
// inode of its own, so that nobody writes into the store through it, and takes
// no room.
func TestReflink(t *testing.T) {
	dir := newXFS(t)
	s, err := Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 32 << 20
	content := strings.Repeat("reflink!", size/8)
	f := sluice.TreeFile{Path: "weights", Size: size, Digest: sluice.DigestBytes([]byte(content))}
	if err := s.PutBlob(t.Context(), f.Digest, f.Size, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	before := freeBytes(t, dir)
	placed := filepath.Join(dir, "placed")
	if err := s.Materialize(t.Context(), tree(t, s, f), placed); err != nil {
		t.Fatal(err)
	}
	if took := before - freeBytes(t, dir); took > size/8 {
		t.Errorf("placing %d bytes took %d of the disk", size, took)
	}
	own, err := os.Stat(filepath.Join(placed, "weights"))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := os.Stat(s.blobPath(f.Digest))
	if err != nil || os.SameFile(own, blob) || own.Mode() != 0o444 {
		t.Errorf("the placed file is %v, the store's %v, %v", own, blob, err)
	}
	if got, err := os.ReadFile(filepath.Join(placed, "weights")); err != nil || string(got) != content {
		t.Errorf("the placed file holds %d other bytes, %v", len(got), err)
	}
}

func freeBytes(t *testing.T, dir string) int64 {
	t.Helper()
	if err := exec.Command("sync", "-f", dir).Run(); err != nil {
		t.Fatal(err)
	}
	room, ok := disk.At(dir)
	if !ok {
		t.Fatalf("no room is told of %s", dir)
	}
	return room.Bytes
}

// newXFS mounts a fresh XFS from a file.
func newXFS(t *testing.T) string {
	t.Helper()
	absent := func(what string) {
		t.Helper()
		if os.Getenv("CI") == "true" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
	if os.Geteuid() != 0 {
		absent("it takes root to mount a file system")
	}
	if _, err := exec.LookPath("mkfs.xfs"); err != nil {
		absent("mkfs.xfs is not installed (package xfsprogs)")
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	const least = 320 << 20 // mkfs.xfs makes none below 300 MB; the file is sparse
	if err := f.Truncate(least); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, command := range [][]string{{"mkfs.xfs", "-q", "-m", "reflink=1", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command[0], err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}
