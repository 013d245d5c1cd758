package store_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/killpoint"
	"github.com/sluice-ml/sluice/smalldisk"
	"github.com/sluice-ml/sluice/store"
	"github.com/sluice-ml/sluice/store/storetest"
)

// What this program, started again by a test, does with the database that these
// variables name.
const (
	childWork  = "SLUICE_STORE_TEST_WORK"  // see writeAll
	workSize   = "SLUICE_STORE_TEST_SIZE"  // how much of it
	childSteps = "SLUICE_STORE_TEST_STEPS" // see writeSteps
)

func init() { children[childWork], children[childSteps] = writeAll, writeSteps }

// size is how much work there is to do.
type size struct {
	Changes int
	Bytes   int // more in each resource
}

var (
	little = size{Changes: 3}
	// much is enough for the log to be copied into the database in between, and
	// begun anew.
	much = size{Changes: 12, Bytes: 100_000}
)

func (s size) change(n int) sluice.Change {
	c := pairOf(n)
	for _, r := range c.Put {
		r.Header().Description += strings.Repeat("y", s.Bytes)
	}
	return c
}

// writeAll makes a database, writes changes and closes it. It prints "done" for
// each that was acknowledged, and "refused" with the code of the cause for each
// step that failed, which it then tries again, once.
func writeAll(ctx context.Context, path string) error {
	var work size
	if err := json.Unmarshal([]byte(os.Getenv(workSize)), &work); err != nil {
		return err
	}
	try := func(what string, do func() error) error {
		err := do()
		if err == nil {
			return nil
		}
		var e *sluice.Error
		if !errors.As(err, &e) || e.Code != sluice.CodeUnavailable || e.Cause == nil || e.Hint == "" || !strings.Contains(e.Error(), path) {
			return fmt.Errorf("%s: %w is no clear error", what, err)
		}
		fmt.Println("refused", e.Cause.Code)
		if err := do(); err != nil {
			return fmt.Errorf("%s, again: %w", what, err)
		}
		return nil
	}
	var s *store.Store
	if err := try("opening", func() (err error) { s, err = store.Open(ctx, path, store.Options{}); return err }); err != nil {
		return err
	}
	for n := range work.Changes {
		if err := try("writing", func() error { _, err := s.Commit(ctx, work.change(n)); return err }); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return s.Close()
}

// faulty is a database that is written to under a rig, again and again.
type faulty struct {
	t    *testing.T
	dir  string
	path string
	rig  *killpoint.Rig
	size size
}

func newFaulty(t *testing.T, much size) *faulty {
	dir := filepath.Join(t.TempDir(), "d")
	return &faulty{t, dir, filepath.Join(dir, "sluice.db"), killpoint.New(t, filepath.Dir(dir)), much}
}

// work does all the work on a new database.
func (f *faulty) work() (done int, refused []string, complaint string, err error) {
	f.t.Helper()
	self, err := os.Executable()
	if err == nil {
		err = errors.Join(os.RemoveAll(f.dir), os.Mkdir(f.dir, 0o700))
	}
	if err != nil {
		f.t.Fatal(err)
	}
	child := exec.CommandContext(f.t.Context(), self)
	child.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", childWork+"="+f.path, fmt.Sprintf("%s={\"Changes\":%d,\"Bytes\":%d}", workSize, f.size.Changes, f.size.Bytes))
	var out, trouble bytes.Buffer
	child.Stdout, child.Stderr = &out, &trouble
	if err := f.rig.Start(child); err != nil {
		f.t.Fatal(err)
	}
	err = child.Wait()
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		if code, ok := strings.CutPrefix(lines.Text(), "refused "); ok {
			refused = append(refused, code)
		} else {
			done++
		}
	}
	return done, refused, trouble.String(), err
}

