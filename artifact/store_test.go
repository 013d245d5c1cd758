package artifact_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/artifact/artifacttest"
)

func open(t *testing.T) (*artifact.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := artifact.OpenWith(dir, artifact.Options{PartSize: partSize})
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

const partSize = 64 << 10

func TestConformance(t *testing.T) {
	artifacttest.Run(t, func(t *testing.T) artifacttest.Store {
		s, _ := open(t)
		return s
	})
}

// TestOtherFileSystem places files where no link can be made.
func TestOtherFileSystem(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "sluice-test-")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI needs a second file system: %v", err)
		}
		t.Skipf("no second file system: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	artifacttest.Run(t, func(t *testing.T) artifacttest.Store {
		dir, err := os.MkdirTemp(shm, "")
		if err != nil {
			t.Fatal(err)
		}
		s, err := artifact.OpenWith(dir, artifact.Options{PartSize: partSize})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// TestWrittenThrough writes into the store through a materialised file, as a
// program of the same user can.
func TestWrittenThrough(t *testing.T) {
	s, _ := open(t)
	content := []byte("the model")
	digest := sluice.DigestBytes(content)
	put := func() {
		t.Helper()
		if err := s.PutBlob(t.Context(), digest, int64(len(content)), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	put()
	tree, err := s.PutTree(t.Context(), sluice.Tree{Files: []sluice.TreeFile{{Path: "m", Size: 9, Digest: digest}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "m")
	if err := s.Materialize(t.Context(), tree, dir); err != nil {
		t.Fatal(err)
	}
	placed := filepath.Join(dir, "m")
	if err := os.Chmod(placed, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(placed, []byte("an attack"), 0o644); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "m")
	if err := s.Materialize(t.Context(), tree, elsewhere); err == nil {
		if got, _ := os.ReadFile(filepath.Join(elsewhere, "m")); !bytes.Equal(got, content) {
			t.Fatalf("materialised %q", got)
		}
	} else if sluice.ErrorCode(err) != sluice.CodeNotFound {
		t.Fatal(err)
	}
	put()
	for _, d := range []string{elsewhere, dir} {
		if err := s.Materialize(t.Context(), tree, d); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(d, "m")); err != nil || !bytes.Equal(got, content) {
			t.Errorf("after the upload was repeated: %q, %v", got, err)
		}
	}
}

// TestTouched changes a blob's time and not its bytes, as a backup tool may.
func TestTouched(t *testing.T) {
	s, dir := open(t)
	digest := sluice.DigestBytes([]byte("x"))
	if err := s.PutBlob(t.Context(), digest, 1, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "blobs", digest[7:9], digest[7:])
	if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if missing, err := s.Missing(t.Context(), []string{digest}); err != nil || len(missing) > 0 {
		t.Errorf("missing is %v, %v", missing, err)
	}
}

// TestOpenSweeps checks that what killed uploads left is removed, and what a
// live one may be writing is not.
func TestOpenSweeps(t *testing.T) {
	_, dir := open(t)
	old, fresh := filepath.Join(dir, "tmp", "put-1"), filepath.Join(dir, "tmp", "put-2")
	for _, p := range []string{old, fresh} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(old, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("the fresh one: %v", err)
	}
}

// TestBrokenUploadLeavesNothing reads every file of the store after a put that
// failed half way.
func TestBrokenUploadLeavesNothing(t *testing.T) {
	s, dir := open(t)
	digest := sluice.DigestBytes([]byte("abc"))
	broken := io.MultiReader(strings.NewReader("ab"), errReader{})
	if err := s.PutBlob(t.Context(), digest, 3, broken); err == nil {
		t.Fatal("a broken upload was taken")
	}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "lock" {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }
