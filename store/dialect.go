package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// This file is the only one that knows one database from the other.

// database is an open database of either kind.
type database struct {
	name  string        // for people; holds no password
	goose goose.Dialect // whose SQL the schema's own bookkeeping speaks
	write *sql.DB       // on SQLite one connection, so that writers queue here and not in the file
	read  *sql.DB       // may be the same as write
	tx    *sql.TxOptions

	prepare func(ctx context.Context) error                    // before the schema; what only this kind needs
	lock    func(ctx context.Context) (unlock func(), _ error) // one process at a time looks after the schema; nil when retrying does
	explain func(err error) error                              // a database error as a sluice.Error, where a person can act on it
	notify  string                                             // statement that wakes other processes at commit; "" for none
	listen  func(ctx context.Context, wake func()) error       // calls wake after each change until ctx ends; nil for none
}

func openDatabase(ctx context.Context, where string) (*database, error) {
	var db *database
	var err error
	scheme, rest, isURL := strings.Cut(where, "://")
	switch {
	case !isURL:
		db, err = openSQLite(where)
	case scheme == "sqlite":
		db, err = openSQLite(rest)
	case scheme == "postgres" || scheme == "postgresql":
		db, err = openPostgres(where)
	default:
		return nil, sluice.Errorf(sluice.CodeInvalid, "%q is not a kind of database that Sluice knows", scheme).
			WithHint("write a path, sqlite:///path or postgres://user@host/database")
	}
	if err != nil {
		return nil, err
	}
	if err := db.ready(ctx); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

// ready makes the schema what this program expects.
func (db *database) ready(ctx context.Context) error {
	if db.lock != nil {
		unlock, err := db.lock(ctx)
		if err != nil {
			return db.explain(err)
		}
		defer unlock()
	}
	if err := db.prepare(ctx); err != nil {
		return db.explain(err)
	}
	return db.migrate(ctx)
}

func (db *database) close() error {
	if db.read == db.write {
		return db.write.Close()
	}
	return errors.Join(db.read.Close(), db.write.Close())
}

// applicationID marks a SQLite file as ours: "Sluc" in ASCII.
const applicationID = 0x536c7563

func openSQLite(path string) (*database, error) {
	if path == "" {
		return nil, sluice.Errorf(sluice.CodeInvalid, "the database has no path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the database: %w", err)
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	// Small caches: the whole program has to live in little memory, and the
	// operating system caches the file anyway.
	common := "&_pragma=busy_timeout(10000)&_pragma=cache_size(-1024)&_dqs=0&_defensive=1"
	write, err := sqlitePool(path, "?_txlock=immediate"+common+
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=journal_size_limit(4194304)", 1, 1)
	if err != nil {
		return nil, err
	}
	read, err := sqlitePool(path, "?_txlock=deferred"+common+"&_pragma=query_only(1)", 4, 1)
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	db := &database{name: path, goose: goose.DialectSQLite3, write: write, read: read}
	db.prepare = func(ctx context.Context) error { return claimSQLite(ctx, write, path) }
	db.explain = func(err error) error { return explainSQLite(path, err) }
	return db, nil
}

func sqlitePool(path, settings string, most, idle int) (*sql.DB, error) {
	file := url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(path), "/")} // "/C:/…" on Windows
	dsn := file.String() + settings
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	pool := sql.OpenDB(c)
	pool.SetMaxOpenConns(most)
	pool.SetMaxIdleConns(idle)
	return pool, nil
}

// makePrivate creates the file for its owner only, or takes rights away from
// others that an existing one has. SQLite gives its side files the same mode.
//
// An existing file must not be opened and closed here: on Unix that would drop
// the locks another store in this process holds on it.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		return f.Close()
	}
	if disk.IsFull(err) || disk.HasFailed(err) {
		return refused(path, err)
	}
	if !errors.Is(err, fs.ErrExist) {
		return &sluice.Error{Code: sluice.CodeUnavailable, Err: err,
			Message: fmt.Sprintf("the database %s cannot be created: %v", path, err),
			Hint:    "the directory must exist and be writable"}
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) && name != path {
			continue
		}
		if err != nil {
			return fmt.Errorf("opening the database: %w", err)
		}
		if !info.Mode().IsRegular() {
			return sluice.Errorf(sluice.CodeInvalid, "%s is not a file, and so not a database", name)
		}
		if info.Mode().Perm()&0o077 != 0 {
			if err := os.Chmod(name, 0o600); err != nil {
				return fmt.Errorf("making the database private: %w", err)
			}
		}
	}
	return nil
}

