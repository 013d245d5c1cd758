//go:build unix

package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/backup"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/identity"
	"github.com/sluice-ml/sluice/store"
)

// installation is a state directory as a server leaves it.
type installation struct {
	t         testing.TB
	dir       home.Dir
	db        *store.Store
	artifacts *artifact.Store
}

func install(t testing.TB) *installation {
	t.Helper()
	dir := home.Dir(filepath.Join(t.TempDir(), "h"))
	if err := dir.Make(); err != nil {
		t.Fatal(err)
	}
	_, errSeal := identity.OpenSealer(dir.SealKey())
	_, errAdmin := identity.OpenCredential(dir.Credential())
	_, errCA := identity.OpenCA(dir.CA(), dir.CAKey(), time.Now)
	db, errDB := store.Open(t.Context(), dir.Database(), store.Options{})
	artifacts, errArtifacts := artifact.Open(dir.Artifacts())
	errSettings := os.WriteFile(dir.Config(), []byte("log: {level: debug}\n"), 0o600)
	if err := errors.Join(errSeal, errAdmin, errCA, errDB, errArtifacts, errSettings); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &installation{t, dir, db, artifacts}
}

// register uploads a file and registers a model with it.
func (in *installation) register(name, content string) *sluice.Model {
	in.t.Helper()
	ctx := in.t.Context()
	f := sluice.TreeFile{Path: "model.bin", Size: int64(len(content)), Digest: sluice.DigestBytes([]byte(content))}
	err := in.artifacts.PutBlob(ctx, f.Digest, f.Size, strings.NewReader(content))
	if err != nil {
		in.t.Fatal(err)
	}
	tree, err := in.artifacts.PutTree(ctx, sluice.Tree{Files: []sluice.TreeFile{f}})
	if err != nil {
		in.t.Fatal(err)
	}
	m := &sluice.Model{Meta: sluice.Meta{Workspace: "default", Name: name, Version: "1"}, Content: sluice.Content{Tree: tree}}
	if _, err := in.db.Commit(ctx, sluice.Change{Put: []sluice.Resource{m}}); err != nil {
		in.t.Fatal(err)
	}
	return m
}

func (in *installation) backup() []byte {
	in.t.Helper()
	var b bytes.Buffer
	if _, err := backup.Write(in.t.Context(), &b, backup.Source{Home: in.dir, Version: "test", Scratch: in.t.TempDir()}); err != nil {
		in.t.Fatal(err)
	}
	return b.Bytes()
}

