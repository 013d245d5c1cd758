//go:build unix

package disk_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-ml/sluice/disk"
)

const size = 256 << 10

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
		t.Fatal(err)
	}
}

// near allows for what folders take.
func near(got, want int64) bool { return got >= want && got < want+size/2 }

func TestHardLinksCountOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "one"))
	write(t, filepath.Join(dir, "b", "two"))
	if err := os.Link(filepath.Join(dir, "a", "one"), filepath.Join(dir, "b", "same")); err != nil {
		t.Fatal(err)
	}
	used, err := disk.Of(t.Context(), filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "never"))
	if err != nil || !near(used, 2*size) {
		t.Errorf("both folders take %d (%v), want %d", used, err, 2*size)
	}
	for _, c := range []struct {
		dirs []string
		used int64
		free int64
	}{
		{[]string{"a"}, size, 0}, // its file has a name in b
		{[]string{"b"}, 2 * size, size},
		{[]string{"a", "b"}, 2 * size, 2 * size},
	} {
		var count disk.Count
		for _, d := range c.dirs {
			if err := count.AddTree(t.Context(), filepath.Join(dir, d)); err != nil {
				t.Fatal(err)
			}
		}
		if !near(count.Used(), c.used) || !near(count.Freed(), c.free) {
			t.Errorf("%v: used %d and freed %d, want %d and %d", c.dirs, count.Used(), count.Freed(), c.used, c.free)
		}
	}
}

// A sparse file takes what was written of it.
func TestSparse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sparse")
	write(t, path)
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	if used, err := disk.Of(t.Context(), dir); err != nil || !near(used, size) {
		t.Errorf("it takes %d (%v), want %d", used, err, size)
	}
}

func TestRoom(t *testing.T) {
	room, ok := disk.At(filepath.Join(t.TempDir(), "not", "yet"))
	if !ok || room.Bytes <= 0 || room.Size < room.Bytes {
		t.Errorf("got %+v, %v", room, ok)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := disk.Of(ctx, t.TempDir()); err == nil {
		t.Error("it went on")
	}
}
