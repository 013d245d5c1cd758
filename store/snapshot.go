package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// Snapshot copies the SQLite database at path, as it is between two changes, to
// into, which must not exist. Whoever else uses the database goes on reading and
// writing; nothing is changed in it, its schema neither. The copy is its owner's
// alone, and not synced. On an error nothing is left.
func Snapshot(ctx context.Context, path, into string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return sluice.Errorf(sluice.CodeNotFound, "there is no database %s", path)
	}
	f, err := os.OpenFile(into, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // SQLite would let others read it
	if err != nil {
		return disk.Explain("a copy of the database", into, fmt.Errorf("copying the database: %w", err))
	}
	if err := f.Close(); err != nil {
		return disk.Explain("a copy of the database", into, fmt.Errorf("copying the database: %w", err))
	}
	if disk.ReadOnly(path) {
		err = copyFiles(ctx, path, into)
	} else {
		err = vacuumInto(ctx, path, into)
	}
	if err != nil {
		return errors.Join(err, os.Remove(into))
	}
	return nil
}

// copyFiles is for a database on a disk that is read-only, where SQLite cannot
// make the side files without which it reads nothing, and where nothing changes
// that could be half copied. The log goes into the copy.
func copyFiles(ctx context.Context, path, into string) error {
	log := into + "-wal"
	defer os.Remove(log)
	for _, c := range [][2]string{{path, into}, {path + "-wal", log}} {
		if err := copyFile(c[0], c[1]); err != nil && (c[0] == path || !errors.Is(err, fs.ErrNotExist)) {
			return disk.Explain("a copy of the database", into, fmt.Errorf("copying the database: %w", err))
		}
	}
	db, err := sqlitePool(into, "?mode=rw&_dqs=0&_defensive=1", 1, 1)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("copying the database %s: %w", path, explainSQLite(into, err))
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func vacuumInto(ctx context.Context, path, into string) error {
	db, err := sqlitePool(path, "?mode=rw&_pragma=busy_timeout(10000)&_dqs=0&_defensive=1", 1, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `VACUUM INTO '`+strings.ReplaceAll(into, "'", "''")+`'`); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("copying the database %s: %w", path, explainSQLite(into, err))
	}
	return nil
}

// Check reads the whole database and says whether it is sound. It is for SQLite
// alone: PostgreSQL looks after itself.
func (s *Store) Check(ctx context.Context) error {
	var verdict string
	if err := s.db.read.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
		return s.failed(ctx, err, "checking the database")
	}
	if verdict != "ok" {
		return &sluice.Error{Code: sluice.CodeInvalid, Message: fmt.Sprintf("the database %s is damaged", s.db.name), Err: errors.New(verdict)}
	}
	return nil
}

// Schema gives the number of the database's schema.
func (s *Store) Schema(ctx context.Context) (n int64, err error) {
	err = s.db.read.QueryRowContext(ctx, `SELECT max(version_id) FROM `+schemaTable+` WHERE is_applied`).Scan(&n)
	if err != nil {
		return 0, s.failed(ctx, err, "reading the schema version")
	}
	return n, nil
}

// KnownSchema gives the number of the newest schema that this program knows.
func KnownSchema() (newest int64) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		panic("store: " + err.Error()) // the pattern is ours
	}
	for _, name := range names {
		var n int64
		if _, err := fmt.Sscanf(name, "migrations/%d_", &n); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}