// points gives the durable steps of the work.
func (f *faulty) points() []killpoint.Point {
	f.t.Helper()
	f.rig.Reset()
	if done, refused, complaint, err := f.work(); err != nil || done != f.size.Changes || len(refused) > 0 {
		f.t.Fatalf("with nothing in the way: %d done, %v refused, %v, %s", done, refused, err, complaint)
	}
	return f.rig.Points()
}

// check has one step of the work fail, or be the last, and looks at what is
// left of it.
func (f *faulty) check(p killpoint.Point, fault killpoint.Fault) {
	t := f.t
	t.Helper()
	f.rig.At(p, fault)
	done, refused, complaint, err := f.work()
	if len(f.rig.Hits()) == 0 {
		// The number of steps of a kind differs a little from run to run.
		if p.N == 1 {
			t.Errorf("%s did not come", p)
		}
		return
	}
	at := fmt.Sprintf("%s, %s", p, fault)
	if fault.Kills() != (err != nil) || complaint != "" {
		t.Errorf("%s: the writer ended with %v: %s", at, err, complaint)
	}
	if fault == killpoint.Fail(unix.ENOSPC) && p.Writes() && strings.HasSuffix(p.File, "-wal") {
		for _, code := range refused {
			if code != string(sluice.CauseDiskFull) {
				t.Errorf("%s: the cause is %s", at, code)
			}
		}
	}
	s, err := store.Open(t.Context(), f.path, store.Options{})
	if err != nil {
		t.Fatalf("%s: the next start: %v", at, err)
	}
	// One more may be there than was acknowledged, and it is whole.
	if n := wholePairs(t, s); n != done && n != done+1 {
		t.Errorf("%s: %d changes are there, and %d were acknowledged", at, n, done)
	}
	if _, err := s.Commit(t.Context(), f.size.change(9000)); err != nil {
		t.Errorf("%s: the next change: %v", at, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", at, err)
	}
	sound(t, f.path)
}

// Each kind of step, its first and its last, is once the last of the process
// and once one that fails.
func TestFaultAtEachKindOfStep(t *testing.T) {
	f := newFaulty(t, little)
	points := f.points()
	sample := killpoint.Sample(points, 1, 0)
	if len(sample) < 12 {
		t.Errorf("only %d kinds of steps were seen: %v", len(sample), sample)
	}
	for i, p := range sample {
		faults := killpoint.Faults(p)
		f.check(p, faults[0])
		f.check(p, faults[1+i%(len(faults)-1)])
	}
}

// checkPower has the machine lose its power at a point, after a sync that failed
// before: what was acknowledged has been synced since, or before, and so is there.
func (f *faulty) checkPower(failed *killpoint.Point, off killpoint.Point) {
	t := f.t
	t.Helper()
	shadow := filepath.Join(t.TempDir(), "s")
	f.rig.Shadow(shadow)
	f.rig.At(off, killpoint.Kill)
	at := off.String()
	if failed != nil {
		f.rig.Also(*failed, killpoint.Fail(unix.EIO))
		at = failed.String() + " fails, then " + at
	}
	done, _, complaint, _ := f.work()
	if complaint != "" {
		t.Errorf("%s: the writer says %s", at, complaint)
	}
	path := filepath.Join(shadow, "d", "sluice.db")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatalf("%s: the next start: %v", at, err)
	}
	if n := wholePairs(t, s); n != done && n != done+1 {
		t.Errorf("%s: %d changes are there, and %d were acknowledged", at, n, done)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", at, err)
	}
	sound(t, path)
}

// A machine that loses its power keeps what was acknowledged, even after a sync
// has failed and taken with it what the system believed to be written.
func TestPowerLossAfterAFailedSync(t *testing.T) {
	f := newFaulty(t, little)
	points := f.points()
	var syncs []killpoint.Point
	for _, p := range points {
		if p.Name == "fsync" {
			syncs = append(syncs, p)
		}
	}
	if len(syncs) < 6 {
		t.Fatalf("only %d syncs were seen: %v", len(syncs), points)
	}
	for i := range syncs {
		// Each sync fails, and the power goes at the next, or at the last.
		f.checkPower(nil, syncs[i])
		if i+1 < len(syncs) {
			f.checkPower(&syncs[i], syncs[i+1])
			f.checkPower(&syncs[i], syncs[len(syncs)-1])
		}
	}
}

