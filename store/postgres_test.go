package store_test

import (
	"database/sql"
	"net"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
	"github.com/sluice-ml/sluice/store/storetest"
)

func TestPostgresRefusals(t *testing.T) {
	pg := storetest.StartPostgres(t)
	url := pg.Database(t)
	refused(t, strings.Replace(url, "/test1", "/absent", 1), sluice.CodeUnavailable, "absent", "does not exist")
	refused(t, strings.Replace(url, "sluice@", "stranger:hunter2@", 1), sluice.CodeUnavailable, "does not let Sluice in")

	storetest.OpenURL(url)(t, store.Options{})
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`INSERT INTO sluice_schema (version_id, is_applied) VALUES (999, true)`); err != nil {
		t.Fatal(err)
	}
	refused(t, url, sluice.CodeUnavailable, "newer Sluice", "999")
}

func TestPostgresPasswordsStayOutOfErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String() // nobody listens there any more after this
	_ = l.Close()
	for _, url := range []string{
		"postgres://me:hunter2@" + addr + "/x",
		"postgres://me:hunter2@" + addr + "/x?sslmode=bogus",
		"postgres://me:hunter2@bad host:x/\x00",
		"postgresql://me:hunter2@" + addr + "/x?password=hunter2&port=no",
	} {
		s, err := store.Open(t.Context(), url, store.Options{})
		if err == nil {
			_ = s.Close()
			t.Fatalf("%s was opened", url)
		}
		for e := err; e != nil; e = unwrap(e) {
			if strings.Contains(e.Error(), "hunter2") {
				t.Errorf("the password is in %q", e)
			}
		}
		if code := sluice.ErrorCode(err); code != sluice.CodeUnavailable && code != sluice.CodeInvalid {
			t.Errorf("code is %q: %v", code, err)
		}
	}
}

func unwrap(err error) error {
	u, ok := err.(interface{ Unwrap() error })
	if !ok {
		return nil
	}
	return u.Unwrap()
}

func TestPostgresNotificationsComeBack(t *testing.T) {
	url := storetest.StartPostgres(t).Database(t)
	s, other := storetest.OpenURL(url)(t, store.Options{}), storetest.OpenURL(url)(t, store.Options{})
	n, err := s.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, name := range []string{"a", "b"} {
		// Every connection but our own is cut, those that listen included.
		if _, err := db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
		want := commitAgain(t, other, name)
		for n < want {
			if n, err = s.Wait(t.Context(), n); err != nil && sluice.ErrorCode(err) != sluice.CodeUnavailable {
				t.Fatal(err)
			}
		}
	}
}

// commitAgain repeats a commit until a connection holds.
func commitAgain(t *testing.T, s *store.Store, name string) int64 {
	t.Helper()
	e := &sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: name}}
	for {
		n, err := s.Commit(t.Context(), sluice.Change{Put: []sluice.Resource{e}})
		if err == nil {
			return n
		}
		if sluice.ErrorCode(err) != sluice.CodeUnavailable {
			t.Fatal(err)
		}
	}
}
