package artifact_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice/killpoint"
)

// faulty is a store whose steps are taken under a rig, again and again.
type faulty struct {
	t    *testing.T
	root string
	rig  *killpoint.Rig
}

func newFaulty(t *testing.T) *faulty {
	root := t.TempDir()
	return &faulty{t, root, killpoint.New(t, root)}
}

func (f *faulty) dir() string { return filepath.Join(f.root, "d") }

// steps takes every step in a new folder, in a process of its own.
func (f *faulty) steps() (says string, err error) {
	f.t.Helper()
	self, err := os.Executable()
	if err == nil {
		err = os.RemoveAll(f.dir())
	}
	if err == nil {
		err = os.Mkdir(f.dir(), 0o700)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	var out bytes.Buffer
	child := exec.CommandContext(f.t.Context(), self)
	child.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", childSteps+"="+f.dir())
	child.Stdout, child.Stderr = &out, &out
	if err := f.rig.Start(child); err != nil {
		f.t.Fatal(err)
	}
	err = child.Wait()
	return out.String(), err
}

func (f *faulty) points() []killpoint.Point {
	f.t.Helper()
	if says, err := f.steps(); err != nil {
		f.t.Fatal(err, says)
	}
	return f.rig.Points()
}

func (f *faulty) check(p killpoint.Point, fault killpoint.Fault) {
	f.t.Helper()
	f.rig.At(p, fault)
	says, err := f.steps()
	at := fmt.Sprintf("%s, %s", p, fault)
	if len(f.rig.Hits()) == 0 {
		f.t.Errorf("%s did not come", at)
	}
	want := "DiskFailed "
	if fault == killpoint.Fail(unix.ENOSPC) {
		want = "DiskFull "
	}
	if err != nil && !fault.Kills() && !strings.HasPrefix(says, want) {
		f.t.Errorf("%s: want %sand not %s", at, want, says)
	}
	if err := whole(f.dir()); err != nil {
		f.t.Errorf("%s: %v", at, err)
	}
	if err := everyStep(f.t.Context(), f.dir()); err != nil {
		f.t.Errorf("%s: asked for again: %v", at, err)
	}
	if err := whole(f.dir()); err != nil {
		f.t.Errorf("%s: asked for again: %v", at, err)
	}
}

// Each kind of step is once the last of the process, and once one that fails:
// nothing is ever there in part, and the same again succeeds.
func TestFaultAtEachStep(t *testing.T) {
	f := newFaulty(t)
	points := f.points()
	for _, p := range killpoint.Unsynced(points) {
		if !strings.HasPrefix(p.File, "d/placed/") { // what is placed can be placed again
			t.Errorf("%s: it was not synced", p)
		}
	}
	sample := killpoint.Sample(points, 1, 0)
	if len(sample) < 30 {
		t.Errorf("only %d steps were seen: %v", len(sample), sample)
	}
	for i, p := range sample {
		faults := killpoint.Faults(p)
		f.check(p, faults[0])
		f.check(p, faults[1+i%(len(faults)-1)])
	}
}

func TestSoakFaultAtAnyStep(t *testing.T) {
	soak := killpoint.Soak(t)
	f := newFaulty(t)
	points := f.points()
	for soak.More() {
		p := points[soak.Draw(len(points))]
		faults := killpoint.Faults(p)
		f.check(p, faults[soak.Draw(len(faults))])
	}
}
