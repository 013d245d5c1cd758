//go:build linux || darwin

package process

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/enginetest"
	"github.com/sluice-ml/sluice/engine/process/confine"
	"github.com/sluice-ml/sluice/engine/process/shim"
)

// TestMain plays three more programs: the shim, the suite's actor, and a
// caller that is to be killed.
func TestMain(m *testing.M) {
	if verbs, ok := enginetest.ActorArgs(os.Args); ok {
		exitNow(enginetest.Act(verbs))
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "shim":
			os.Exit(shim.Main(os.Args[2:]))
		case confine.Command:
			os.Exit(confine.Main())
		case "caller":
			os.Exit(caller(os.Args[2:]))
		case "weaker":
			os.Exit(weaker(os.Args[2], map[string]Isolation{"best": Best, "landlock": Landlock, "none": None}[os.Args[3]]))
		}
	}
	os.Exit(m.Run())
}

func TestSuite(t *testing.T) { suite(t, Best) }

// TestSuiteByLandlock keeps the promises as an ordinary user would have them
// kept, whoever runs the test.
func TestSuiteByLandlock(t *testing.T) { suite(t, Landlock) }

func TestSuiteUnconfined(t *testing.T) { suite(t, None) }

func suite(t *testing.T, isolation Isolation) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		s := newState(t)
		s.isolation = isolation
		return enginetest.Harness{
			Open:       func(t *testing.T) engine.Engine { return s.reopen(t) },
			Close:      func(t *testing.T, e engine.Engine) { e.(*Engine).Close() },
			Actor:      actor(t),
			Tree:       s.tree,
			Stuck:      s.stuckTree,
			Alive:      alive,
			Below:      processesBelow,
			Touch:      s.touch,
			KillCaller: s.killCaller,
		}
	})
}

// state is a directory for engines and one for the trees they place.
type state struct {
	dir, trees string
	isolation  Isolation
	stuck      *sync.Map // digests whose next placing waits until it is given up
}

