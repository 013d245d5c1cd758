package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/shim"
	"github.com/sluice-ml/sluice/smalldisk"
)

// heard is a log that a test may read while it is written.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) says(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(h.text.String(), text)
}

// onSmallDisk gives a disk and a state for engines on it.
func onSmallDisk(t *testing.T) (*smalldisk.Disk, state) {
	t.Helper()
	d := smalldisk.New(t, 2<<20)
	s := newState(t)
	s.dir = d.Dir
	return d, s
}

// large is a workload whose files on the disk take several pages each.
func large(t *testing.T, id string, restart engine.Restart, verbs ...string) engine.Workload {
	w := workload(t, id, restart, verbs...)
	w.Template.Env = map[string]string{"LARGE": strings.Repeat("x", 9000)}
	return w
}

// noSpace is what the system says of a full disk.
const noSpace = "no space left on device"

// What is wanted is taken down whole or refused; what was wanted before stays.
func TestEnsureAndRemoveOnAFullDisk(t *testing.T) {
	d, s := onSmallDisk(t)
	e := s.open(t)
	ensure(t, e, large(t, "before", engine.RestartAlways, "wait"), 1)
	before := one(t, e, "before")
	epoch := int64(10)
	d.EachPage(func(scarce string) error {
		epoch++ // each time is written down too
		return e.Ensure(t.Context(), epoch, large(t, "w", engine.RestartAlways, "wait"), 0)
	}, func(scarce string, err error) {
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "recording ") || !strings.Contains(err.Error(), d.Dir) {
			t.Errorf("%s: %v does not say what could not be written where", scarce, err)
		}
		all, err := e.readWorkloads()
		if err != nil || len(all) != 1 {
			t.Errorf("%s: %d workloads are wanted, want the one from before: %v", scarce, len(all), err)
		}
	})
	d.Fill(0)
	if err := e.Remove(t.Context(), epoch, "before"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("removing on a full disk: %v", err)
	}
	if diff := cmp.Diff([]engine.Instance{before}, list(t, e, "before")); diff != "" {
		t.Errorf("what ran (-want +got):\n%s", diff)
	}
	d.Free()
	if err := e.Remove(t.Context(), epoch, "before"); err != nil {
		t.Errorf("removing with room again: %v", err)
	}
	until(t, "the end", func() bool { return get(t, e, before.ID).Phase.Ended() })
}

// A copy's every file finds no room once. While that is so there is no copy too
// many, and none that runs without being known; with room again it runs by
// itself.
func TestACopyIsStartedOnAFullDisk(t *testing.T) {
	t.Run("pages", func(t *testing.T) {
		d, s := onSmallDisk(t)
		startWithRoom(t, d, s, d.Fill)
	})
	t.Run("names", func(t *testing.T) {
		d, s := onSmallDisk(t)
		startWithRoom(t, d, s, d.FillNames)
	})
}

// startWithRoom starts copies with room for ever more, until one starts as if
// there were enough.
func startWithRoom(t *testing.T, d *smalldisk.Disk, s state, fill func(int64)) {
	var log heard
	e, err := Open(s.config(self(t), io.MultiWriter(&log, t.Output())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	tree := s.tree(t, map[string]string{"weights": strings.Repeat("w", 9000)})
	for left := int64(0); ; left++ {
		scarce := fmt.Sprintf("with room for %d", left)
		w := large(t, fmt.Sprint("w", left), engine.RestartAlways, "print:up", "wait")
		w.Template.Files = []engine.File{{Digest: tree, Path: "/model"}}
		ensure(t, e, w, 0)
		log.forget()
		fill(left)
		err := e.Ensure(t.Context(), 1, w, 1)
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", scarce, err)
		}
		until(t, "a copy that runs, or a word that it cannot", func() bool {
			return err != nil || log.says(noSpace) || len(commands(t, e, w.ID)) > 0 || refusedForRoom(list(t, e, w.ID))
		})
		all := len(commands(t, e, w.ID)) > 0
		d.Free()
		if err := e.Ensure(t.Context(), 1, w, 1); err != nil { // as its caller does again and again
			t.Errorf("%s, and then more: %v", scarce, err)
		}
		i := one(t, e, w.ID)
		for _, other := range list(t, e, w.ID) {
			if other.ID != i.ID && other.Reason != engine.DiskFull {
				t.Errorf("%s a copy ended with %q: %s", scarce, other.Reason, other.Message)
			}
		}
		// A command that is just being started may not show its variables yet.
		until(t, "one command alone "+scarce, func() bool {
			pids := commands(t, e, w.ID)
			return len(pids) == 1 && pids[0] == i.PID
		})
		enough := all && !log.says(noSpace) && !refusedForRoom(list(t, e, w.ID))
		if err := e.Remove(t.Context(), 1, w.ID); err != nil {
			t.Error(err)
		}
		if enough {
			return
		}
	}
}

func refusedForRoom(list []engine.Instance) bool {
	for _, i := range list {
		if i.Reason == engine.DiskFull {
			return true
		}
	}
	return false
}

// commands gives the processes that the copies of a workload are.
func commands(t *testing.T, e *Engine, workload string) (pids []int) {
	t.Helper()
	for _, i := range list(t, e, workload) {
		pids = append(pids, shim.WithVariable(instanceVar, i.ID)...)
	}
	return pids
}

func (h *heard) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.Reset()
}

