//go:build linux || darwin

package process

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/shim"
)

func TestAKilledShimTakesItsCommandAlong(t *testing.T) {
	e := newState(t).open(t)
	ensure(t, e, workload(t, "w", engine.RestartAlways, "child", "wait"), 1)
	first := one(t, e, "w")
	child := childOf(t, e, first)
	holder, err := shim.Holder(e.instanceDir(first.ID))
	if err != nil || holder == 0 {
		t.Fatalf("the shim of a running instance is %d, %v", holder, err)
	}
	syscall.Kill(holder, syscall.SIGKILL)
	until(t, "a replacement", func() bool { return one(t, e, "w").ID != first.ID })
	i := get(t, e, first.ID)
	if i.Phase != engine.Failed || i.Exit != nil || !strings.Contains(i.Message, "watches over it was killed") {
		t.Errorf("the instance is %+v", i)
	}
	if alive(first.PID) {
		t.Errorf("its command lives")
	}
	if runtime.GOOS == "linux" && alive(child) {
		t.Errorf("its child lives")
	}
}

func TestAStoppedShimIsKilledInTheEnd(t *testing.T) {
	e := newState(t).open(t)
	w := workload(t, "w", engine.RestartAlways, "wait")
	w.Template.Grace = 10 * time.Millisecond
	ensure(t, e, w, 1)
	i := one(t, e, "w")
	holder, err := shim.Holder(e.instanceDir(i.ID))
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(holder, syscall.SIGSTOP)
	if err := e.Remove(t.Context(), 1, "w"); err != nil {
		t.Fatal(err)
	}
	until(t, "the end", func() bool { return get(t, e, i.ID).Phase.Ended() })
	if alive(i.PID) || alive(holder) {
		t.Errorf("command or shim lives")
	}
}

func TestARestartOfTheMachineIsNamed(t *testing.T) {
	s := newState(t)
	e := s.reopen(t)
	ensure(t, e, workload(t, "w", engine.RestartNever, "wait"), 1)
	i := one(t, e, "w")
	e.Close()
	// As a restart leaves it: no shim, no command, a state of another boot.
	dir := e.instanceDir(i.ID)
	holder, err := shim.Holder(dir)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(holder, syscall.SIGKILL)
	syscall.Kill(i.PID, syscall.SIGKILL)
	until(t, "the end of both", func() bool { return !alive(holder) && !alive(i.PID) })
	state, err := shim.ReadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	state.Boot = "another"
	if err := shim.WriteJSON(filepath.Join(dir, shim.StateFile), state); err != nil {
		t.Fatal(err)
	}
	fresh := s.open(t)
	until(t, "the end", func() bool { return get(t, fresh, i.ID).Phase == engine.Failed })
	if got := get(t, fresh, i.ID); got.Message != "The machine restarted while it ran." || got.Reason != engine.Evicted || got.Exit != nil {
		t.Errorf("it is listed as %+v", got)
	}
}

func TestAStartThatWasCutOffIsGoneOnWith(t *testing.T) {
	s := newState(t)
	stuck, _ := Open(s.config(self(t), t.Output()))
	began := make(chan struct{}, 10)
	stuck.config.Materialize = func(ctx context.Context, _, _ string) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	w := workload(t, "w", engine.RestartAlways, "wait")
	w.Template.Files = []engine.File{{Digest: s.tree(t, map[string]string{"a": "b"}), Path: "/a"}}
	if err := stuck.Ensure(t.Context(), 1, w, 1); err != nil {
		t.Fatal(err)
	}
	<-began
	before := list(t, stuck, "w")
	if len(before) != 1 || before[0].Phase != engine.Pending || before[0].Address != "" {
		t.Errorf("while its files are placed there is %+v", before)
	}
	stuck.Close()
	e := s.open(t)
	ensure(t, e, w, 1)
	if got := one(t, e, "w"); got.ID != before[0].ID {
		t.Errorf("instance %s runs, want %s to be gone on with", got.ID, before[0].ID)
	}
}

func TestNotRunningGoesFirstAndAStartIsGivenUp(t *testing.T) {
	s := newState(t)
	e := s.open(t)
	release := make(chan struct{})
	w := workload(t, "w", engine.RestartAlways, "wait")
	w.Template.Files = []engine.File{{Digest: s.tree(t, map[string]string{"a": "b"}), Path: "/a"}}
	place := e.config.Materialize
	var placed atomic.Int32
	e.config.Materialize = func(ctx context.Context, digest, dir string) error {
		if placed.Add(1) == 1 { // only the first copy is stuck: it is the older one
			<-ctx.Done()
			close(release)
			return ctx.Err()
		}
		return place(ctx, digest, dir)
	}
	ensure(t, e, w, 1)
	stuck := list(t, e, "w")[0]
	ensure(t, e, w, 2)
	until(t, "the second copy", func() bool {
		l := list(t, e, "w")
		return len(l) == 2 && l[1].Phase == engine.Running
	})
	ensure(t, e, w, 1)
	<-release
	if left := one(t, e, "w"); left.ID == stuck.ID {
		t.Errorf("the copy that had not started is left")
	}
	until(t, "the end of the other", func() bool { return get(t, e, stuck.ID).Phase == engine.Succeeded })
}