// A disk that is read-only: what is there cannot be taken over, and the reason
// is said; once it can be written all is as it was.
func TestOpenOnAReadOnlyDisk(t *testing.T) {
	d := smalldisk.New(t, 8<<20)
	path := filepath.Join(d.Dir, "sluice.db")
	open := func() error {
		s, err := store.Open(t.Context(), path, store.Options{})
		if err != nil {
			return err
		}
		_, err = s.Commit(t.Context(), sluice.Change{Put: []sluice.Resource{&sluice.Operation{Meta: sluice.Meta{Workspace: "default", Name: fmt.Sprint("x", rand.Int64())}}}})
		return errors.Join(err, s.Close())
	}
	refuses := func(when string) {
		t.Helper()
		d.ReadOnly(true)
		defer d.ReadOnly(false)
		err := open()
		var e *sluice.Error
		if !errors.As(err, &e) || e.Cause == nil || e.Cause.Code != sluice.CauseDiskFailed || e.Code != sluice.CodeUnavailable {
			t.Fatalf("%s: %v, want a disk that refuses", when, err)
		}
		if !strings.Contains(e.Error(), "read-only file system") || !strings.Contains(e.Error(), path) {
			t.Errorf("%s: %q does not say what is wrong where", when, e)
		}
	}
	refuses("new")
	if err := open(); err != nil {
		t.Fatal(err)
	}
	refuses("closed properly")
	if killAfter(t, path, 3) == 0 {
		t.Fatal("nothing was written")
	}
	refuses("after a kill")
	if err := open(); err != nil {
		t.Error(err)
	}
	sound(t, path)
}

// While every write is refused what was written can be read, and the same store
// goes on afterwards.
func TestDiskThatRefusesUnderAnOpenStore(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EROFS, unix.EIO} {
		f := newFaulty(t, little)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(f.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		child := exec.CommandContext(t.Context(), self)
		child.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", childSteps+"="+f.path)
		in, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.rig.Start(child); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		step := func(want string) {
			t.Helper()
			fmt.Fprintln(in)
			if !lines.Scan() || lines.Text() != want {
				t.Fatalf("%v: got %q, want %q", errno, lines.Text(), want)
			}
		}
		step("1 read, wrote")
		step("2 read, wrote")
		f.rig.Every(func(killpoint.Point) bool { return true }, killpoint.Fail(errno))
		for range 3 {
			step("3 read, DiskFailed")
		}
		f.rig.Disarm()
		step("3 read, wrote")
		step("4 read, wrote")
		if err := errors.Join(in.Close(), child.Wait()); err != nil {
			t.Error(err)
		}
		s := storetest.OpenURL(f.path)(t, store.Options{})
		if n := wholePairs(t, s); n != 4 {
			t.Errorf("%v: %d changes are there, want 4", errno, n)
		}
		sound(t, f.path)
	}
}

// writeSteps opens a database and, for each line it is given, reads all and
// writes a change.
func writeSteps(ctx context.Context, path string) error {
	s, err := store.Open(ctx, path, store.Options{})
	if err != nil {
		return err
	}
	n := 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); n++ {
		all, err := store.ReadAll[*sluice.Endpoint](ctx, s, sluice.Query{Kind: sluice.KindEndpoint})
		if err != nil {
			return err
		}
		_, err = s.Commit(ctx, pairOf(n))
		says := "wrote"
		if c, ok := errors.AsType[*sluice.Error](err); ok && c.Cause != nil {
			says = string(c.Cause.Code)
		} else if err != nil {
			return err
		}
		fmt.Printf("%d read, %s\n", 1+len(all)/2, says)
	}
	return s.Close()
}