// What runs goes on running, and what it prints is counted where it is lost.
func TestACopyRunsOnOnAFullDisk(t *testing.T) {
	d, s := onSmallDisk(t)
	e := s.open(t)
	w := workload(t, "w", engine.RestartAlways, "print:before", "until:${run}/one", "lines:200", "until:${run}/two", "print:after", "wait")
	ensure(t, e, w, 1)
	i := one(t, e, "w")
	until(t, "the first line", func() bool { return logOf(t, e, i.ID) == "before" })
	d.Fill(0)
	s.touch(t, i, "one")
	e.Close()
	full := s.open(t) // an engine that starts on a full disk knows everything
	ensure(t, full, w, 1)
	if diff := cmp.Diff(i, one(t, full, "w")); diff != "" {
		t.Errorf("on a full disk the copy is (-want +got):\n%s", diff)
	}
	// A page that was begun takes some lines.
	until(t, "the page to be full", func() bool { return len(logOf(t, full, i.ID)) > 4000 })
	d.Free()
	s.touch(t, i, "two")
	until(t, "the last line", func() bool { return strings.HasSuffix(logOf(t, full, i.ID), "\nafter") })
	if text := logOf(t, full, i.ID); !strings.Contains(text, "bytes of output were lost here") {
		t.Errorf("the log does not say that something is missing:\n%s", text)
	}
	if diff := cmp.Diff(i, get(t, full, i.ID)); diff != "" {
		t.Errorf("with room again the copy is (-want +got):\n%s", diff)
	}
}

// An end on a full disk is written down when there is room, whoever asks then.
func TestAnEndOnAFullDiskIsTrue(t *testing.T) {
	d, s := onSmallDisk(t)
	e := s.open(t)
	w := workload(t, "w", engine.RestartNever, "leave:9", "print:left", "until:${run}/flag", "exit:42")
	ensure(t, e, w, 1)
	i := one(t, e, "w")
	until(t, "its message", func() bool { return logOf(t, e, i.ID) == "left" })
	d.Fill(0)
	s.touch(t, i, "flag")
	until(t, "the end of the command", func() bool { return !alive(i.PID) })
	if got := get(t, e, i.ID); got.Phase.Ended() && (got.Exit == nil || got.Exit.Code != 42) {
		t.Errorf("on a full disk it is listed as %+v", got)
	}
	e.Close()
	d.Free()
	fresh := s.open(t)
	ensure(t, fresh, w, 1)
	until(t, "the end", func() bool { return get(t, fresh, i.ID).Phase.Ended() })
	got := get(t, fresh, i.ID)
	if got.Phase != engine.Failed || got.Exit == nil || got.Exit.Code != 42 || got.Exit.Message != strings.Repeat("m", 9) {
		t.Errorf("with room again it is listed as %+v, exit %+v", got, got.Exit)
	}
}

