package artifact_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
)

// TestDiskFull fills a real file system of 1 MiB.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	mountSmall(t, dir)
	s, err := artifact.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	small := bytes.Repeat([]byte("s"), 600<<10)
	if err := s.PutBlob(t.Context(), sluice.DigestBytes(small), int64(len(small)), bytes.NewReader(small)); err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("l"), 800<<10)
	wantDiskFull(t, s.PutBlob(t.Context(), sluice.DigestBytes(large), int64(len(large)), bytes.NewReader(large)))

	// The space goes while the upload runs.
	late := bytes.Repeat([]byte("m"), 300<<10)
	in := &fillingReader{r: bytes.NewReader(late), fill: func() {
		if err := os.WriteFile(dir+"/filler", bytes.Repeat([]byte("f"), 200<<10), 0o600); err != nil {
			t.Error(err)
		}
	}}
	wantDiskFull(t, s.PutBlob(t.Context(), sluice.DigestBytes(late), int64(len(late)), in))

	// Where files cannot be linked from elsewhere, placing them needs room too.
	other, err := artifact.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := sluice.DigestBytes(large)
	if err := other.PutBlob(t.Context(), d, int64(len(large)), bytes.NewReader(large)); err != nil {
		t.Fatal(err)
	}
	tree, err := other.PutTree(t.Context(), sluice.Tree{Files: []sluice.TreeFile{{Path: "m", Size: int64(len(large)), Digest: d}}})
	if err != nil {
		t.Fatal(err)
	}
	wantDiskFull(t, other.Materialize(t.Context(), tree, dir+"/m"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".m") || e.Name() == "m" {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

// TestDiskFullWithinParts fills a real file system while a file arrives in
// parts. What has arrived counts, and the rest follows once there is room.
func TestDiskFullWithinParts(t *testing.T) {
	dir := t.TempDir()
	mountSmall(t, dir)
	s, err := artifact.OpenWith(dir, artifact.Options{PartSize: partSize})
	if err != nil {
		t.Fatal(err)
	}
	if err := putPart(t, s, 0, nil); err != nil {
		t.Fatal(err)
	}
	content, l := largeFile()
	filler := dir + "/filler"
	in := &fillingReader{r: io.MultiReader(bytes.NewReader(content[partSize:partSize+100]), bytes.NewReader(content[partSize+100:2*partSize])), fill: func() {
		for {
			f, err := os.OpenFile(filler, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
			if err != nil {
				t.Error(err)
				return
			}
			_, err = f.Write(make([]byte, 4096))
			f.Close()
			if err != nil {
				return
			}
		}
	}}
	wantDiskFull(t, putPart(t, s, 1, in))
	if have, err := s.Parts(t.Context(), l); err != nil || !slices.Equal(have, []int{0}) {
		t.Errorf("the parts %v are there, %v", have, err)
	}
	wantDiskFull(t, putPart(t, s, 1, nil))
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := putPart(t, s, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Join(t.Context(), l); err != nil {
		t.Error(err)
	}
}

// mountSmall mounts a file system of 1 MiB.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
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
}

func wantDiskFull(t *testing.T, err error) {
	t.Helper()
	var c *sluice.Cause
	if !errors.As(err, &c) || c.Code != sluice.CauseDiskFull {
		t.Fatalf("got %v, want a full disk", err)
	}
	if !strings.Contains(c.Hint, "sluice prune") {
		t.Errorf("%q does not name the next step", c.Hint)
	}
	if !strings.Contains(c.Message, "free") {
		t.Errorf("%q does not tell the free space", c.Message)
	}
}

// fillingReader calls fill before its second read.
type fillingReader struct {
	r     io.Reader
	fill  func()
	reads int
}

func (f *fillingReader) Read(p []byte) (int, error) {
	if f.reads++; f.reads == 2 {
		f.fill()
	}
	return f.r.Read(p)
}
