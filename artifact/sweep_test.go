package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	long := Grace + touchEvery
	for _, c := range []struct {
		needed bool
		use    time.Time
		want   verdict
	}{
		{true, now, keepIt},
		{true, now.Add(-1000 * time.Hour), keepIt},
		{true, time.Time{}, keepIt},
		{false, now, laterIt},
		{false, now.Add(-time.Hour), laterIt},
		{false, now.Add(-long), laterIt},
		{false, now.Add(-long - 1), takeIt},
		{false, time.Time{}, takeIt},
		{false, now.Add(time.Hour), laterIt}, // a clock that was set back
	} {
		if got := judge(c.needed, c.use, now); got != c.want {
			t.Errorf("needed %v, used %s ago: got %d, want %d", c.needed, now.Sub(c.use), got, c.want)
		}
	}
	// An upload URL lives an hour, and its use is noted every ten minutes.
	if Grace < time.Hour+touchEvery {
		t.Error("an upload may outlive what it was promised")
	}
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := OpenWith(t.TempDir(), Options{PartSize: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func blob(t *testing.T, s *Store, text string) sluice.TreeFile {
	t.Helper()
	d := sluice.DigestBytes([]byte(text))
	if err := s.PutBlob(t.Context(), d, int64(len(text)), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return sluice.TreeFile{Path: text, Size: int64(len(text)), Digest: d}
}

func tree(t *testing.T, s *Store, files ...sluice.TreeFile) string {
	t.Helper()
	tr := sluice.Tree{Files: files}
	tr.Sort()
	d, err := s.PutTree(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// age makes all that is there as if it was last used two hours ago.
func age(t *testing.T, s *Store) {
	t.Helper()
	long := time.Now().Add(-2 * time.Hour)
	err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		modified := info.ModTime()
		if e.Name() == "have" {
			modified = long
		}
		return os.Chtimes(path, long, modified)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func there(t *testing.T, s *Store) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, kind := range []string{"blobs", "trees"} {
		if err := s.each(t.Context(), kind, func(string, fs.FileInfo) error { n[kind]++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	copies, err := filepath.Glob(filepath.Join(s.dir, "blobs", "*", "*.x"))
	if err != nil {
		t.Fatal(err)
	}
	if n["copies"] = len(copies); len(copies) == 0 {
		delete(n, "copies")
	}
	return n
}

func keeping(trees ...string) func(string) bool {
	return func(d string) bool {
		for _, k := range trees {
			if k == d {
				return true
			}
		}
		return false
	}
}

func TestSweep(t *testing.T) {
	s := newStore(t)
	shared, mine, theirs, alone := blob(t, s, "shared"), blob(t, s, "mine"), blob(t, s, "theirs"), blob(t, s, "alone")
	theirs.Executable = true
	kept, gone := tree(t, s, shared, mine), tree(t, s, shared, theirs)
	if err := s.Materialize(t.Context(), gone, filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	age(t, s)
	before := there(t, s)
	dry, err := s.Sweep(t.Context(), Sweep{Keep: keeping(kept), DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, there(t, s)); diff != "" {
		t.Errorf("a dry run changed something: %s", diff)
	}
	swept, err := s.Sweep(t.Context(), Sweep{Keep: keeping(kept)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dry, swept); diff != "" {
		t.Errorf("another than was announced: %s", diff)
	}
	if swept.Trees != 1 || swept.Blobs != 2 || swept.Bytes <= 0 {
		t.Errorf("took %+v", swept)
	}
	if diff := cmp.Diff(map[string]int{"blobs": 2, "trees": 1}, there(t, s)); diff != "" {
		t.Error(diff)
	}
	if err := s.Materialize(t.Context(), kept, filepath.Join(t.TempDir(), "y")); err != nil {
		t.Error(err)
	}
	// Whoever still wants what went is told so.
	if missing, err := s.Missing(t.Context(), []string{alone.Digest, theirs.Digest, mine.Digest}); err != nil || len(missing) != 2 {
		t.Errorf("missing is %v, %v", missing, err)
	}
	if _, err := s.PutTree(t.Context(), sluice.Tree{Files: []sluice.TreeFile{theirs}}); sluice.ErrorCode(err) != sluice.CodeInvalid {
		t.Errorf("a tree of what is gone: %v", err)
	}
	if swept, err := s.Sweep(t.Context(), Sweep{}); err != nil || swept != (Swept{}) {
		t.Errorf("without being told what is needed it took %+v, %v", swept, err)
	}
}

// TestAskingKeeps asks for what would go: from then on it stays.
func TestAskingKeeps(t *testing.T) {
	for name, ask := range map[string]func(*Store, string, sluice.TreeFile) error{
		"missing": func(s *Store, _ string, f sluice.TreeFile) error {
			_, err := s.Missing(t.Context(), []string{f.Digest})
			return err
		},
		"put again": func(s *Store, _ string, f sluice.TreeFile) error {
			return s.PutBlob(t.Context(), f.Digest, f.Size, strings.NewReader(""))
		},
		"tree put again": func(s *Store, _ string, f sluice.TreeFile) error {
			_, err := s.PutTree(t.Context(), sluice.Tree{Files: []sluice.TreeFile{f}})
			return err
		},
		"tree asked for": func(s *Store, d string, _ sluice.TreeFile) error {
			_, err := s.HasTree(t.Context(), d)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			f := blob(t, s, "content")
			d := tree(t, s, f)
			age(t, s)
			if err := ask(s, d, f); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Sweep(t.Context(), Sweep{Keep: keeping()}); err != nil {
				t.Fatal(err)
			}
			if got := there(t, s); got["blobs"] != 1 || strings.HasPrefix(name, "tree") && got["trees"] != 1 {
				t.Errorf("left is %v", got)
			}
		})
	}
}

func TestReadingIsNoUse(t *testing.T) {
	s := newStore(t)
	d := tree(t, s, blob(t, s, "content"))
	age(t, s)
	for range 3 {
		if _, err := s.GetTree(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if swept, err := s.Sweep(t.Context(), Sweep{Keep: keeping()}); err != nil || swept.Trees != 1 || swept.Blobs != 1 {
		t.Errorf("took %+v, %v", swept, err)
	}
}

// TestLinkedFreesNothing removes a blob that still has a name in a placed
// folder: its bytes are not promised, and the folder keeps them.
func TestLinkedFreesNothing(t *testing.T) {
	s := newStore(t)
	content := strings.Repeat("x", 1<<20)
	f := sluice.TreeFile{Path: "content", Size: 1 << 20, Digest: sluice.DigestBytes([]byte(content))}
	if err := s.PutBlob(t.Context(), f.Digest, f.Size, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	tree(t, s, f)
	dir := t.TempDir()
	// As a tree is placed where the file system has links and no clones.
	if err := os.Link(s.blobPath(f.Digest), filepath.Join(dir, "content")); err != nil {
		t.Fatal(err)
	}
	age(t, s)
	swept, err := s.Sweep(t.Context(), Sweep{Keep: keeping()})
	if err != nil || swept.Trees != 1 || swept.Blobs != 1 || swept.Bytes >= 1<<20 {
		t.Errorf("took %+v, %v", swept, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "content")); err != nil || string(got) != content {
		t.Errorf("the placed file holds %d other bytes, %v", len(got), err)
	}
}

// TestLeftovers collects the parts of an upload that nobody came back for.
func TestLeftovers(t *testing.T) {
	s := newStore(t)
	l := sluice.LargeFile{Scope: "a", Digest: sluice.DigestBytes([]byte("large")), Size: 5000}
	text := strings.Repeat("p", 1<<10)
	sum, err := Checksum(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	put := func() {
		t.Helper()
		if err := s.PutPart(t.Context(), l, 3, 1<<10, sum, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	put()
	age(t, s)
	for _, c := range []struct {
		o    Sweep
		want int
	}{
		{Sweep{Leftovers: 24 * time.Hour, OnlyLeftovers: true}, 0},
		{Sweep{OnlyLeftovers: true, DryRun: true}, 1},
		{Sweep{OnlyLeftovers: true}, 1},
		{Sweep{OnlyLeftovers: true}, 0},
	} {
		if got, err := s.Sweep(t.Context(), c.o); err != nil || got.Uploads != c.want || (got.Bytes > 0) != (c.want > 0) {
			t.Errorf("%+v: took %+v, %v", c.o, got, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, "parts")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	put() // and it can begin again
	age(t, s)
	if have, err := s.Parts(t.Context(), l); err != nil || len(have) != 1 { // asking keeps
		t.Fatal(have, err)
	}
	if got, err := s.Sweep(t.Context(), Sweep{OnlyLeftovers: true}); err != nil || got.Uploads != 0 {
		t.Errorf("took %+v, %v", got, err)
	}
}

// TestDamagedTree does not hold up the collection, nor does it lose what a
// whole one needs.
func TestDamagedTree(t *testing.T) {
	s := newStore(t)
	kept, broken := tree(t, s, blob(t, s, "kept")), tree(t, s, blob(t, s, "broken"))
	path := s.treePath(broken)
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	age(t, s)
	if _, err := s.Sweep(t.Context(), Sweep{Keep: keeping(kept, broken)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"blobs": 1, "trees": 1}, there(t, s)); diff != "" {
		t.Error(diff)
	}
}

// TestNoPromiseIsBroken uploads, commits and registers from many goroutines
// while others collect. Whatever somebody was told is there must be there at
// their next step, and what was registered for good.
func TestNoPromiseIsBroken(t *testing.T) {
	s := newStore(t)
	var mu sync.Mutex
	registered := map[string]bool{} // guarded by mu
	keep := func(d string) bool {
		mu.Lock()
		defer mu.Unlock()
		return registered[d]
	}
	for round := range 15 {
		age(t, s)
		stop := make(chan struct{})
		var sweepers, uploaders sync.WaitGroup
		for range 2 {
			sweepers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := s.Sweep(t.Context(), Sweep{Keep: keep}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for u := range 4 {
			random := rand.New(rand.NewPCG(uint64(round), uint64(u)))
			uploaders.Go(func() {
				for range 10 {
					d, err := uploadSome(t, s, random)
					if err == nil && random.IntN(4) == 0 {
						mu.Lock()
						registered[d] = true
						mu.Unlock()
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		uploaders.Wait()
		close(stop)
		sweepers.Wait()
	}
	age(t, s)
	if _, err := s.Sweep(t.Context(), Sweep{Keep: keep}); err != nil {
		t.Fatal(err)
	}
	if got := there(t, s); got["trees"] != len(registered) {
		t.Errorf("%d trees are left of %d registered", got["trees"], len(registered))
	}
	for d := range registered {
		if err := s.Materialize(t.Context(), d, filepath.Join(t.TempDir(), "x")); err != nil {
			t.Errorf("a registered tree: %v", err)
		}
	}
}

// uploadSome does what a client does with a few of a hundred files.
func uploadSome(t *testing.T, s *Store, random *rand.Rand) (string, error) {
	var tr sluice.Tree
	var digests []string
	for range 1 + random.IntN(5) {
		text := fmt.Sprint("file ", random.IntN(100))
		f := sluice.TreeFile{Path: text, Size: int64(len(text)), Digest: sluice.DigestBytes([]byte(text))}
		if !strings.Contains(strings.Join(digests, " "), f.Digest) {
			tr.Files, digests = append(tr.Files, f), append(digests, f.Digest)
		}
	}
	tr.Sort()
	missing, err := s.Missing(t.Context(), digests)
	if err != nil {
		return "", err
	}
	for _, f := range tr.Files {
		for _, m := range missing {
			if m == f.Digest {
				if err := s.PutBlob(t.Context(), m, f.Size, strings.NewReader(f.Path)); err != nil {
					return "", err
				}
			}
		}
	}
	d, err := s.PutTree(t.Context(), tr)
	if err != nil {
		return "", fmt.Errorf("all files were there, and then: %w", err)
	}
	if has, err := s.HasTree(t.Context(), d); err != nil || !has {
		return "", fmt.Errorf("the tree was put, and then: %v, %w", has, err)
	}
	return d, nil
}