func TestTwoEnginesDoNotActAtOnce(t *testing.T) {
	s := newState(t)
	first := s.reopen(t)
	second := s.open(t)
	w := workload(t, "w", engine.RestartAlways, "wait")
	// The second lists and accepts, the first acts.
	ensure(t, second, w, 2)
	until(t, "two running copies", func() bool { return running(t, first) == 2 && running(t, second) == 2 })
	if second.supervising.Load() {
		t.Errorf("the second engine acts beside the first")
	}
	first.Close()
	until(t, "the second to act", second.supervising.Load)
	if n := len(list(t, second, "w")); n != 2 {
		t.Errorf("there are %d copies, want 2", n)
	}
}

func TestSecretsAreNotLeftBehind(t *testing.T) {
	e := newState(t).open(t)
	const secret = "s3cr3t-in-the-environment"
	w := workload(t, "w", engine.RestartAlways, "wait")
	w.Template.Env = map[string]string{"KEY": secret}
	ensure(t, e, w, 1)
	i := one(t, e, "w")
	if args := commandLine(t, i.PID); strings.Contains(args, secret) {
		t.Errorf("the secret is on the command line: %q", args)
	}
	private(t, e.dir)
	if err := e.Remove(t.Context(), 1, "w"); err != nil {
		t.Fatal(err)
	}
	until(t, "the secret to be gone", func() bool {
		found := false
		filepath.WalkDir(e.dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && !strings.HasPrefix(path, e.workloadsDir()) {
				text, err := os.ReadFile(path)
				found = found || err == nil && strings.Contains(string(text), secret)
			}
			return nil
		})
		return !found
	})
}

// private checks that nobody but the owner can read anything below dir.
func private(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %s", entry.Name(), info.Mode())
		}
	}
}

func TestSocketPathsFitHoweverLongTheStateDirectoryIs(t *testing.T) {
	s := newState(t)
	s.dir = filepath.Join(s.dir, strings.Repeat("d", 150))
	e := s.open(t)
	ensure(t, e, workload(t, "w", engine.RestartAlways, "wait"), 1)
	i := one(t, e, "w")
	path := strings.TrimPrefix(i.Address, "unix://")
	if e.keep.isolation == None {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatalf("listening at the address of an instance: %v", err)
		}
		l.Close()
	} else if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("calling the address of an instance: %v", err)
	} else {
		c.Close()
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the private directory is %v, %v", info, err)
	}
	if err := e.Remove(t.Context(), 1, "w"); err != nil {
		t.Fatal(err)
	}
	until(t, "the private directory to go", func() bool {
		_, err := os.Lstat(filepath.Dir(path))
		return errors.Is(err, os.ErrNotExist)
	})
}

