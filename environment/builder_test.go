package environment

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func contextOf() context.Context { return context.Background() }

func open(t testing.TB, c Config) *Builder {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.FindPythons == nil {
		c.FindPythons = findPythons(os.Getenv) // whatever HOME the test makes up
	}
	b, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	knowPythons(t, b)
	return b
}

// askedOnce holds what this machine's interpreters answered, so that not every
// test has to run them all.
var askedOnce struct {
	sync.Mutex
	known map[string]Interpreter
}

func knowPythons(t testing.TB, b *Builder) {
	t.Helper()
	askedOnce.Lock()
	defer askedOnce.Unlock()
	if askedOnce.known == nil {
		s := &interpreters{find: findPythons(os.Getenv), file: filepath.Join(t.TempDir(), "asked.json")}
		if _, err := s.list(t.Context(), func() {}); err != nil {
			t.Fatal(err)
		}
		askedOnce.known = s.known
	}
	b.pythons.read, b.pythons.known = true, maps.Clone(askedOnce.known)
	b.pythons.save()
}

func TestPrepare(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t,
			wheel{name: "top-package", version: "1.2.3", requires: []string{"below>=1"}},
			wheel{name: "top-package", version: "2.0", requires: []string{"below>=1"}},
			wheel{name: "below", version: "1.0"}, wheel{name: "below", version: "1.1"})
		dir := t.TempDir()
		b := open(t, Config{Dir: dir, UV: tool, Environ: x.environ(t)})
		spec := Spec{CondaFile: "dependencies: [python>=3.8, top_package=1.2, pip, {pip: [azureml-defaults]}]\nvariables: {GREETING: hello}\n"}
		var steps []string
		env, err := b.Prepare(t.Context(), spec, func(p Progress) {
			if !slices.Contains(steps, p.Step) {
				steps = append(steps, p.Step)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := python(t, env, "import sys, top_package, below; print(top_package.__version__, below.__version__, sys.prefix, sys.flags.no_site)"); got != "1.2.3 1.1 "+env.Dir+" 0" {
			t.Errorf("the environment has %s", got)
		}
		if env.Reused || env.Dir != filepath.Join(dir, "envs", env.LockHash) {
			t.Errorf("reused %v, in %s", env.Reused, env.Dir)
		}
		if diff := cmp.Diff(map[string]string{"GREETING": "hello"}, env.Vars); diff != "" {
			t.Error(diff)
		}
		if len(env.Notices) != 1 || !strings.Contains(env.Notices[0], "azureml-defaults") {
			t.Errorf("notices are %q", env.Notices)
		}
		if slices.Index(steps, sluice.StepResolving) != 0 || steps[len(steps)-1] != sluice.StepBuilding || !slices.Contains(steps, sluice.StepDownloading) {
			t.Errorf("steps are %v", steps)
		}
		for _, line := range []string{"below==1.1 \\\n    --hash=sha256:", "top-package==1.2.3 \\\n    --hash=sha256:"} {
			if !strings.Contains(env.Lock, line) {
				t.Errorf("%q is not in the lock\n%s", line, env.Lock)
			}
		}
		b.background.Wait()
		compiled, err := filepath.Glob(filepath.Join(env.Dir, "lib", "python*", "site-packages", "__pycache__", "below.*.pyc"))
		if err != nil || len(compiled) != 1 {
			t.Errorf("compiled: %v, %v", compiled, err)
		}
		if log, err := os.ReadFile(env.Log); err != nil || len(log) == 0 {
			t.Errorf("the log: %v", err)
		}
		leftNothing(t, dir)
		warm(t, x, b, spec, env)
		warm(t, x, open(t, Config{Dir: dir, UV: tool, Environ: b.environ}), spec, env)
	})
}

// warm prepares again what is there: no process, no request, the same answer.
func warm(t *testing.T, x *index, b *Builder, spec Spec, want Env) {
	t.Helper()
	b.background.Wait()
	processes, requests := b.started.Load(), x.requests.Load()
	got, err := b.Prepare(t.Context(), spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := b.started.Load() - processes; n != 0 {
		t.Errorf("%d processes were started", n)
	}
	if n := x.requests.Load() - requests; n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	want.Reused = true
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// leftNothing checks that no working files remain.
func leftNothing(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{"tmp", "wheels"} {
		left, err := os.ReadDir(filepath.Join(dir, d))
		if err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", d, left, err)
		}
	}
}

func TestNoPackages(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t)
		env, err := open(t, Config{UV: tool, Environ: x.environ(t)}).Prepare(t.Context(), Spec{Image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := python(t, env, "print(1+1)"); got != "2" {
			t.Errorf("got %s", got)
		}
		if n := x.requests.Load(); n != 0 {
			t.Errorf("%d requests for nothing", n)
		}
	})
}

