package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/backup"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/killpoint"
	"github.com/sluice-ml/sluice/smalldisk"
)

// What makes this program, started again by a test, restore the archive of the
// second variable to the home of the first.
const (
	childHome    = "SLUICE_BACKUP_TEST_HOME"
	childArchive = "SLUICE_BACKUP_TEST_ARCHIVE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childHome); dir != "" {
		if err := restoreHere(home.Dir(dir), os.Getenv(childArchive)); err != nil {
			// As the command line tells which it is.
			code := sluice.CauseCode("")
			if c, ok := errors.AsType[*sluice.Cause](err); ok {
				code = c.Code
			} else if e, ok := errors.AsType[*sluice.Error](err); ok && e.Cause != nil {
				code = e.Cause.Code
			}
			fmt.Println(code, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func restoreHere(dir home.Dir, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = backup.Restore(context.Background(), f, backup.Target{Home: dir, Force: true})
	return err
}

// faulty is a home with one installation to which another is restored.
type faulty struct {
	t       *testing.T
	root    string // holds the home and what is put beside it
	old     []byte // an archive of what is there
	archive string // of what is restored
	rig     *killpoint.Rig
}

func newFaulty(t *testing.T) *faulty {
	in := install(t)
	in.register("old", "one")
	old := in.backup()
	in.register("new", "two")
	f := &faulty{t: t, root: t.TempDir(), old: old, archive: filepath.Join(t.TempDir(), "b.tar")}
	if err := os.WriteFile(f.archive, in.backup(), 0o600); err != nil {
		t.Fatal(err)
	}
	f.rig = killpoint.New(t, f.root)
	return f
}

func (f *faulty) home() home.Dir { return home.Dir(filepath.Join(f.root, "h")) }

// restore restores over the old installation in a process of its own.
func (f *faulty) restore() (says string, err error) {
	f.t.Helper()
	entries, err := os.ReadDir(f.root)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(f.root, e.Name())))
	}
	if _, errRestore := backup.Restore(f.t.Context(), bytes.NewReader(f.old), backup.Target{Home: f.home()}); err != nil || errRestore != nil {
		f.t.Fatal(err, errRestore)
	}
	self, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	var out bytes.Buffer
	child := exec.CommandContext(f.t.Context(), self)
	child.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", childHome+"="+string(f.home()), childArchive+"="+f.archive)
	child.Stdout, child.Stderr = &out, &out
	if err := f.rig.Start(child); err != nil {
		f.t.Fatal(err)
	}
	err = child.Wait()
	return out.String(), err
}

// check has a restore fail or be killed at a point: what is at home then is what
// was before or what was restored, and restoring again succeeds.
func (f *faulty) check(p killpoint.Point, fault killpoint.Fault) {
	f.t.Helper()
	f.rig.At(p, fault)
	says, err := f.restore()
	if len(f.rig.Hits()) == 0 {
		if p.N == 1 {
			f.t.Errorf("%s did not come", p)
		}
		return
	}
	at := fmt.Sprintf("%s, %s", p, fault)
	if !fault.Kills() && err != nil && !strings.HasPrefix(says, "Disk") {
		f.t.Errorf("%s: not a clear error: %s", at, says)
	}
	now := open(f.t, f.home())
	models := now.models()
	if models["old"] != "one" || len(models) == 2 && models["new"] != "two" || len(models) > 2 {
		f.t.Errorf("%s: there is %v", at, models)
	}
	if err == nil && len(models) != 2 {
		f.t.Errorf("%s: it succeeded, and there is %v", at, models)
	}
	if err := errors.Join(now.db.Check(f.t.Context()), now.db.Close(), restoreHere(f.home(), f.archive)); err != nil {
		f.t.Errorf("%s: restoring again: %v", at, err)
	}
	left, err := os.ReadDir(f.root)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range left {
		if dir := home.Dir(filepath.Join(f.root, e.Name())); dir != f.home() {
			// What was there before is kept, however often; nothing else is.
			if before := open(f.t, dir); before.models()["old"] != "one" || !strings.HasPrefix(e.Name(), "h.before-") {
				f.t.Errorf("%s: %s is left", at, dir)
			}
		}
	}
}

