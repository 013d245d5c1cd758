// Package artifacttest is the conformance suite for stores of content: every
// place that keeps blobs and trees passes it.
//
//	artifacttest.Run(t, func(t *testing.T) artifacttest.Store { … })
//
// It is for tests only. Each subtest opens a store of its own.
package artifacttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
)

// Store is what a store of content promises; package artifact documents it.
type Store interface {
	Missing(ctx context.Context, digests []string) ([]string, error)
	PutBlob(ctx context.Context, digest string, size int64, r io.Reader) error
	OpenBlob(ctx context.Context, digest string) (io.ReadCloser, error)
	PutTree(ctx context.Context, t sluice.Tree) (string, error)
	HasTree(ctx context.Context, digest string) (bool, error)
	GetTree(ctx context.Context, digest string) (sluice.Tree, error)
	Materialize(ctx context.Context, treeDigest, dir string) error

	PartSize() int64
	Parts(ctx context.Context, l sluice.LargeFile) ([]int, error)
	PutPart(ctx context.Context, l sluice.LargeFile, n int, length int64, sum uint32, r io.Reader) error
	Join(ctx context.Context, l sluice.LargeFile) error
	Sweep(ctx context.Context, o artifact.Sweep) (artifact.Swept, error)
}

// Run runs the suite. open gives an empty store whose parts have at most a
// mebibyte.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for name, test := range map[string]func(*testing.T, Store){
		"blob comes back":             blobComesBack,
		"missing is told":             missingIsTold,
		"damage is refused":           damageIsRefused,
		"cancelled put":               cancelledPut,
		"concurrent puts":             concurrentPuts,
		"tree comes back":             treeComesBack,
		"incomplete tree is refused":  incompleteTree,
		"harmful tree is refused":     harmfulTree,
		"materialize":                 materialize,
		"materialize again":           materializeAgain,
		"materialize heals":           materializeHeals,
		"materialize follows no link": materializeFollowsNoLink,
		"materialize at once":         materializeAtOnce,
		"materialize of nothing":      materializeOfNothing,
		"parts come together":         partsComeTogether,
		"parts that cannot be":        partsThatCannotBe,
		"parts of a damaged file":     partsOfADamagedFile,
		"parts at once":               partsAtOnce,
		"fresh content stays":         freshContentStays,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func put(t *testing.T, s Store, content string) string {
	t.Helper()
	digest := sluice.DigestBytes([]byte(content))
	if err := s.PutBlob(t.Context(), digest, int64(len(content)), strings.NewReader(content)); err != nil {
		t.Fatalf("PutBlob: %v", err)
	}
	return digest
}

// putTree puts a tree of files by path; a path ending in "*" is executable.
func putTree(t *testing.T, s Store, files map[string]string) (sluice.Tree, string) {
	t.Helper()
	var tree sluice.Tree
	for path, content := range files {
		tree.Files = append(tree.Files, sluice.TreeFile{
			Path: strings.TrimSuffix(path, "*"), Size: int64(len(content)), Digest: put(t, s, content),
			Executable: strings.HasSuffix(path, "*"),
		})
	}
	tree.Sort()
	digest, err := s.PutTree(t.Context(), tree)
	if err != nil {
		t.Fatalf("PutTree: %v", err)
	}
	return tree, digest
}

func wantCode(t *testing.T, err error, want sluice.Code) {
	t.Helper()
	if got := sluice.ErrorCode(err); got != want {
		t.Errorf("got error %v with code %q, want %q", err, got, want)
	}
}

func blobComesBack(t *testing.T, s Store) {
	for _, content := range []string{"", "hello", strings.Repeat("long ", 1<<18)} {
		digest := put(t, s, content)
		r, err := s.OpenBlob(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || string(got) != content {
			t.Errorf("got %d bytes, %v; want %d", len(got), err, len(content))
		}
	}
	_, err := s.OpenBlob(t.Context(), sluice.DigestBytes([]byte("never put")))
	wantCode(t, err, sluice.CodeNotFound)
	_, err = s.OpenBlob(t.Context(), "sha256:../../etc/passwd")
	wantCode(t, err, sluice.CodeInvalid)
}

func missingIsTold(t *testing.T, s Store) {
	there := put(t, s, "there")
	a, b := sluice.DigestBytes([]byte("a")), sluice.DigestBytes([]byte("b"))
	got, err := s.Missing(t.Context(), []string{a, there, b, a})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{a, b}, got); diff != "" {
		t.Error(diff)
	}
	_, err = s.Missing(t.Context(), []string{"md5:00"})
	wantCode(t, err, sluice.CodeInvalid)
}

