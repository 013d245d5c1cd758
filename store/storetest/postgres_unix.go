//go:build unix

package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Postgres is a real PostgreSQL server that lives as long as a test. It keeps
// its data in a directory of its own and listens on a Unix socket there only.
type Postgres struct {
	dir   string
	admin *sql.DB
	made  int
}

// keeper runs the server and ends it when its own input ends, which is also
// what happens when the test program dies.
const keeper = `"$@" & server=$!; cat >/dev/null; kill -INT $server; wait $server`

// StartPostgres starts a server. Where its programs are missing the test is
// skipped, or fails when CI is true.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	bin := findPostgres(t)
	dir, err := os.MkdirTemp("", "sluice-pg-") // not t.TempDir, which other users may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	who := unprivileged(t, dir)
	data, log := filepath.Join(dir, "data"), filepath.Join(dir, "log")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--no-sync", "--auth=trust", "--username=sluice",
		"--encoding=UTF8", "--locale=C.UTF-8", "--pgdata", data)
	initdb.SysProcAttr, initdb.Dir = &syscall.SysProcAttr{Credential: who}, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	logFile, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	server := exec.Command("sh", "-c", keeper, "keeper", filepath.Join(bin, "postgres"), "-D", data, "-k", dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off",
		"-c", "max_connections=200", "-c", "shared_buffers=16MB")
	server.SysProcAttr = &syscall.SysProcAttr{Credential: who, Setpgid: true} // a ^C is for the test, not for it
	server.Dir, server.Stdout, server.Stderr = dir, logFile, logFile
	life, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	t.Cleanup(func() { stop(t, server, life, log) })
	return connect(t, dir, log)
}

func stop(t testing.TB, server *exec.Cmd, life io.Closer, log string) {
	_ = life.Close()
	killed := time.AfterFunc(patience, func() { _ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL) })
	if err := server.Wait(); err != nil || !killed.Stop() {
		text, _ := os.ReadFile(log)
		t.Errorf("PostgreSQL did not stop well: %v\n%s", err, text)
	}
}

// connect waits until the server answers.
func connect(t testing.TB, dir, log string) *Postgres {
	t.Helper()
	pg := &Postgres{dir: dir}
	var err error
	if pg.admin, err = sql.Open("pgx", pg.url("postgres")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.admin.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = pg.admin.PingContext(ctx); err == nil {
			return pg
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(log)
			t.Fatalf("PostgreSQL does not answer: %v\n%s", err, text)
		case <-tick.C:
		}
	}
}

// Database makes an empty database and gives its URL.
func (pg *Postgres) Database(t testing.TB) string {
	t.Helper()
	pg.made++
	name := fmt.Sprintf("test%d", pg.made)
	// A language's order of text is not that of bytes, and the store must not
	// care. Only a server without ICU gets away with the default.
	_, err := pg.admin.ExecContext(t.Context(), `CREATE DATABASE `+name+` TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`)
	if err != nil {
		t.Logf("no database with English order: %v", err)
		_, err = pg.admin.ExecContext(t.Context(), `CREATE DATABASE `+name)
	}
	if err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	return pg.url(name)
}

// Opener gives the opener of a new, empty database.
func (pg *Postgres) Opener(t testing.TB) Opener {
	t.Helper()
	return OpenURL(pg.Database(t))
}

func (pg *Postgres) url(database string) string {
	return "postgres://sluice@/" + database + "?host=" + pg.dir
}

func findPostgres(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	const absent = "PostgreSQL's programs are not here: install the package postgresql"
	if os.Getenv("CI") == "true" {
		t.Fatal(absent)
	}
	t.Skip(absent)
	return ""
}

// unprivileged gives the directory to a user who may run PostgreSQL, which
// refuses root. It returns nil when we are somebody else already.
func unprivileged(t testing.TB, dir string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 != nil || err2 != nil {
			continue
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Fatal("PostgreSQL refuses root, and there is no user postgres or nobody")
	return nil
}