func TestRestoreFaults(t *testing.T) {
	f := newFaulty(t)
	if says, err := f.restore(); err != nil {
		t.Fatal(err, says)
	}
	if hasty := killpoint.Unsynced(f.rig.Points()); len(hasty) > 0 {
		t.Errorf("not synced: %v", hasty)
	}
	points := killpoint.Sample(f.rig.Points(), 1, 0)
	if len(points) < 20 {
		t.Errorf("only %d steps were seen: %v", len(points), points)
	}
	for i, p := range points {
		faults := killpoint.Faults(p)
		f.check(p, faults[i%len(faults)])
		if strings.HasPrefix(p.Name, "rename") || p.Name == "fsync" {
			f.check(p, killpoint.Kill)
		}
	}
}

func TestSoakRestoreFaults(t *testing.T) {
	soak := killpoint.Soak(t)
	f := newFaulty(t)
	if says, err := f.restore(); err != nil {
		t.Fatal(err, says)
	}
	points := f.rig.Points()
	for soak.More() {
		p := points[soak.Draw(len(points))]
		faults := killpoint.Faults(p)
		f.check(p, faults[soak.Draw(len(faults))])
	}
}

// A restore to a disk that is too small says so at once, and one that fills in
// the middle leaves nothing.
func TestRestoreToAFullDisk(t *testing.T) {
	in := install(t)
	in.register("m", strings.Repeat("x", 100_000))
	archive := in.backup()
	d := smalldisk.New(t, 16<<20)
	dir := home.Dir(filepath.Join(d.Dir, "h"))
	try := func(string) error {
		_, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: dir})
		return err
	}
	refused := 0
	for _, left := range []int64{0, 1, 10, 40, 60, 80, 100, 110, 120, 140} {
		d.Fill(left)
		err := try("")
		d.Free()
		if err == nil {
			break
		}
		refused++
		if c, ok := errors.AsType[*sluice.Cause](err); !ok || c.Code != sluice.CauseDiskFull {
			t.Errorf("with room for %d pages: %v", left, err)
		}
		if left, err := os.ReadDir(d.Dir); err != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, err)
		}
	}
	if refused < 3 {
		t.Errorf("only %d restores found no room", refused)
	}
}

// A file system of its own, such as a container's volume, is filled in place.
func TestRestoreToAMountPoint(t *testing.T) {
	in := install(t)
	in.register("m", "x")
	archive := in.backup()
	mount := filepath.Dir(smalldisk.New(t, 16<<20).Dir)
	for _, name := range []string{"d", "filler"} { // what the small disk has on it
		if err := os.Remove(filepath.Join(mount, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: home.Dir(mount)}); err != nil {
		t.Fatal(err)
	}
	back := open(t, home.Dir(mount))
	if got := back.models(); got["m"] != "x" {
		t.Errorf("got %v", got)
	}
	if err := back.db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := backup.Restore(t.Context(), bytes.NewReader(archive), backup.Target{Home: home.Dir(mount), Force: true})
	if sluice.ErrorCode(err) != sluice.CodeInvalid {
		t.Errorf("over one that is mounted: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(mount, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// A disk that has become read-only is when a backup is wanted most: what was
// acknowledged is in it, whether the server was stopped or killed.
func TestBackupOfAReadOnlyDisk(t *testing.T) {
	for _, stopped := range []bool{true, false} {
		in := install(t)
		in.register("m", "x")
		d := smalldisk.New(t, 16<<20)
		dir := home.Dir(filepath.Join(d.Dir, "h"))
		if stopped {
			if err := in.db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		// With modes and times, by which the artifact store knows its files.
		if out, err := exec.Command("cp", "-a", string(in.dir), string(dir)).CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
		if wal, err := os.Stat(dir.Database() + "-wal"); (err != nil) != stopped {
			t.Fatalf("stopped %t: the log is %v, %v", stopped, wal, err)
		}
		for _, shared := range []string{dir.Database() + "-shm"} { // a machine that has restarted has none
			if err := os.Remove(shared); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		d.ReadOnly(true)
		if got := restore(t, (&installation{t: t, dir: dir}).backup()).models(); got["m"] != "x" {
			t.Errorf("stopped %t: got %v", stopped, got)
		}
		d.ReadOnly(false)
	}
}