// restore restores to a new home and gives it, opened.
func restore(t testing.TB, archive []byte) *installation {
	t.Helper()
	dir := home.Dir(filepath.Join(t.TempDir(), "r"))
	if _, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: dir}); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func open(t testing.TB, dir home.Dir) *installation {
	t.Helper()
	db, err := store.Open(t.Context(), dir.Database(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	artifacts, err := artifact.Open(dir.Artifacts())
	if err != nil {
		t.Fatal(err)
	}
	return &installation{t, dir, db, artifacts}
}

// models gives the content of each model by its name.
func (in *installation) models() map[string]string {
	in.t.Helper()
	ctx := in.t.Context()
	all, err := store.ReadAll[*sluice.Model](ctx, in.db, sluice.Query{Kind: sluice.KindModel, Limit: 100})
	if err != nil {
		in.t.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range all {
		tree, err := in.artifacts.GetTree(ctx, m.Content.Tree)
		if err != nil {
			in.t.Fatalf("model %s: %v", m.Name, err)
		}
		blob, err := in.artifacts.OpenBlob(ctx, tree.Files[0].Digest)
		if err != nil {
			in.t.Fatalf("model %s: %v", m.Name, err)
		}
		text, err := io.ReadAll(blob)
		if err := errors.Join(err, blob.Close()); err != nil || sluice.DigestBytes(text) != tree.Files[0].Digest {
			in.t.Fatalf("model %s: %q, %v", m.Name, text, err)
		}
		out[m.Name] = string(text)
	}
	return out
}

func TestWhatIsInABackupComesBack(t *testing.T) {
	in := install(t)
	want := map[string]string{}
	for n := range 3 {
		name := fmt.Sprint("m", n)
		want[name] = strings.Repeat(name, 50000)
		in.register(name, want[name])
	}
	archive := in.backup()
	back := restore(t, archive)
	if got := back.models(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got models %d, want %d", len(got), len(want))
	}
	for _, name := range []string{"sluice.yml", "seal.key", "ca.pem", "ca-key.pem", "admin.json"} {
		a, errA := os.ReadFile(filepath.Join(string(in.dir), name))
		b, errB := os.ReadFile(filepath.Join(string(back.dir), name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not the same: %v, %v", name, errA, errB)
		}
	}
	err := filepath.WalkDir(string(back.dir), func(path string, d fs.DirEntry, err error) error {
		if info, errInfo := d.Info(); err == nil && errInfo == nil && info.Mode().Perm()&0o077 != 0 && !strings.Contains(path, "/artifacts/") {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Dir(string(back.dir)))
	if err != nil || len(left) != 1 {
		t.Errorf("beside it there is %v, %v", left, err)
	}
}

// Models come and go, and what is not needed is collected at once, while backups
// are taken: each holds all that it needs.
func TestBackupBesideTheCollector(t *testing.T) {
	in := install(t)
	in.register("always", "stays")
	ctx, stop := context.WithCancel(t.Context())
	var churn sync.WaitGroup
	rounds := 0
	churn.Go(func() {
		for ; ctx.Err() == nil; rounds++ {
			m := in.register(fmt.Sprint("brief", rounds), fmt.Sprint("content ", rounds))
			// As if nobody had used any of it for hours.
			err := filepath.WalkDir(in.dir.Artifacts(), func(path string, d fs.DirEntry, err error) error {
				if info, errInfo := d.Info(); err == nil && errInfo == nil && info.Mode().Perm() == 0o444 {
					return os.Chtimes(path, time.Now().Add(-5*time.Hour), info.ModTime())
				}
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := in.db.Commit(t.Context(), sluice.Change{Delete: []sluice.Resource{m}}); err != nil {
				t.Error(err)
				return
			}
			gone := m.Content.Tree
			if _, err := in.artifacts.Sweep(t.Context(), artifact.Sweep{Keep: func(tree string) bool { return tree != gone }}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	with := 0
	for range 15 {
		got := restore(t, in.backup()).models()
		if got["always"] != "stays" {
			t.Errorf("got %v", got)
		}
		with += len(got) - 1
	}
	stop()
	churn.Wait()
	t.Logf("%d models came and went, %d were in a backup", rounds, with)
}

// entry is one of an archive, to be changed.
type entry struct {
	tar.Header
	body []byte
}

func unpack(t *testing.T, archive []byte) (all []entry) {
	t.Helper()
	for in := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := in.Next()
		if err == io.EOF {
			return all
		}
		body, errBody := io.ReadAll(in)
		if err := errors.Join(err, errBody); err != nil {
			t.Fatal(err)
		}
		all = append(all, entry{*h, body})
	}
}

func pack(t *testing.T, all []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	out := tar.NewWriter(&b)
	for _, e := range all {
		if e.Typeflag == tar.TypeReg {
			e.Size = int64(len(e.body))
		}
		if err := out.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(e.body); err != nil && e.Typeflag == tar.TypeReg {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// refused checks that an archive is refused and leaves nothing.
func refused(t *testing.T, what string, archive []byte, wants string) {
	t.Helper()
	dir := home.Dir(filepath.Join(t.TempDir(), "r"))
	_, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: dir})
	if err == nil || !strings.Contains(err.Error(), wants) {
		t.Errorf("%s: got %v, want %q", what, err, wants)
	}
	if code := sluice.ErrorCode(err); code != sluice.CodeInvalid && code != sluice.CodeUnavailable {
		t.Errorf("%s: the code of %v is %s", what, err, code)
	}
	if left, err := os.ReadDir(filepath.Dir(string(dir))); err != nil || len(left) > 0 {
		t.Errorf("%s: it left %v, %v", what, left, err)
	}
}

func TestDamagedArchives(t *testing.T) {
	in := install(t)
	in.register("m", strings.Repeat("x", 3000))
	archive := in.backup()
	for at := 0; at < len(archive)-1024; at += 3989 {
		refused(t, fmt.Sprint("cut off after ", at), archive[:at], "the backup cannot be used: ")
		changed := slices.Clone(archive)
		changed[at] ^= 0x55
		if _, err := backup.Read(t.Context(), bytes.NewReader(changed), nothing{}); err == nil && !harmless(archive, at) {
			t.Errorf("byte %d can be changed", at)
		}
	}
	all := unpack(t, archive)
	manifest := func(change func(m map[string]any)) []entry {
		var m map[string]any
		if err := json.Unmarshal(all[0].body, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return append([]entry{{all[0].Header, text}}, all[1:]...)
	}
	file := func(name string) entry {
		return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600}, []byte("hello")}
	}
	link := entry{tar.Header{Typeflag: tar.TypeSymlink, Name: "blobs", Linkname: "/etc"}, nil}
	last := all[len(all)-1]
	for what, c := range map[string]struct {
		archive []entry
		says    string
	}{
		"nothing":               {nil, "it is empty"},
		"another tar":           {[]entry{file("hello")}, `it begins with "hello"`},
		"an entry more":         {append(slices.Clone(all), file("hello")), `it holds "hello"`},
		"a way out":             {append(slices.Clone(all), file("../../etc/passwd")), `it holds "../../etc/passwd"`},
		"an absolute path":      {append(slices.Clone(all), file("/etc/passwd")), `it holds "/etc/passwd"`},
		"an unlisted blob":      {append(slices.Clone(all), file("blobs/"+strings.Repeat("a", 64))), "it holds \"blobs/aaa"},
		"a link":                {append(slices.Clone(all), link), `"blobs" in it is not a plain file`},
		"an entry twice":        {append(slices.Clone(all), last), "stands in it twice"},
		"a blob before listing": {append(append(slices.Clone(all[:1]), last), all[1:len(all)-1]...), "it holds \"blobs/"},
		"other bytes":           {append(slices.Clone(all[:len(all)-1]), entry{last.Header, bytes.Repeat([]byte("y"), 3000)}), "is damaged"},
		"fewer bytes":           {append(slices.Clone(all[:len(all)-1]), entry{last.Header, []byte("y")}), "has 1 bytes, and 3000 were announced"},
		"no blob":               {all[:len(all)-1], "1 of 1 uploaded files are not in it"},
		"no database":           {slices.DeleteFunc(slices.Clone(all), func(e entry) bool { return e.Name == "sluice.db" }), "sluice.db is not in it"},
		"a newer format":        {manifest(func(m map[string]any) { m["format"] = 2; m["sluice"] = "9.9" }), `written by a newer Sluice ("9.9")`},
		"a newer schema":        {manifest(func(m map[string]any) { m["schema"] = 999 }), "schema number 999"},
		"no format":             {manifest(func(m map[string]any) { delete(m, "format") }), "does not parse"},
		"a file of no backup": {manifest(func(m map[string]any) {
			m["files"] = append(m["files"].([]any), map[string]any{"name": "run/x", "size": 1, "digest": sluice.DigestBytes(nil)})
		}), `a file "run/x" that no backup has`},
		"too many":                  {manifest(func(m map[string]any) { m["blobs"] = 1 << 40 }), "more than a backup can hold"},
		"more bytes than announced": {manifest(func(m map[string]any) { m["bytes"] = 10 }), "more in it than the 10 bytes announced"},
		"settings twice": {manifest(func(m map[string]any) {
			m["files"] = append(m["files"].([]any), map[string]any{"name": "sluice.yml", "size": 1, "digest": sluice.DigestBytes(nil)})
		}), `a file "sluice.yml" that no backup has, or twice`},
		"files without end":         {manifest(func(m map[string]any) { m["files"] = make([]struct{}, 1<<20) }), "more than a backup can hold"},
		"listings without end":      {manifest(func(m map[string]any) { m["trees"] = make([]string, 1<<20) }), "more than a backup can hold"},
		"too few":                   {manifest(func(m map[string]any) { m["blobs"] = 0 }), "more files are listed in it"},
		"a tree that is not needed": {manifest(func(m map[string]any) { m["trees"] = []any{} }), "it holds \"trees/"},
	} {
		refused(t, what, pack(t, c.archive), c.says)
	}
}

// harmless reports whether a byte is one of those between files, or of a header
// in which there is nothing that we use.
func harmless(archive []byte, at int) bool {
	block := archive[at/512*512:]
	return archive[at] == 0 || string(block[257:262]) == "ustar"
}

// nothing is a sink that keeps nothing.
type nothing struct{}

func (nothing) Begin(backup.Manifest) error { return nil }
func (nothing) File(_ context.Context, _ backup.File, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
func (nothing) Blob(_ context.Context, _ string, _ int64, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
func (nothing) Tree(context.Context, string, sluice.Tree) error { return nil }

func TestForceMovesAside(t *testing.T) {
	in := install(t)
	in.register("old", "one")
	archive := in.backup()
	in.register("new", "two")
	if err := in.db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: in.dir})
	var e *sluice.Error
	if !errors.As(err, &e) || e.Code != sluice.CodeExists || !strings.Contains(e.Hint, "--force") {
		t.Fatalf("got %v", err)
	}
	done, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: in.dir, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := open(t, in.dir).models(); len(got) != 1 || got["old"] != "one" {
		t.Errorf("in place there is %v", got)
	}
	if got := open(t, home.Dir(done.Aside)).models(); len(got) != 2 {
		t.Errorf("aside there is %v", got)
	}
}

// A folder that somebody has made for it, or a link to one, is as good as none.
func TestRestoreIntoAnEmptyFolder(t *testing.T) {
	in := install(t)
	in.register("m", "one")
	archive := in.backup()
	dir := t.TempDir()
	made, linked := filepath.Join(dir, "made"), filepath.Join(dir, "linked")
	err := errors.Join(os.Mkdir(made, 0o755), os.Mkdir(filepath.Join(dir, "far"), 0o755), os.Symlink(filepath.Join(dir, "far"), linked))
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{made, linked} {
		if _, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: home.Dir(to)}); err != nil {
			t.Fatal(err)
		}
		if got := open(t, home.Dir(to)).models(); len(got) != 1 || got["m"] != "one" {
			t.Errorf("in %s there is %v", to, got)
		}
	}
	if to, err := os.Readlink(linked); err != nil || to != filepath.Join(dir, "far") {
		t.Errorf("the link is %q, %v", to, err)
	}
	// With --force too, what the link points to is what moves.
	done, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: home.Dir(linked), Force: true})
	if err != nil || !strings.HasPrefix(done.Aside, filepath.Join(dir, "far.before-")) {
		t.Errorf("what was there is in %q, %v", done.Aside, err)
	}
}

// What a killed restore left is removed by the next, and nothing else: not what
// somebody has moved beside the home, although it was killed too late to unmark.
func TestLeftovers(t *testing.T) {
	in := install(t)
	archive := in.backup()
	parent := t.TempDir()
	for name, mark := range map[string]string{
		".r.unfinished-1": ".r.unfinished-1", ".r.unfinished-2": "", "r.before-3": "r.before-3", // left
		"r.before-mine": ".r.unfinished-4", "r.before-5": "none", ".r.unfinished-6": "none", // somebody's
	} {
		dir := filepath.Join(parent, name)
		err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "sluice.db"), []byte("x"), 0o600))
		if mark != "none" {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, ".unfinished"), []byte(mark), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: home.Dir(filepath.Join(parent, "r"))}); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(parent)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{".r.unfinished-6", "r", "r.before-5", "r.before-mine"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("there is %q (%v), want %q", left, err, want)
	}
}

// Backups are made in folders where others may write, such as /tmp: what they put
// there under our names is neither waited for nor followed.
func TestScratchAmongStrangers(t *testing.T) {
	parent, precious := t.TempDir(), t.TempDir()
	kept := filepath.Join(precious, "kept")
	pipe := filepath.Join(parent, ".b.unfinished-1")
	err := errors.Join(os.WriteFile(kept, nil, 0o600), os.Mkdir(pipe, 0o700),
		syscall.Mkfifo(filepath.Join(pipe, ".unfinished"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	s, err := backup.NewScratch(parent, "b") // a pipe would be waited for for ever
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(s.Dir, s.Dir+"x"), os.Symlink(precious, s.Dir)); err != nil {
		t.Fatal(err)
	}
	s.Remove()
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("what was put in the place of the folder was followed: %v", err)
	}
}

// Of another's leftover nothing is removed.
func TestScratchOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	parent := t.TempDir()
	theirs := filepath.Join(parent, ".b.unfinished-1")
	err := errors.Join(os.Mkdir(theirs, 0o700), os.WriteFile(filepath.Join(theirs, ".unfinished"), nil, 0o600), os.Chown(theirs, 12345, 12345))
	if err != nil {
		t.Fatal(err)
	}
	s, err := backup.NewScratch(parent, "b")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Remove()
	if _, err := os.Stat(filepath.Join(theirs, ".unfinished")); err != nil {
		t.Errorf("what another user has there was removed: %v", err)
	}
}

// A listing that is lost is named, instead of a backup that cannot be used.
func TestLostFiles(t *testing.T) {
	in := install(t)
	m := in.register("m", "x")
	tree := strings.TrimPrefix(m.Content.Tree, "sha256:")
	if err := os.Remove(filepath.Join(in.dir.Artifacts(), "trees", tree[:2], tree)); err != nil {
		t.Fatal(err)
	}
	_, err := backup.Write(t.Context(), io.Discard, backup.Source{Home: in.dir, Scratch: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), tree) {
		t.Errorf("got %v", err)
	}
}

// An archive that another version of this program wrote, kept as it was, is read
// for ever.
func FuzzRead(f *testing.F) {
	in := install(f)
	in.register("m", "content")
	f.Add(in.backup())
	f.Add([]byte("manifest.json"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		m, err := backup.Read(t.Context(), bytes.NewReader(archive), nothing{})
		if err == nil && (m.Format != 1 || len(m.Files) < 5) {
			t.Errorf("it is taken for a backup: %+v", m)
		}
		if err != nil && sluice.ErrorCode(err) == sluice.CodeInternal {
			t.Errorf("not a clear error: %v", err)
		}
	})
}