// claimSQLite marks an empty file as ours and refuses one that is not.
func claimSQLite(ctx context.Context, db *sql.DB, path string) error {
	var id, tables int
	err := db.QueryRowContext(ctx, `SELECT application_id, (SELECT count(*) FROM sqlite_master) FROM pragma_application_id`).Scan(&id, &tables)
	if err != nil || id == applicationID {
		return err
	}
	if id != 0 || tables != 0 {
		return sluice.Errorf(sluice.CodeInvalid, "%s is a SQLite database, but not one that Sluice made", path).
			WithHint("give another path")
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d`, applicationID))
	return err
}

func explainSQLite(path string, err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	unavailable := func(hint, format string, args ...any) error {
		return &sluice.Error{Code: sluice.CodeUnavailable, Message: fmt.Sprintf(format, args...), Hint: hint, Err: err}
	}
	code := e.Code() & 0xff // the low byte; the rest refines it
	if code == sqlite3.SQLITE_FULL || noRoom(code, path) {
		return refused(path, errors.Join(syscall.ENOSPC, err))
	}
	switch code {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return unavailable("restore the file from a backup, or move it away to start empty",
			"the database %s is damaged", path)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return unavailable("end that process or try again", "another process keeps the database %s locked", path)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		if disk.ReadOnly(path) {
			return refused(path, errors.Join(syscall.EROFS, err))
		}
		// It does not say why: most often it may not.
		cause := &sluice.Cause{Code: sluice.CauseDiskFailed, Message: fmt.Sprintf("the database %s cannot be written", path),
			Hint: "the file and its directory must be writable; where they are, the system's log (dmesg) says what is wrong with the disk"}
		return &sluice.Error{Code: sluice.CodeUnavailable, Cause: cause, Hint: cause.Hint, Err: err}
	case sqlite3.SQLITE_IOERR:
		if disk.ReadOnly(path) {
			return refused(path, errors.Join(syscall.EROFS, err))
		}
		return refused(path, errors.Join(syscall.EIO, err))
	}
	return err
}

// refused is unavailable until the disk takes writes again. SQLite says no more
// of the system's error than its kind, so that err says it again.
//
// Nothing has to be opened anew after an error, a sync that failed included,
// although what the system keeps of the file in memory may then differ from
// what is on the disk: SQLite takes nothing for written before a sync succeeds.
// A change is no part of the log until then, and the next one is written over
// it, page by page; what a checkpoint copied counts as copied only after the
// sync, and is copied again. TestPowerLossAfterAFailedSync tries it.
func refused(path string, err error) error {
	why := disk.Explain("the database", path, err)
	cause, _ := errors.AsType[*sluice.Cause](why)
	return &sluice.Error{Code: sluice.CodeUnavailable, Cause: cause, Hint: cause.Hint, Err: why}
}

// noRoom reports whether a write that SQLite calls an error of the disk, or a
// file that it could not make, wants nothing but room: it says so of the side
// files that readers and writers share.
func noRoom(code int, path string) bool {
	switch code {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		room, ok := disk.At(path)
		return ok && (room.Files == 0 || room.Bytes < sideFile)
	}
	return false
}

// sideFile is what SQLite wants at once for a side file, in bytes.
const sideFile = 64 << 10

// channel carries PostgreSQL's notifications. They have no content.
const channel = "sluice_change"

// schemaLock is the key of the advisory lock under which servers that start at
// the same time bring the schema up to date: "sluice" in ASCII.
const schemaLock = 0x736c75696365

func openPostgres(where string) (*database, error) {
	cfg, err := pgx.ParseConfig(where)
	if err != nil {
		// The parser's error may repeat parts of the URL, and so the password.
		return nil, sluice.Errorf(sluice.CodeInvalid, "the database URL cannot be read").
			WithHint("write postgres://user:password@host:5432/database")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "sluice"
	}
	pool := stdlib.OpenDB(*cfg)
	pool.SetMaxOpenConns(8)
	pool.SetMaxIdleConns(2)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	db := &database{name: fmt.Sprintf("%s at %s:%d", cfg.Database, cfg.Host, cfg.Port),
		goose: goose.DialectPostgres, write: pool, read: pool,
		tx:     &sql.TxOptions{Isolation: sql.LevelReadCommitted}, // the counter's row lock does the rest
		notify: `SELECT pg_notify('` + channel + `', '')`}
	db.prepare = func(ctx context.Context) error { return preparePostgres(ctx, pool) }
	db.lock = func(ctx context.Context) (func(), error) { return lockPostgres(ctx, pool) }
	db.explain = func(err error) error { return explainPostgres(db.name, err) }
	db.listen = func(ctx context.Context, wake func()) error { return listenPostgres(ctx, cfg, wake) }
	return db, nil
}

// preparePostgres makes the type of key columns, which compares by bytes
// whatever the database's collation is, so that order is the same everywhere.
func preparePostgres(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, `DO $$ BEGIN
		CREATE DOMAIN keytext AS text COLLATE "C";
	EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
	return err
}

func lockPostgres(ctx context.Context, db *sql.DB) (func(), error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(schemaLock)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return func() {
		// A failure here means the connection is gone, and the lock with it.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(schemaLock))
		_ = conn.Close()
	}, nil
}

func explainPostgres(name string, err error) error {
	unavailable := func(hint, format string, args ...any) error {
		return &sluice.Error{Code: sluice.CodeUnavailable, Message: fmt.Sprintf(format, args...), Hint: hint, Err: err}
	}
	var refused *pgconn.ConnectError
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && strings.HasPrefix(pg.Code, "28"):
		return unavailable("check user and password in the database URL", "the database %s does not let Sluice in", name)
	case errors.As(err, &pg) && pg.Code == "3D000":
		return unavailable("create it with createdb", "the database %s does not exist", name)
	case errors.As(err, &pg) && strings.HasPrefix(pg.Code, "53"):
		return unavailable("", "the database %s is out of disk, memory or connections: %s", name, pg.Message)
	case errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08")):
		return unavailable("", "the database %s is shutting down or starting", name)
	case errors.As(err, &pg):
		return err
	case errors.As(err, &refused) || pgconn.Timeout(err) || pgconn.SafeToRetry(err):
		return unavailable("check that it is running and can be reached", "the database %s cannot be reached", name)
	}
	return err
}

// listenPostgres has a connection of its own, outside the pool.
func listenPostgres(ctx context.Context, cfg *pgx.ConnConfig, wake func()) error {
	conn, err := pgx.ConnectConfig(ctx, cfg.Copy())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
		return err
	}
	wake() // for what was committed before we listened
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
		wake()
	}
}