func newState(t *testing.T) state {
	t.Helper()
	s := state{dir: t.TempDir(), trees: t.TempDir(), stuck: &sync.Map{}}
	t.Cleanup(func() { // engines that were closed at once have not cleaned up
		records, _ := filepath.Glob(filepath.Join(s.dir, "*", copyFile))
		for _, path := range records {
			var r record
			if err := readJSON(path, &r); err != nil {
				t.Error(err)
				continue
			}
			dir := filepath.Dir(path)
			if err := errors.Join((&Engine{dir: s.dir}).removeRun(dir, r.Run), removeTree(filepath.Join(dir, rootDir))); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// quick starts a program of ours. Under the race detector it would else wait a
// second before it exits.
func quick(program string, args ...string) []string {
	return append([]string{"/usr/bin/env", "GORACE=atexit_sleep_ms=0", program}, args...)
}

func actor(t *testing.T) []string { return []string{self(t), enginetest.ActorMark} }

func (s state) config(shimPath string, log io.Writer) Config {
	return Config{Dir: s.dir, Isolation: s.isolation, Shim: quick(shimPath, "shim"), Materialize: s.materialize,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// open opens an engine for as long as the test lasts.
func (s state) open(t *testing.T) *Engine {
	t.Helper()
	e := s.reopen(t)
	t.Cleanup(func() { e.Close() })
	return e
}

// reopen opens an engine that the caller closes.
func (s state) reopen(t *testing.T) *Engine {
	t.Helper()
	e, err := Open(s.config(self(t), t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (s state) tree(t *testing.T, files map[string]string) string {
	t.Helper()
	text, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	name := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(s.trees, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (s state) stuckTree(t *testing.T, files map[string]string) string {
	t.Helper()
	digest := s.tree(t, files)
	s.stuck.Store(digest, true)
	return digest
}

// materialize is a small artifact store.
func (s state) materialize(ctx context.Context, digest, dir string) error {
	if s.stuck != nil {
		if _, stuck := s.stuck.LoadAndDelete(digest); stuck {
			<-ctx.Done()
			return ctx.Err()
		}
	}
	text, err := os.ReadFile(filepath.Join(s.trees, filepath.Base(digest)))
	if err != nil {
		return err
	}
	var files map[string]string
	if err := json.Unmarshal(text, &files); err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			return err
		}
	}
	return nil
}

func alive(pid int) bool {
	_, err := shim.StartTime(pid)
	return err == nil
}

// processesBelow lists all processes that descend from one.
func processesBelow(t *testing.T, pid int) []int {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		t.Fatal(err)
	}
	children := map[int][]int{}
	for line := range strings.Lines(string(out)) {
		var child, parent int
		if _, err := fmt.Sscan(line, &child, &parent); err != nil {
			t.Fatal(err)
		}
		children[parent] = append(children[parent], child)
	}
	var all []int
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		all = append(all, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return all
}

// touch makes a file where the instance sees it in its ${run}.
func (s state) touch(t *testing.T, i engine.Instance, name string) {
	t.Helper()
	var r record
	if err := readJSON(filepath.Join(s.dir, i.ID, copyFile), &r); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.Run, name)
	if keep, err := keepApart(s.dir, s.isolation); err == nil && keep.isolation == Landlock {
		path = filepath.Join(r.Run, ownDir, name)
	}
	if r.World {
		path = filepath.Join("/proc", strconv.Itoa(i.PID), "root", innerRun, name)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// killCaller starts this binary as a caller, and kills it when it says that
// its copies run.
func (s state) killCaller(t *testing.T, w engine.Workload, replicas int) {
	t.Helper()
	text, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self(t), "caller", s.dir, string(text), fmt.Sprint(replicas), fmt.Sprint(int(s.isolation)))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	if line != "running\n" {
		t.Fatalf("the caller said %q, %v", line, err)
	}
}

// caller is a program that ensures a workload, says so, and waits to be killed.
func caller(args []string) int {
	var w engine.Workload
	var replicas int
	var isolation Isolation
	path, err := os.Executable()
	if err == nil {
		err = json.Unmarshal([]byte(args[1]), &w)
	}
	if err == nil {
		_, err = fmt.Sscan(strings.Join(args[2:], " "), &replicas, &isolation)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	e, err := Open(state{dir: args[0], isolation: isolation}.config(path, os.Stderr))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := e.Ensure(context.Background(), 1, w, replicas); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for range e.Notify() {
		list, err := e.Instances(context.Background(), engine.Selector{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		running := 0
		for _, i := range list {
			if i.Phase == engine.Running {
				running++
			}
		}
		if running == replicas {
			fmt.Println("running")
		}
	}
	return 0
}

// until polls for what must come.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// list gives the copies of a workload.
func list(t *testing.T, e *Engine, workload string) []engine.Instance {
	t.Helper()
	l, err := e.Instances(context.WithoutCancel(t.Context()), engine.Selector{Workload: workload})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ensure wants a workload that plays the verbs, and removes it at the end.
func ensure(t *testing.T, e *Engine, w engine.Workload, replicas int) {
	t.Helper()
	if err := e.Ensure(t.Context(), 1, w, replicas); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Remove(context.Background(), 1<<40, w.ID); err != nil {
			t.Error(err)
		}
		until(t, "the end of "+w.ID, func() bool {
			for _, i := range list(t, e, w.ID) {
				if !i.Phase.Ended() {
					return false
				}
			}
			return true
		})
	})
}

func workload(t *testing.T, id string, restart engine.Restart, verbs ...string) engine.Workload {
	return engine.Workload{ID: id, Template: engine.Template{Command: append(actor(t), verbs...),
		Address: "unix://${run}/http.sock", Restart: restart, Grace: 5 * time.Second}}
}

// one waits until a workload has exactly one living copy, and that runs.
func one(t *testing.T, e *Engine, id string) engine.Instance {
	t.Helper()
	var found engine.Instance
	var all []engine.Instance
	defer func() {
		if t.Failed() {
			t.Logf("there is %+v", all)
		}
	}()
	until(t, "one running copy of "+id, func() bool {
		n := 0
		all = list(t, e, id)
		for _, i := range all {
			if !i.Phase.Ended() {
				found = i
				n++
			}
		}
		return n == 1 && found.Phase == engine.Running
	})
	return found
}

func logOf(t *testing.T, e *Engine, id string) string {
	t.Helper()
	r, err := e.Logs(t.Context(), id, engine.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