func damageIsRefused(t *testing.T, s Store) {
	content := []byte("twelve bytes")
	digest := sluice.DigestBytes(content)
	for name, c := range map[string]struct {
		size int64
		r    io.Reader
	}{
		"other bytes": {12, strings.NewReader("eleven bytes")},
		"too short":   {12, bytes.NewReader(content[:5])},
		"too long":    {5, bytes.NewReader(content)},
		"negative":    {-1, bytes.NewReader(content)},
		"broken off":  {12, io.MultiReader(bytes.NewReader(content[:5]), iotest.ErrReader(io.ErrUnexpectedEOF))},
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, s.PutBlob(t.Context(), digest, c.size, c.r), sluice.CodeInvalid)
			if missing, err := s.Missing(t.Context(), []string{digest}); err != nil || len(missing) != 1 {
				t.Errorf("after a refused put, missing is %v, %v", missing, err)
			}
		})
	}
}

func cancelledPut(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	digest := sluice.DigestBytes([]byte("x"))
	if err := s.PutBlob(ctx, digest, 1, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := s.OpenBlob(t.Context(), digest); sluice.ErrorCode(err) != sluice.CodeNotFound {
		t.Errorf("after a cancelled put: %v", err)
	}
}

func concurrentPuts(t *testing.T, s Store) {
	content := make([]byte, 1<<20)
	rand.Read(content)
	digest := sluice.DigestBytes(content)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.PutBlob(t.Context(), digest, int64(len(content)), iotest.HalfReader(bytes.NewReader(content))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if missing, err := s.Missing(t.Context(), []string{digest}); err != nil || len(missing) != 0 {
		t.Errorf("missing is %v, %v", missing, err)
	}
}

func treeComesBack(t *testing.T, s Store) {
	tree, digest := putTree(t, s, map[string]string{"a/b": "1", "c": "2", "run.sh*": "3"})
	if digest != tree.Digest() {
		t.Errorf("got digest %s, want %s", digest, tree.Digest())
	}
	got, err := s.GetTree(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree, got); diff != "" {
		t.Error(diff)
	}
	if again, err := s.PutTree(t.Context(), tree); err != nil || again != digest {
		t.Errorf("put again: %s, %v", again, err)
	}
	other := sluice.DigestBytes([]byte("other"))
	if has, err := s.HasTree(t.Context(), other); has || err != nil {
		t.Errorf("HasTree of another: %v, %v", has, err)
	}
	_, err = s.GetTree(t.Context(), other)
	wantCode(t, err, sluice.CodeNotFound)
}

func incompleteTree(t *testing.T, s Store) {
	there := put(t, s, "there")
	for _, f := range []sluice.TreeFile{
		{Path: "gone", Size: 4, Digest: sluice.DigestBytes([]byte("gone"))},
		{Path: "size", Size: 4, Digest: there},
	} {
		tree := sluice.Tree{Files: []sluice.TreeFile{f}}
		_, err := s.PutTree(t.Context(), tree)
		wantCode(t, err, sluice.CodeInvalid)
		if err == nil || !strings.Contains(err.Error(), f.Path) {
			t.Errorf("%v does not name %s", err, f.Path)
		}
		if has, _ := s.HasTree(t.Context(), tree.Digest()); has {
			t.Error("a refused tree is there")
		}
	}
}

func harmfulTree(t *testing.T, s Store) {
	d := put(t, s, "x")
	for _, path := range []string{"../x", "/etc/x", "a/../../x", "a//b", "", ".", "a\\b", "a/./b"} {
		_, err := s.PutTree(t.Context(), sluice.Tree{Files: []sluice.TreeFile{{Path: path, Size: 1, Digest: d}}})
		wantCode(t, err, sluice.CodeInvalid)
	}
}

// files gives what lies below dir: mode and content by path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if e.IsDir() {
			got[rel+"/"] = fmt.Sprintf("%04o", info.Mode().Perm())
			return nil
		}
		content, err := os.ReadFile(path)
		got[rel] = fmt.Sprintf("%s %s", info.Mode(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var placedFiles = map[string]string{"score.py": "print()", "sub/deep/w.bin": "\x00\x01", "run.sh*": "#!/bin/sh", "same": "print()"}

var placed = map[string]string{
	"./": "0755", "sub/": "0755", "sub/deep/": "0755",
	"score.py": "-r--r--r-- print()", "same": "-r--r--r-- print()",
	"sub/deep/w.bin": "-r--r--r-- \x00\x01", "run.sh": "-r-xr-xr-x #!/bin/sh",
}

func materialize(t *testing.T, s Store) {
	_, digest := putTree(t, s, placedFiles)
	dir := filepath.Join(t.TempDir(), "not", "yet", "code")
	if err := s.Materialize(t.Context(), digest, dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(placed, files(t, dir)); diff != "" {
		t.Error(diff)
	}
	wantAlone(t, dir)
}

// wantAlone checks that nothing was left beside dir.
func wantAlone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("beside %s lies %v", dir, entries)
	}
}

func materializeAgain(t *testing.T, s Store) {
	_, digest := putTree(t, s, placedFiles)
	dir := filepath.Join(t.TempDir(), "code")
	if err := s.Materialize(t.Context(), digest, dir); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(dir, "sub", "cache")
	if err := os.WriteFile(cache, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Materialize(t.Context(), digest, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cache); err != nil {
		t.Errorf("a whole folder was not left alone: %v", err)
	}
}

func materializeHeals(t *testing.T, s Store) {
	_, digest := putTree(t, s, placedFiles)
	dir := filepath.Join(t.TempDir(), "code")
	for name, damage := range map[string]func() error{
		"file gone":     func() error { return os.Remove(filepath.Join(dir, "same")) },
		"other file":    func() error { return replace(filepath.Join(dir, "score.py"), "evil()!") },
		"another tree":  func() error { return errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "x"), 0o755)) },
		"a file itself": func() error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.Materialize(t.Context(), digest, dir); err != nil {
				t.Fatal(err)
			}
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			if err := s.Materialize(t.Context(), digest, dir); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(placed, files(t, dir)); diff != "" {
				t.Error(diff)
			}
			wantAlone(t, dir)
		})
	}
}