// TestSharedLock checks that two specs with one lock have one environment.
func TestSharedLock(t *testing.T) {
	x := newIndex(t, wheel{name: "below", version: "1.1"})
	b := open(t, Config{UV: "off", Environ: x.environ(t)})
	var envs []Env
	for _, spec := range []Spec{{Requirements: "below"}, {Pip: []string{"below==1.1"}}, {CondaFile: "dependencies: [below=1.1]"}} {
		env, err := b.Prepare(t.Context(), spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		envs = append(envs, env)
	}
	if envs[0].Dir != envs[1].Dir || envs[0].Dir != envs[2].Dir || envs[0].Reused || !envs[1].Reused || !envs[2].Reused {
		t.Errorf("got %+v", envs)
	}
}

// TestTenAtOnce asks ten times for one environment, from two builders that
// know nothing of each other.
func TestTenAtOnce(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "below", version: "1.1"})
		dir, environ := t.TempDir(), x.environ(t)
		builders := []*Builder{open(t, Config{Dir: dir, UV: tool, Environ: environ}), open(t, Config{Dir: dir, UV: tool, Environ: environ})}
		var wg sync.WaitGroup
		built := make(chan bool, 10)
		for i := range 10 {
			wg.Go(func() {
				env, err := builders[i%2].Prepare(t.Context(), Spec{Requirements: "below"}, nil)
				if err != nil {
					t.Error(err)
				}
				built <- !env.Reused
			})
		}
		wg.Wait()
		close(built)
		n := 0
		for b := range built {
			if b {
				n++
			}
		}
		if n != 1 {
			t.Errorf("built %d times", n)
		}
	})
}

// TestFailureIsShared lets many wait for an attempt that fails: they get its
// failure, and one who comes later gets an attempt of its own.
func TestFailureIsShared(t *testing.T) {
	b := open(t, Config{UV: "off", Environ: []string{}})
	var mu sync.Mutex
	attempts := 0
	running, proceed := make(chan struct{}), make(chan struct{})
	boom := errors.New("boom")
	try := func(first bool) error {
		return b.exclusively(t.Context(), "key", func(*os.File) error {
			mu.Lock()
			attempts++
			mu.Unlock()
			if first {
				close(running)
				<-proceed
			}
			return boom
		})
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = try(true) })
	<-running
	started := make(chan struct{}, 5)
	for range 5 {
		wg.Go(func() {
			started <- struct{}{}
			if err := try(false); !errors.Is(err, boom) {
				t.Errorf("got %v", err)
			}
		})
	}
	for range 5 {
		<-started
	}
	// Whether all five wait by now does not matter to the promise: each that
	// came before the failure shares it, each that came after tries again.
	close(proceed)
	wg.Wait()
	if attempts < 1 || attempts > 6 {
		t.Errorf("%d attempts", attempts)
	}
	before := attempts
	if err := try(false); !errors.Is(err, boom) || attempts != before+1 {
		t.Errorf("a later one: %v, %d attempts", err, attempts)
	}
}

