package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice/killpoint"
)

// underRig is an installation whose processes, but for the commands, are watched.
func underRig(t *testing.T) (*installation, *killpoint.Rig) {
	t.Helper()
	in := newInstallation(t)
	rig := killpoint.New(t, in.home)
	// After the rig, so that nothing of it is left when the watching ends.
	t.Cleanup(func() {
		rig.Disarm()
		if _, trouble, err := in.try("down"); err != nil {
			t.Errorf("sluice down: %v\n%s", err, trouble)
		}
	})
	in.launch = rig.Start
	in.sluice("up", "--detach")
	in.launch = (*exec.Cmd).Start
	return in, rig
}

// durable reports whether a step lasts longer than its process: what an instance
// has as its own file system is in memory.
func durable(p killpoint.Point) bool {
	return !strings.HasPrefix(p.File, "instances/*/world/") && !strings.HasPrefix(p.File, "instances/*/scratch/")
}

// The disk refuses every write: what runs goes on, what is asked for fails and
// says why, status tells, and everything comes back once the disk can be written
// again, whatever was killed meanwhile.
func TestADiskThatRefuses(t *testing.T) {
	for errno, words := range map[syscall.Errno]string{unix.EROFS: "read-only file system", unix.EIO: "input/output error"} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			in, rig := underRig(t)
			uri, key := in.echo()
			worker, err := in.post(uri, key, "first")
			if err != nil {
				t.Fatal(err)
			}
			rig.Every(durable, killpoint.Fail(errno))
			stop := in.load(uri, key)
			o := <-in.deploy("create", "green")
			if o.err == nil {
				t.Error("a deployment succeeds on a disk that refuses")
			}
			for _, want := range []string{"the disk refuses to write (" + words + "): writing ", "hint: ", "dmesg"} {
				if !strings.Contains(o.said, want) {
					t.Errorf("the command does not say %q:\n%s", want, o.said)
				}
			}
			in.sluice("online-endpoint", "show", "-n", "echo")
			if _, said, err := in.try("status"); err != nil || !strings.Contains(said, "warning: the disk refuses to write ("+words) {
				t.Errorf("status: %v, %s", err, said)
			}
			before := in.state()
			kill(t, before.PID)
			in.until("the server is gone", func() bool { return !in.runs(before.PID) })
			if sent, failed := stop(); len(failed) > 0 {
				t.Errorf("%d of %d requests failed, want none: %v", len(failed), sent, failed[0])
			}
			// One that dies now cannot make its socket before the disk is back.
			kill(t, before.GatewayPID)
			in.until("the gateway is gone", func() bool { return !in.runs(before.GatewayPID) })
			in.client.CloseIdleConnections()

			rig.Disarm()
			in.until("a gateway answers", func() bool { _, err := in.post(uri, key, "again"); return err == nil })
			in.until("the server answers", func() bool { _, _, err := in.try("online-endpoint", "show", "-n", "echo"); return err == nil })
			if _, said, err := in.try("status"); err == nil && strings.Contains(said, "refuses") {
				t.Errorf("status still says %s", said)
			}
			if o := <-in.deploy("create", "green"); o.err != nil {
				t.Errorf("once it can be written: %v\n%s", o.err, o.said)
			}
			if now, err := in.post(uri, key, "last"); err != nil || now != worker {
				t.Errorf("the worker is %d (%v), was %d", now, err, worker)
			}
		})
	}
}

// faulty is an installation of which one step fails at a time.
type faulty struct {
	*installation
	rig      *killpoint.Rig
	uri, key string
	round    int
}

// points gives the steps of making a deployment and deleting it.
func (f *faulty) points() []killpoint.Point {
	f.t.Helper()
	f.rig.Reset()
	if o := f.cycle(); o.err != nil {
		f.t.Fatal(o.err, o.said)
	}
	return slices.DeleteFunc(f.rig.Points(), func(p killpoint.Point) bool { return !durable(p) })
}

// cycle makes a deployment and deletes it, and gives how the first of the two
// that failed did so.
func (f *faulty) cycle() outcome {
	f.t.Helper()
	f.round++
	if o := <-f.deploy("create", f.name()); o.err != nil {
		return o
	}
	_, said, err := f.try("online-deployment", "delete", "-e", "echo", "-n", f.name(), "-y")
	return outcome{said, err}
}