func replace(path, content string) error {
	return errors.Join(os.Remove(path), os.WriteFile(path, []byte(content), 0o444))
}

func materializeFollowsNoLink(t *testing.T, s Store) {
	_, digest := putTree(t, s, map[string]string{"sub/score.py": "print()"})
	outside := t.TempDir()
	parent := t.TempDir()
	dir := filepath.Join(parent, "code")
	for _, plant := range []func() error{
		func() error { return os.Symlink(outside, dir) },
		func() error { return errors.Join(os.Mkdir(dir, 0o755), os.Symlink(outside, filepath.Join(dir, "sub"))) },
	} {
		if err := errors.Join(os.RemoveAll(dir), plant()); err != nil {
			t.Fatal(err)
		}
		if err := s.Materialize(t.Context(), digest, dir); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
			t.Errorf("written outside: %v, %v", left, err)
		}
		if diff := cmp.Diff(map[string]string{"./": "0755", "sub/": "0755", "sub/score.py": "-r--r--r-- print()"}, files(t, dir)); diff != "" {
			t.Error(diff)
		}
	}
}

func materializeAtOnce(t *testing.T, s Store) {
	_, digest := putTree(t, s, placedFiles)
	dir := filepath.Join(t.TempDir(), "code")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Materialize(t.Context(), digest, dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(placed, files(t, dir)); diff != "" {
		t.Error(diff)
	}
	wantAlone(t, dir)
}

func materializeOfNothing(t *testing.T, s Store) {
	dir := filepath.Join(t.TempDir(), "code")
	err := s.Materialize(t.Context(), sluice.DigestBytes(slices.Repeat([]byte{1}, 9)), dir)
	wantCode(t, err, sluice.CodeNotFound)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
}