// A copy that is to end does so, at the latest when there is room again,
// without being asked again; it is neither forgotten nor replaced meanwhile.
func TestACopyIsEndedOnAFullDisk(t *testing.T) {
	d, s := onSmallDisk(t)
	e := s.open(t)
	w := workload(t, "w", engine.RestartAlways, "deaf")
	w.Template.DrainDelay, w.Template.Grace = 300*time.Millisecond, 100*time.Millisecond
	ensure(t, e, w, 1)
	i := one(t, e, "w")
	if err := e.Remove(t.Context(), 1, "w"); err != nil {
		t.Fatal(err)
	}
	d.Fill(0)
	if got := get(t, e, i.ID); got.Phase != engine.Draining {
		t.Errorf("it is %s", got.Phase)
	}
	e.Close()
	fresh := s.open(t)
	d.Free()
	until(t, "the end", func() bool { return get(t, fresh, i.ID).Phase.Ended() })
	if left := list(t, fresh, "w"); len(left) != 1 || alive(i.PID) {
		t.Errorf("there is %+v; the command lives: %t", left, alive(i.PID))
	}
}

// A shim that could not even write down that it has started its command, and is
// killed, leaves a command that nobody knows of. It is ended before another
// takes its place.
func TestAShimIsKilledOnAFullDisk(t *testing.T) {
	d, s := onSmallDisk(t)
	e := s.open(t)
	w := workload(t, "w", engine.RestartAlways, "child", "deaf")
	w.Template.Grace = 100 * time.Millisecond
	w.Template.Files = []engine.File{{Digest: s.tree(t, map[string]string{"a": "b"}), Path: "/a"}}
	place := e.config.Materialize
	var room atomic.Bool
	e.config.Materialize = func(ctx context.Context, digest, dir string) error {
		err := place(ctx, digest, dir)
		if !room.Load() {
			d.Fill(1) // for what the shim is to run
		}
		return err
	}
	ensure(t, e, w, 1)
	until(t, "a command that is not written down", func() bool {
		all := list(t, e, "w")
		return len(all) == 1 && all[0].Phase == engine.Starting && len(commands(t, e, "w")) == 2
	})
	before := commands(t, e, "w")
	dir := e.instanceDir(list(t, e, "w")[0].ID)
	holder, err := shim.Holder(dir)
	if err != nil || holder == 0 {
		t.Fatalf("the shim is process %d, %v", holder, err)
	}
	room.Store(true)
	if err := syscall.Kill(holder, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the shim", func() bool { pid, err := shim.Holder(dir); return err == nil && pid != holder })
	d.Free()
	one(t, e, "w")
	for _, pid := range before {
		if alive(pid) {
			t.Errorf("process %d, which nobody knows of, lives", pid)
		}
	}
}

// Two steps of a start leave no file behind that takes room: the folder of a
// copy that could not be made is nobody's, and goes.
func TestAFullDiskIsNotFilledFurther(t *testing.T) {
	d, s := onSmallDisk(t)
	var log heard
	e, err := Open(s.config(self(t), io.MultiWriter(&log, t.Output())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	w := large(t, "w", engine.RestartAlways, "wait")
	ensure(t, e, w, 0)
	d.Fill(3) // enough to want a copy, not to make one
	if err := e.Ensure(t.Context(), 1, w, 1); err != nil {
		t.Fatal(err)
	}
	until(t, "a word about the disk", func() bool { return log.says(noSpace) })
	until(t, "the folder of instances to hold the engine's own alone", func() bool {
		entries, err := os.ReadDir(d.Dir)
		return err == nil && len(entries) == 1
	})
	d.Free()
	one(t, e, "w")
}

// A start that fails, and whose failure cannot be written down either, is tried
// again, but not without pause.
func TestAStartOnAFullDiskIsTriedAgainWithPauses(t *testing.T) {
	d, s := onSmallDisk(t)
	e := s.open(t)
	w := workload(t, "w", engine.RestartAlways, "wait")
	w.Template.Files = []engine.File{{Digest: s.tree(t, map[string]string{"a": "b"}), Path: "/a"}}
	place := e.config.Materialize
	began := make(chan time.Time, 100)
	release := make(chan struct{})
	e.config.Materialize = func(ctx context.Context, digest, dir string) error {
		began <- time.Now()
		select {
		case <-release:
			return place(ctx, digest, dir)
		default:
			d.Fill(0)
			return syscall.ENOSPC
		}
	}
	ensure(t, e, w, 1)
	first := <-began
	<-began
	if third := <-began; third.Sub(first) < 2*lookEvery {
		t.Errorf("three attempts took %s", third.Sub(first))
	}
	close(release)
	<-began // what is placed now does not fill the disk
	d.Free()
	one(t, e, "w")
}
