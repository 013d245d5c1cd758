package store

import (
	"database/sql"
	"path/filepath"
	"testing"
)

// What Commit promises about a crash of the machine, and what the program may
// take of its memory, hang on settings of each connection.
func TestSQLiteSettings(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "sluice.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, test := range []struct {
		pool          *sql.DB
		setting, want string
	}{
		{s.db.write, "journal_mode", "wal"},
		{s.db.write, "synchronous", "2"}, // FULL
		{s.db.write, "cache_size", "-1024"},
		{s.db.write, "busy_timeout", "10000"},
		{s.db.read, "cache_size", "-1024"},
		{s.db.read, "busy_timeout", "10000"},
		{s.db.read, "query_only", "1"},
	} {
		var got string
		if err := test.pool.QueryRowContext(t.Context(), "PRAGMA "+test.setting).Scan(&got); err != nil || got != test.want {
			t.Errorf("%s is %q, %v, want %q", test.setting, got, err, test.want)
		}
	}
	if n := s.db.write.Stats().MaxOpenConnections; n != 1 {
		t.Errorf("there are %d writing connections, want 1", n)
	}
}
