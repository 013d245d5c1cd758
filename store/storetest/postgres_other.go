//go:build !unix

package storetest

import "testing"

// Postgres stands for a PostgreSQL server in a test, which needs Unix.
type Postgres struct{}

// StartPostgres skips the test.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	t.Skip("the PostgreSQL of the tests runs on Unix only")
	return nil
}

// Opener is never reached.
func (*Postgres) Opener(testing.TB) Opener { return nil }

// Database is never reached.
func (*Postgres) Database(testing.TB) string { return "" }