// TestCancel ends a Prepare while a tool waits for the index.
func TestCancel(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "below", version: "1.1"})
		release := x.hold()
		defer release()
		b := open(t, Config{UV: tool, Environ: x.environ(t)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := b.Prepare(ctx, Spec{Requirements: "below"}, nil)
			done <- err
		}()
		<-x.held
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		leftNothing(t, b.dir)
		release()
		if _, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestPythonGone removes the interpreter an environment hangs on.
func TestPythonGone(t *testing.T) {
	x := newIndex(t, wheel{name: "below", version: "1.1"})
	b := open(t, Config{UV: "off", Environ: x.environ(t)})
	env, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{"python", "python3"} {
		os.Remove(filepath.Join(env.Dir, "bin", link))
	}
	if err := os.Symlink("/nowhere/python", env.Python); err != nil {
		t.Fatal(err)
	}
	again, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if again.Reused {
		t.Error("an environment without Python was reused")
	}
	python(t, again, "import below")
}

// TestDamagedWheels damages what a resolution left for the build.
func TestDamagedWheels(t *testing.T) {
	x := newIndex(t, wheel{name: "below", version: "1.1"})
	b := open(t, Config{UV: "off", Environ: x.environ(t)})
	env, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wheels := b.wheelsDir(env.LockHash)
	b.background.Wait()
	if err := errors.Join(removeEnv(env.Dir), os.Mkdir(wheels, 0o700), os.WriteFile(filepath.Join(wheels, "below-1.1-py3-none-any.whl"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if env, err = b.Prepare(t.Context(), Spec{Requirements: "below"}, nil); err != nil {
		t.Fatal(err)
	}
	python(t, env, "import below")
}

// TestPasswords checks that the index's password is used, and written nowhere.
func TestPasswords(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "below", version: "1.1"})
		x.password = "hush-hush-hush"
		b := open(t, Config{UV: tool, Environ: x.environ(t)})
		env, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		python(t, env, "import below")
		_, err = b.Prepare(t.Context(), Spec{Requirements: "above"}, nil)
		if err == nil || strings.Contains(err.Error(), x.password) {
			t.Errorf("got %v", err)
		}
		everyFile(t, b.dir, func(path string, content []byte) {
			if bytes.Contains(content, []byte(x.password)) {
				t.Errorf("%s holds the password", path)
			}
		})
	})
}

// TestIndexInSpec takes the index from the spec rather than from the machine.
func TestIndexInSpec(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		empty, x := newIndex(t), newIndex(t, wheel{name: "below", version: "1.1"})
		x.password = "hush-hush-hush"
		at := strings.Replace(x.URL, "http://", "http://someone:"+x.password+"@", 1) + "/simple"
		b := open(t, Config{UV: tool, Environ: empty.environ(t)})
		env, err := b.Prepare(t.Context(), Spec{Requirements: "--index-url " + at + "\n--trusted-host 127.0.0.1\nbelow"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		python(t, env, "import below")
		everyFile(t, b.dir, func(path string, content []byte) {
			if bytes.Contains(content, []byte(x.password)) {
				t.Errorf("%s holds the password", path)
			}
		})
	})
}

func TestDirectURL(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "below", version: "1.1"})
		b := open(t, Config{UV: tool, Environ: x.environ(t)})
		env, err := b.Prepare(t.Context(), Spec{Requirements: "below @ " + x.URL + "/files/below-1.1-py3-none-any.whl"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		python(t, env, "import below")
		if !strings.Contains(env.Lock, "below @ http") {
			t.Errorf("the lock is\n%s", env.Lock)
		}
		b.background.Wait() // who removes without the lock file, waits
		if err := removeEnv(env.Dir); err != nil {
			t.Fatal(err)
		}
		if env, err = b.Prepare(t.Context(), Spec{Requirements: "below @ " + x.URL + "/files/below-1.1-py3-none-any.whl"}, nil); err != nil {
			t.Fatal(err)
		}
		python(t, env, "import below")
	})
}

// TestNumpyTwo resolves a package of before numpy 2 that does not say so.
func TestNumpyTwo(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "numpy", version: "1.26.4"}, wheel{name: "numpy", version: "2.1.0"},
			wheel{name: "scikit-learn", version: "1.2.2", requires: []string{"numpy>=1.17"}},
			wheel{name: "scikit-learn", version: "1.5.2", requires: []string{"numpy>=1.19"}})
		b := open(t, Config{UV: tool, Environ: x.environ(t)})
		for _, c := range []struct{ requirements, numpy, notice string }{
			{"scikit-learn==1.2.2", "1.26.4", "scikit-learn 1.2.2 was built before numpy 2"},
			{"scikit-learn==1.5.2", "2.1.0", ""},
			{"scikit-learn==1.2.2\nnumpy==2.*", "2.1.0", ""},
		} {
			env, err := b.Prepare(t.Context(), Spec{Requirements: c.requirements}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(env.Lock, "numpy=="+c.numpy) {
				t.Errorf("%q: the lock is\n%s", c.requirements, env.Lock)
			}
			if got := strings.Join(env.Notices, "\n"); !strings.Contains(got, c.notice) || (c.notice == "") != (got == "") {
				t.Errorf("%q: notices are %q", c.requirements, got)
			}
		}
	})
}

func TestOpenRefusesMissingUV(t *testing.T) {
	if _, err := Open(Config{Dir: t.TempDir(), UV: "/no/such/uv"}); err == nil {
		t.Error("a uv that is not there was taken")
	}
}
