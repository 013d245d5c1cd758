package environment

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice/killpoint"
)

// faulty is a folder of environments in which one is made under a rig, again and
// again.
type faulty struct {
	t       *testing.T
	tool    string
	environ []string
	root    string
	rig     *killpoint.Rig
}

func newFaulty(t *testing.T, tool string) *faulty {
	x := newIndex(t, wheel{name: "below", version: "1.1", code: "VALUE = 1\n"})
	root := t.TempDir()
	return &faulty{t, tool, x.environ(t), root, killpoint.New(t, root)}
}

func (f *faulty) dir() string { return filepath.Join(f.root, "d") }

// prepare makes the environment from nothing, in a process of its own.
func (f *faulty) prepare() (says string, err error) {
	f.t.Helper()
	if err := removeEnv(f.dir()); err != nil {
		f.t.Fatal(err)
	}
	var out bytes.Buffer
	child := exec.CommandContext(f.t.Context(), os.Args[0])
	child.Env = append(slices.Clone(f.environ), "GORACE=atexit_sleep_ms=0",
		"SLUICE_TEST_PREPARE="+f.dir(), "SLUICE_TEST_UV="+f.tool, "SLUICE_TEST_HOME="+os.Getenv("HOME"))
	child.Stdout, child.Stderr = &out, &out
	if err := f.rig.Start(child); err != nil {
		f.t.Fatal(err)
	}
	err = child.Wait()
	return out.String(), err
}

func (f *faulty) points() []killpoint.Point {
	f.t.Helper()
	f.rig.Reset()
	if says, err := f.prepare(); err != nil {
		f.t.Fatal(err, says)
	}
	return f.rig.Points()
}

// check has one step fail, or be the last, and asks for the environment again:
// half of one is never taken for a whole.
func (f *faulty) check(p killpoint.Point, fault killpoint.Fault) {
	t := f.t
	t.Helper()
	at := fmt.Sprintf("%s, %s", p, fault)
	f.rig.At(p, fault)
	says, err := f.prepare()
	f.rig.Disarm()
	if len(f.rig.Hits()) == 0 {
		t.Logf("%s did not come", at) // what tools print comes in pieces of any size
	}
	// What a tool makes of an error is for it to say.
	if err != nil && !fault.Kills() && p.Program == "environment.test" && !strings.Contains(says, "the disk ") {
		t.Errorf("%s: not a clear error: %s", at, says)
	}
	b, err := Open(Config{Dir: f.dir(), UV: f.tool, Environ: f.environ, FindPythons: findPythons(os.Getenv)})
	if err != nil {
		t.Fatalf("%s: the next start: %v", at, err)
	}
	defer b.Close()
	env, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
	if err != nil {
		t.Errorf("%s: asked for again: %v", at, err)
	} else if got := python(t, env, "import below; print(below.VALUE)"); got != "1" {
		t.Errorf("%s: the environment says %q", at, got)
	}
}

// The steps of our own that put something in place, and some of the others, are
// once the last of the process, or one that fails. make soak draws from all.
func TestFaultAtEachStep(t *testing.T) {
	tool := "off"
	if path, err := exec.LookPath("uv"); err == nil {
		tool = path // the quicker one; both are drawn from in make soak
	}
	f := newFaulty(t, tool)
	points := slices.DeleteFunc(f.points(), func(p killpoint.Point) bool { return p.Program != "environment.test" })
	sample := killpoint.Sample(points, 1, 0)
	if len(sample) < 40 {
		t.Errorf("only %d steps were seen: %v", len(sample), sample)
	}
	const every = 20
	for i, p := range sample {
		if p.Name == "rename" || i%every == 0 {
			faults := killpoint.Faults(p)
			f.check(p, faults[i%len(faults)])
		}
	}
}

func TestSoakFaultAtAnyStep(t *testing.T) {
	soak := killpoint.Soak(t)
	tool := "off"
	if path, err := exec.LookPath("uv"); err == nil && soak.Draw(2) == 1 {
		tool = path
	}
	f := newFaulty(t, tool)
	points := f.points() // those of the tool too
	for soak.More() {
		p := points[soak.Draw(len(points))]
		faults := killpoint.Faults(p)
		f.check(p, faults[soak.Draw(len(faults))])
	}
}
