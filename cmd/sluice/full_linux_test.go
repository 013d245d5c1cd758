package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/smalldisk"
)

// outcome is how a command ended.
type outcome struct {
	said string
	err  error
}

// deploy creates a deployment whose code is all its own, so that every step
// has something to write.
func (in *installation) deploy(verb, name string) <-chan outcome {
	dir := filepath.Join(in.programs, "..", name)
	in.write(filepath.Join(dir, "d.yml"), deploymentFile(name))
	in.write(filepath.Join(dir, "src", "score.py"), "# "+name+strings.Repeat("x", 20000)+"\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return [data, 1]\n")
	done := make(chan outcome, 1)
	go func() {
		_, said, err := in.try("online-deployment", verb, "-f", filepath.Join(dir, "d.yml"))
		done <- outcome{said, err}
	}()
	return done
}

// fullDisk checks that a command that failed did so for lack of room, and says
// how much is left and what to do.
func (in *installation) fullDisk(what string, o outcome) {
	in.t.Helper()
	for _, want := range []string{"the disk is full: ", " are free", "hint: ", "free space on that disk"} {
		if !strings.Contains(o.said, want) {
			in.t.Errorf("%s: the command does not say %q:\n%s", what, want, o.said)
		}
	}
}

// The state directory runs out of room: what runs goes on, what is asked for
// fails and says why, whatever is killed meanwhile comes back, and with room
// again so does everything else.
func TestAFullDisk(t *testing.T) {
	d := smalldisk.New(t, 128<<20)
	dir, err := os.MkdirTemp("", "sluice")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	in := installAt(t, dir, filepath.Join(d.Dir, "h"))

	d.FillNames(0)
	_, said, err := in.try("up", "--detach")
	if err == nil {
		t.Error("up succeeds on a full disk")
	}
	in.fullDisk("up without names", outcome{said, err})
	d.Free()
	d.Fill(0)
	_, said, err = in.try("up", "--detach")
	if err == nil {
		t.Error("up succeeds on a full disk")
	}
	in.fullDisk("up", outcome{said, err})
	d.Free()
	in.sluice("up", "--detach")
	uri, key := in.echo()
	worker, err := in.post(uri, key, "first")
	if err != nil {
		t.Fatal(err)
	}

	d.Fill(0)
	stop := in.load(uri, key)
	o := <-in.deploy("create", "green")
	if o.err == nil {
		t.Error("a deployment succeeds on a full disk")
	}
	in.fullDisk("create", o)
	in.sluice("online-endpoint", "show", "-n", "echo")
	before := in.state()
	kill(t, before.PID)
	in.until("the server is gone", func() bool { return !in.runs(before.PID) })
	if sent, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d requests failed, want none: %v", len(failed), sent, failed[0])
	}
	kill(t, before.GatewayPID)
	in.client.CloseIdleConnections()
	in.until("a gateway answers", func() bool { _, err := in.post(uri, key, "again"); return err == nil })

	d.Free()
	in.until("the server answers", func() bool { _, _, err := in.try("online-endpoint", "show", "-n", "echo"); return err == nil })
	in.until("the state names what runs", func() bool {
		s := in.state()
		return s.PID != before.PID && s.GatewayPID != before.GatewayPID && in.runs(s.PID) && in.runs(s.GatewayPID)
	})
	if o := <-in.deploy("create", "green"); o.err != nil {
		t.Errorf("with room again: %v\n%s", o.err, o.said)
	}
	if now, err := in.post(uri, key, "last"); err != nil || now != worker {
		t.Errorf("the worker is %d (%v), was %d", now, err, worker)
	}
}

// Room runs out in the middle of a deployment. It fails for that reason, or
// waits and ends well once there is room; the same command then succeeds.
func TestADiskThatFillsInTheMiddle(t *testing.T) {
	d := smalldisk.New(t, 128<<20)
	dir, err := os.MkdirTemp("", "sluice")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	in := installAt(t, dir, filepath.Join(d.Dir, "h"))
	in.sluice("up", "--detach")
	uri, key := in.echo()
	stop := in.load(uri, key)
	failed, n := 0, 0
	for left := int64(1); ; left = 2*left + 1 {
		n++
		name := fmt.Sprint("green", n)
		d.Fill(left)
		done := in.deploy("create", name)
		var o outcome
		waited := false
		select {
		case o = <-done:
		case <-time.After(3 * time.Second): // it cannot even write down that it failed
			waited = true
		}
		d.Free()
		if waited {
			o = <-done
		}
		if o.err == nil && !waited {
			break
		}
		if o.err == nil {
			continue
		}
		failed++
		in.fullDisk(fmt.Sprintf("with room for %d pages", left), o)
		again := <-in.deploy("create", name)
		if strings.Contains(again.said, "exists already") {
			again = <-in.deploy("update", name)
		}
		if again.err != nil {
			t.Errorf("with room for %d pages, and then more: %v\n%s", left, again.err, again.said)
		}
	}
	if failed == 0 {
		t.Error("no deployment found the disk full")
	}
	if sent, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d requests failed, want none: %v", len(failed), sent, failed[0])
	}
}

// runs reports whether a process of this installation is there.
func (in *installation) runs(pid int) bool {
	for _, other := range in.processes() {
		if other == pid {
			return true
		}
	}
	return false
}
