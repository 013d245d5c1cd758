package artifact_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/smalldisk"
)

// some is a file of several pages.
var some = bytes.Repeat([]byte("some"), 3000)

// wholeTree is a tree of some, with a listing of several pages too.
func wholeTree(executable bool) sluice.Tree {
	var t sluice.Tree
	for i := range 20 {
		t.Files = append(t.Files, sluice.TreeFile{Path: fmt.Sprintf("folder%02d/file", i), Size: int64(len(some)), Digest: sluice.DigestBytes(some), Executable: executable && i == 0})
	}
	return t
}

func openAt(t *testing.T, dir string) *artifact.Store {
	t.Helper()
	s, err := artifact.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *artifact.Store) error {
	return s.PutBlob(t.Context(), sluice.DigestBytes(some), int64(len(some)), bytes.NewReader(some))
}

// untidy gives the files below dir that are only there while something is
// written.
func untidy(t *testing.T, dir string) (left []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if strings.HasPrefix(e.Name(), "put-") || strings.HasPrefix(e.Name(), ".") {
			left = append(left, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// Each write of each step finds no room once. What failed is not there, not
// even in part, and with room again it succeeds.
func TestEveryStepOnAFullDisk(t *testing.T) {
	small := smalldisk.New(t, 2<<20)
	elsewhere := openAt(t, t.TempDir())
	if err := put(t, elsewhere); err != nil {
		t.Fatal(err)
	}
	far, err := elsewhere.PutTree(t.Context(), wholeTree(true))
	if err != nil {
		t.Fatal(err)
	}
	dir := small.Dir
	placed := filepath.Join(dir, "placed")
	for name, step := range map[string]struct {
		ground func() // what is done while there is room
		do     func() error
		absent func() (bool, error) // whether nothing can be seen of it
		pages  bool
	}{
		"open": {
			ground: func() {},
			do:     func() error { _, err := artifact.Open(dir); return err },
			absent: func() (bool, error) { return true, nil },
		},
		"a file": {
			pages:  true,
			ground: func() { openAt(t, dir) },
			do:     func() error { return put(t, openAt(t, dir)) },
			absent: func() (bool, error) {
				missing, err := openAt(t, dir).Missing(t.Context(), []string{sluice.DigestBytes(some)})
				return len(missing) == 1, err
			},
		},
		"a listing": {
			pages: true,
			ground: func() {
				if err := put(t, openAt(t, dir)); err != nil {
					t.Fatal(err)
				}
			},
			do: func() error { _, err := openAt(t, dir).PutTree(t.Context(), wholeTree(false)); return err },
			absent: func() (bool, error) {
				has, err := openAt(t, dir).HasTree(t.Context(), wholeTree(false).Digest())
				return !has, err
			},
		},
		"placing by link": {
			pages: true, // of the copy that may be run
			ground: func() {
				s := openAt(t, dir)
				if err := put(t, s); err != nil {
					t.Fatal(err)
				}
				if _, err := s.PutTree(t.Context(), wholeTree(true)); err != nil {
					t.Fatal(err)
				}
			},
			do:     func() error { return openAt(t, dir).Materialize(t.Context(), wholeTree(true).Digest(), placed) },
			absent: func() (bool, error) { _, err := os.Lstat(placed); return errors.Is(err, os.ErrNotExist), nil },
		},
		"placing by copy": {
			pages:  true,
			ground: func() {},
			do:     func() error { return elsewhere.Materialize(t.Context(), far, placed) },
			absent: func() (bool, error) { _, err := os.Lstat(placed); return errors.Is(err, os.ErrNotExist), nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			failed := func(scarce string, err error) {
				wantDiskFull(t, err)
				small.Free() // looking may need a name
				if absent, err := step.absent(); err != nil || !absent {
					t.Errorf("%s: something of it can be seen, %v", scarce, err)
				}
				if left := untidy(t, dir); len(left) > 0 {
					t.Errorf("%s: left behind: %q", scarce, left)
				}
			}
			for _, each := range []func(func(string) error, func(string, error)){small.EachPage, small.EachName} {
				small.Empty()
				step.ground()
				if step.pages {
					each(func(string) error { return step.do() }, failed)
				}
				step.pages = true // names all steps need
				if absent, err := step.absent(); name != "open" && (err != nil || absent) {
					t.Errorf("with room again it is not there, %v", err)
				}
			}
		})
	}
}
