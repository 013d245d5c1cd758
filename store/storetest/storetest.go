// Package storetest is the conformance suite of package store: every promise
// of the store as a subtest, run on each database it can use.
//
//	func TestSQLite(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Opener { return storetest.SQLite(t) })
//	}
//
// It also gives other packages' tests a store: [Open] a SQLite one, and
// [StartPostgres] a real PostgreSQL server. Everything ends with its test.
package storetest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
)

// Opener opens another store on one and the same database. The store is
// closed when the test ends, unless the test did so before.
type Opener func(t testing.TB, opts store.Options) *store.Store

// patience bounds how long a test waits for what should happen at once. It is
// only ever used up by a test that fails.
const patience = 30 * time.Second

// Run runs the suite. fresh gives the opener of a new, empty database.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for _, group := range []map[string]func(*testing.T, Opener){
		writing, listing, recording, waiting, leasing, sharing,
	} {
		for name, test := range group {
			t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
		}
	}
}

// OpenURL gives the opener of the database at url.
func OpenURL(url string) Opener {
	return func(t testing.TB, opts store.Options) *store.Store {
		t.Helper()
		s, err := store.Open(t.Context(), url, opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
}

// SQLite gives the opener of a new SQLite database.
func SQLite(t testing.TB) Opener {
	return OpenURL(filepath.Join(t.TempDir(), "sluice.db"))
}

// Open gives a store on a new SQLite database. A test that uses
// testing/synctest must call it inside the bubble.
func Open(t testing.TB) *store.Store {
	t.Helper()
	return SQLite(t)(t, store.Options{})
}

var admin = sluice.Actor{Name: "admin", From: "127.0.0.1:4321", Client: "sluice/1"}

func meta(name string) sluice.Meta {
	return sluice.Meta{Workspace: sluice.DefaultWorkspace, Name: name}
}

func endpoint(name string) *sluice.Endpoint {
	return &sluice.Endpoint{Meta: meta(name), AuthMode: sluice.AuthKey, State: sluice.StateCreating}
}

func model(name, version string) *sluice.Model {
	m := &sluice.Model{Meta: meta(name), Type: sluice.ModelCustom}
	m.Version = version
	return m
}

func put(resources ...sluice.Resource) sluice.Change {
	return sluice.Change{Actor: admin, Put: resources}
}

func remove(resources ...sluice.Resource) sluice.Change {
	return sluice.Change{Actor: admin, Delete: resources}
}

func commit(t testing.TB, s *store.Store, c sluice.Change) int64 {
	t.Helper()
	n, err := s.Commit(t.Context(), c)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return n
}

func get[T sluice.Resource](t testing.TB, s *store.Store, key sluice.Key) T {
	t.Helper()
	r, err := store.Read[T](t.Context(), s, key)
	if err != nil {
		t.Fatalf("get %v: %v", key, err)
	}
	return r
}

func latest(t testing.TB, s *store.Store) int64 {
	t.Helper()
	n, err := s.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wantCode checks which kind of failure err is; "" is none.
func wantCode(t testing.TB, what string, err error, want sluice.Code) {
	t.Helper()
	if got := sluice.ErrorCode(err); got != want {
		t.Errorf("%s gave %v (code %q), want code %q", what, err, got, want)
	}
}

// soon is a context that ends when something that should happen at once does not.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