func (f *faulty) name() string { return fmt.Sprint("green", f.round) }

// check has one step of the cycle fail, or its process die, and checks that the
// command says why, that all that was there goes on, and that the same can be
// asked for again.
func (f *faulty) check(p killpoint.Point, fault killpoint.Fault) {
	t := f.t
	t.Helper()
	f.rig.At(p, fault)
	o := f.cycle()
	f.rig.Disarm()
	at := fmt.Sprintf("%s, %s", p, fault)
	if len(f.rig.Hits()) == 0 {
		t.Logf("%s did not come", p)
	}
	said := strings.ToLower(o.said)
	if o.err != nil && (!strings.Contains(said, "hint: ") || strings.Contains(said, "internal")) {
		t.Errorf("%s: the command fails without a clear error: %s", at, o.said)
	}
	f.until(at+": the server answers", func() bool { _, _, err := f.try("online-endpoint", "show", "-n", "echo"); return err == nil })
	f.until(at+": the endpoint answers", func() bool { _, err := f.post(f.uri, f.key, "again"); return err == nil })
	if o.err != nil {
		f.again(at)
	}
	if all := f.sluice("online-deployment", "list", "-e", "echo", "--query", "[].name", "-o", "tsv"); strings.TrimSpace(all) != "blue" {
		t.Errorf("%s: there is %q", at, all)
	}
}

// again asks for what failed once more: it is made if it was not, and deleted.
func (f *faulty) again(at string) {
	f.t.Helper()
	idle := func() bool {
		state, _, err := f.try("online-deployment", "show", "-e", "echo", "-n", f.name(), "--query", "provisioning_state", "-o", "tsv")
		state = strings.TrimSpace(state)
		return err != nil || state == "Succeeded" || state == "Failed"
	}
	f.until(at+": nothing goes on any more", idle)
	o := <-f.deploy("create", f.name())
	if strings.Contains(o.said, "exists already") {
		o = <-f.deploy("update", f.name())
	}
	if o.err != nil {
		f.t.Errorf("%s: asked for again: %v\n%s", at, o.err, o.said)
	}
	f.sluice("online-deployment", "delete", "-e", "echo", "-n", f.name(), "-y")
}

func (f *faulty) sound() {
	f.t.Helper()
	for _, name := range []string{"server", "gateway", "parent"} {
		log := filepath.Join(f.home, "logs", name+".log")
		out, err := exec.Command("grep", "-c", "-e", "^panic:", "-e", "^fatal error:", log).Output()
		if err == nil {
			f.t.Errorf("the %s panicked %s times", name, out)
		}
	}
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	in, rig := underRig(t)
	uri, key := in.echo()
	return &faulty{installation: in, rig: rig, uri: uri, key: key}
}

// Some of the steps of making a deployment and deleting it, by server, gateway
// and shim, are once the last of their process, or fail. make soak draws from all.
func TestFaultsInTheMiddleOfADeployment(t *testing.T) {
	f := newFaulty(t)
	points := f.points()
	for _, p := range killpoint.Unsynced(points) {
		if !strings.Contains(p.File, " -> instances/*/root/") { // placed from the artifact store, and again after a crash
			t.Errorf("%s: it was not synced", p)
		}
	}
	sample := killpoint.Sample(points, 1, 0)
	if len(sample) < 70 {
		t.Errorf("only %d steps were seen: %v", len(sample), sample)
	}
	const every = 11 // of them: packages test theirs one by one
	for i, p := range sample {
		if i%every == 0 {
			faults := killpoint.Faults(p)
			f.check(p, faults[i/every%len(faults)])
		}
	}
	f.sound()
}

func TestSoakFaultsInTheMiddleOfADeployment(t *testing.T) {
	soak := killpoint.Soak(t)
	f := newFaulty(t)
	points := f.points()
	for soak.More() {
		p := points[soak.Draw(len(points))]
		faults := killpoint.Faults(p)
		f.check(p, faults[soak.Draw(len(faults))])
	}
	f.sound()
}