func TestAForeignRunFolderIsNotTouched(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	e := &Engine{dir: filepath.Join(t.TempDir(), strings.Repeat("d", 100))}
	dir := e.instanceDir("abcdefghijkl")
	victim := t.TempDir()
	if err := os.MkdirAll(filepath.Join(victim, "abcdefghijkl", "kept"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := e.runPath(dir)
	if err := os.Symlink(victim, filepath.Dir(run)); err != nil {
		t.Fatal(err)
	}
	if err := e.makeRun(dir, run); err == nil {
		t.Errorf("a link in the place of the folder of ours is accepted")
	}
	if err := e.removeRun(dir, filepath.Join(victim, "abcdefghijkl")); err == nil {
		t.Errorf("a folder that is no run folder is removed")
	}
	if _, err := os.Stat(filepath.Join(victim, "abcdefghijkl", "kept")); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.Remove(filepath.Dir(run)), os.Mkdir(filepath.Dir(run), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := e.makeRun(dir, run); err == nil {
		t.Errorf("a folder that others can read is accepted")
	}
}

func TestAHungInstanceIsReplaced(t *testing.T) {
	s := newState(t)
	c := s.config(self(t), t.Output())
	hung := make(chan string, 1)
	c.Live = func(ctx context.Context, i engine.Instance, p engine.Probe) error {
		select {
		case hung <- i.ID:
			return errors.New("it answered 500")
		default:
			<-ctx.Done()
			return nil
		}
	}
	e, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	w := workload(t, "w", engine.RestartAlways, "deaf")
	w.Template.Probes.Live.Path = "/v2/health/live"
	w.Template.Grace = 0
	ensure(t, e, w, 1)
	var id string
	until(t, "a question", func() bool {
		select {
		case id = <-hung:
		default:
		}
		return id != ""
	})
	hung <- "no more"
	until(t, "a replacement", func() bool { return one(t, e, "w").ID != id })
	if i := get(t, e, id); i.Reason != engine.ProbeFailed || !strings.Contains(i.Message, "answered 500") {
		t.Errorf("the hung instance is %+v", i)
	}
}

func TestWhatCannotBeHostedSaysSo(t *testing.T) {
	e := newState(t).open(t)
	for name, change := range map[string]func(*engine.Workload){
		"no ID":        func(w *engine.Workload) { w.ID = "" },
		"an image":     func(w *engine.Workload) { w.Template.Image = "python:3.12" },
		"no command":   func(w *engine.Workload) { w.Template.Command = nil },
		"no policy":    func(w *engine.Workload) { w.Template.Restart = "" },
		"zero bytes":   func(w *engine.Workload) { w.Template.Command = []string{"a\x00b"} },
		"a bad name":   func(w *engine.Workload) { w.Template.Env = map[string]string{"A=B": "c"} },
		"a bad value":  func(w *engine.Workload) { w.Template.Env = map[string]string{"A": "\x00"} },
		"an escape":    func(w *engine.Workload) { w.Template.Files = []engine.File{{Digest: "d", Path: "../x"}} },
		"the root":     func(w *engine.Workload) { w.Template.Files = []engine.File{{Digest: "d", Path: "${root}"}} },
		"back in time": func(w *engine.Workload) { w.Template.Grace = -1 },
	} {
		w := workload(t, "w", engine.RestartAlways, "wait")
		change(&w)
		if err := e.Ensure(t.Context(), 1, w, 1); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestAGPUHasOneInstanceAtATime(t *testing.T) {
	e := newState(t).open(t)
	e.mu.Lock()
	e.keep.gpus = []gpu{{UUID: "GPU-1", Device: os.DevNull}}
	e.mu.Unlock()
	first := workload(t, "first", engine.RestartAlways, "env:CUDA_VISIBLE_DEVICES", "wait")
	first.Template.Resources.GPU = 4 // more than there are: all of them
	ensure(t, e, first, 1)
	i := one(t, e, "first")
	until(t, "its GPUs", func() bool { return logOf(t, e, i.ID) == "GPU-1" })

	none := workload(t, "none", engine.RestartAlways, "print:<", "env:CUDA_VISIBLE_DEVICES", "wait")
	ensure(t, e, none, 1)
	other := one(t, e, "none")
	until(t, "what it printed", func() bool { return strings.HasPrefix(logOf(t, e, other.ID), "<") })
	if got := logOf(t, e, other.ID); got != "<" { // an empty line is trimmed
		t.Errorf("an instance without GPUs sees %q", got)
	}

	second := workload(t, "second", engine.RestartAlways, "env:CUDA_VISIBLE_DEVICES", "wait")
	second.Template.Resources.GPU = 1
	ensure(t, e, second, 1)
	if l := list(t, e, "second"); len(l) != 1 || l[0].Phase != engine.Pending || l[0].Reason != engine.NoCapacity || !strings.Contains(l[0].Message, "other instances have them") {
		t.Errorf("while the GPU is taken there is %+v", l)
	}
	if err := e.Remove(t.Context(), 1, "first"); err != nil {
		t.Fatal(err)
	}
	i = one(t, e, "second")
	until(t, "its GPU", func() bool { return logOf(t, e, i.ID) == "GPU-1" })
}

func TestAShimThatIsNotThereIsNamed(t *testing.T) {
	s := newState(t)
	e, err := Open(s.config("/nonexistent/sluice-runner", t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	ensure(t, e, workload(t, "w", engine.RestartNever, "wait"), 1)
	until(t, "the failure", func() bool {
		l := list(t, e, "w")
		return len(l) == 1 && l[0].Phase == engine.Failed && strings.Contains(l[0].Message, "/nonexistent/sluice-runner")
	})
}

func TestADamagedRecordStopsNobodyElse(t *testing.T) {
	e := newState(t).open(t)
	if err := os.Mkdir(e.instanceDir("broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(e.instanceDir("broken"), copyFile)
	if err := os.WriteFile(path, []byte(`{"id":`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	ensure(t, e, workload(t, "w", engine.RestartAlways, "wait"), 1)
	one(t, e, "w")
}

func running(t *testing.T, e *Engine) int {
	t.Helper()
	n := 0
	for _, i := range list(t, e, "w") {
		if i.Phase == engine.Running {
			n++
		}
	}
	return n
}

func get(t *testing.T, e *Engine, id string) engine.Instance {
	t.Helper()
	l, err := e.Instances(context.WithoutCancel(t.Context()), engine.Selector{ID: id})
	if err != nil || len(l) != 1 {
		t.Fatalf("instance %s is %+v, %v", id, l, err)
	}
	return l[0]
}

func childOf(t *testing.T, e *Engine, i engine.Instance) int {
	t.Helper()
	until(t, "a child", func() bool { return logOf(t, e, i.ID) == "child" })
	children := processesBelow(t, i.PID)
	if len(children) != 1 {
		t.Fatalf("below the command there are %v", children)
	}
	return children[0]
}

// commandLine gives how a process was called.
func commandLine(t *testing.T, pid int) string {
	t.Helper()
	out, err := exec.Command("ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
