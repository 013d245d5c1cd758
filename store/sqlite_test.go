package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
	"github.com/sluice-ml/sluice/store/storetest"
)

// refused opens what must not open, and checks the sentence.
func refused(t *testing.T, url string, code sluice.Code, parts ...string) {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{})
	if err == nil {
		_ = s.Close()
		t.Fatalf("%s was opened", url)
	}
	if got := sluice.ErrorCode(err); got != code {
		t.Errorf("code is %q, want %q: %v", got, code, err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

// alter runs a statement in the file as another program would.
func alter(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// fill makes a database with a few pages in it.
func fill(t *testing.T, path string) {
	t.Helper()
	s := storetest.OpenURL(path)(t, store.Options{})
	for i := range 20 {
		e := &sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: fmt.Sprint("e", i), Description: strings.Repeat("x", 3000)}}
		if _, err := s.Commit(t.Context(), sluice.Change{Put: []sluice.Resource{e}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSQLiteURLs(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for url, file := range map[string]string{
		filepath.Join(dir, "plain.db"):             "plain.db",
		"sqlite://" + filepath.Join(dir, "url.db"): "url.db",
		"relative.db": "relative.db",
		filepath.Join(dir, "odd %41?#&mode=memory'.db"): "odd %41?#&mode=memory'.db",
		":memory:": ":memory:", // no database that forgets
	} {
		fill(t, url)
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", url, err)
		}
	}
	refused(t, "", sluice.CodeInvalid, "no path")
	refused(t, "mysql://localhost/x", sluice.CodeInvalid, `"mysql"`)
	refused(t, dir, sluice.CodeInvalid, dir, "not a file")
	refused(t, filepath.Join(dir, "none", "x.db"), sluice.CodeUnavailable, filepath.Join(dir, "none", "x.db"), "no such file or directory")
}

func TestSQLiteFilesArePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.db")
	check := func(when string) {
		t.Helper()
		files, err := filepath.Glob(path + "*")
		if err != nil || len(files) < 2 {
			t.Fatalf("%s: files are %v, %v", when, files, err)
		}
		for _, file := range files {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if mode := info.Mode().Perm(); mode != 0o600 {
				t.Errorf("%s: %s has mode %o", when, file, mode)
			}
		}
	}
	s := storetest.OpenURL(path)(t, store.Options{})
	check("new")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	storetest.OpenURL(path)(t, store.Options{})
	check("opened with a mode that is too wide")
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.db")
	fill(t, path)
	alter(t, path, `INSERT INTO sluice_schema (version_id, is_applied) VALUES (999, 1)`)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, path, sluice.CodeUnavailable, path, "newer Sluice", "999")
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the refused database was written to: %v", err)
	}
}

func TestForeignDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "music.db")
	alter(t, path, `CREATE TABLE songs (title TEXT)`)
	refused(t, path, sluice.CodeInvalid, path, "not one that Sluice made")
}

func TestDamagedDatabaseIsNamed(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("this is no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, garbage, sluice.CodeUnavailable, garbage, "damaged")

	cut := filepath.Join(dir, "cut.db")
	fill(t, cut)
	if err := os.Truncate(cut, 4096*3); err != nil {
		t.Fatal(err)
	}
	refused(t, cut, sluice.CodeUnavailable, cut, "damaged")

	// Damage in the middle shows when it is read, and is named then.
	holed := filepath.Join(dir, "holed.db")
	fill(t, holed)
	data, err := os.ReadFile(holed)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096 * 4; i < len(data); i++ {
		data[i] = 0xA5
	}
	if err := os.WriteFile(holed, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), holed, store.Options{})
	if err == nil {
		_, err = s.List(t.Context(), sluice.Query{Kind: sluice.KindEndpoint})
		_ = s.Close()
	}
	if sluice.ErrorCode(err) != sluice.CodeUnavailable || !strings.Contains(err.Error(), holed) {
		t.Errorf("reading a damaged database gave %v", err)
	}
}

func TestLockedDatabaseWaitsNoLongerThanItsCaller(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.db")
	s := storetest.OpenURL(path)(t, store.Options{})
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	e := &sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: "a"}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Commit(ctx, sluice.Change{Put: []sluice.Resource{e}})
		done <- err
	}()
	if _, err := s.Latest(t.Context()); err != nil {
		t.Errorf("a reader had to wait for a writer: %v", err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a commit went through a lock")
	}
	if _, err := conn.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), sluice.Change{Put: []sluice.Resource{e}}); err != nil {
		t.Errorf("after the lock: %v", err)
	}
}
