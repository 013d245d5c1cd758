package environment

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

// tarball makes a package as source, below one folder.
func tarball(t *testing.T, top string, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, name := range sortedKeys(files) {
		text := files[name]
		if err := w.WriteHeader(&tar.Header{Name: top + "/" + name, Size: int64(len(text)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// buildWheels are the real wheels of setuptools and wheel, downloaded once.
var buildWheels = sync.OnceValues(func() (map[string][]byte, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "sluice-test", "build-wheels")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	held, err := lock(contextOf(), dir+".lock")
	if err != nil {
		return nil, err
	}
	defer held.Close()
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(found) < 2 {
		out, err := exec.Command("python3", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", dir, "setuptools==75.3.0", "wheel==0.45.1").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("downloading setuptools and wheel: %w: %s", err, out)
		}
		if found, err = filepath.Glob(filepath.Join(dir, "*.whl")); err != nil {
			return nil, err
		}
	}
	wheels := map[string][]byte{}
	for _, path := range found {
		if wheels[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	return wheels, nil
})

// newSourceIndex is an index with what builds need, and sources.
func newSourceIndex(t *testing.T, sources map[string]map[string]string, wheels ...wheel) *index {
	t.Helper()
	x := newIndex(t, wheels...)
	tools, err := buildWheels()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range tools {
		x.files[name] = content
	}
	for stem, files := range sources {
		x.files[stem+".tar.gz"] = tarball(t, stem, files)
	}
	return x
}

func sourceSpec(requirements string) Spec {
	return Spec{Requirements: requirements, SourceBuilds: true}
}

// setupPy is the plainest source there is, with code of its own before it.
func setupPy(name, version, code string) map[string]string {
	return map[string]string{
		"setup.py":   code + "\nfrom setuptools import setup\nsetup(name='" + name + "', version='" + version + "', py_modules=['" + name + "'])\n",
		name + ".py": "__version__ = '" + version + "'\n",
	}
}

// TestSourceBuild builds what has no wheel: with setup.py alone, with a
// pyproject.toml, with C code, and below a package that needs it.
func TestSourceBuild(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		native := map[string]string{
			"pyproject.toml": "[project]\nname = 'native'\nversion = '2.0'\n[build-system] # how\nrequires = [\n  \"setuptools>=60\", # with a comment [and brackets]\n]\nbuild-backend = 'setuptools.build_meta'\n[tool.x]\nrequires = 1\n",
			"setup.py":       "from setuptools import setup, Extension\nsetup(ext_modules=[Extension('native', ['native.c'])])\n",
			"native.c":       "#include <Python.h>\nstatic struct PyModuleDef m = {PyModuleDef_HEAD_INIT, \"native\", 0, -1, 0};\nPyMODINIT_FUNC PyInit_native(void) { return PyModule_Create(&m); }\n",
		}
		dynamic := setupPy("dynamic", "1.0", "import below\nassert below.__version__ == '1.1'")
		dynamic["backend.py"] = "from setuptools.build_meta import *\nfrom setuptools import build_meta\ndef get_requires_for_build_wheel(config_settings=None):\n    return ['below>1']\n"
		dynamic["pyproject.toml"] = "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n"
		x := newSourceIndex(t, map[string]map[string]string{
			"plain-1.0": setupPy("plain", "1.0", ""), "plain-1.2": setupPy("plain", "1.2", ""), "plain-2.0b1": setupPy("plain", "2.0b1", ""),
			"native-2.0": native, "dynamic-1.0": dynamic,
		}, wheel{name: "below", version: "1.1"}, wheel{name: "top", version: "1.0", requires: []string{"plain<1.1"}})
		dir, environ := t.TempDir(), x.environ(t)
		b := open(t, Config{Dir: dir, UV: tool, Environ: environ, SourceBuilds: true})
		for requirements, program := range map[string]string{
			"plain":         "import plain; assert plain.__version__ == '1.2'",
			"plain==1.0":    "import plain; assert plain.__version__ == '1.0'",
			"native\nplain": "import native, plain",
			"dynamic":       "import dynamic",
			"top":           "import top, plain; assert plain.__version__ == '1.0'",
		} {
			if tool == "off" && requirements != "top" { // the build itself is the same with both
				continue
			}
			env, err := b.Prepare(t.Context(), sourceSpec(requirements), nil)
			if err != nil {
				t.Fatalf("%q: %v", requirements, err)
			}
			python(t, env, program)
			if !strings.Contains(env.Lock, builtLine) {
				t.Errorf("%q: the lock does not say what was built:\n%s", requirements, env.Lock)
			}
			warm(t, x, b, sourceSpec(requirements), env)
		}
		leftNothing(t, dir)
		if tool != "off" {
			again(t, b)
		}
	})
}

// again makes an environment anew whose wheel was built before, from its lock,
// and once the wheel is gone from source.
func again(t *testing.T, b *Builder) {
	t.Helper()
	spec := sourceSpec("plain")
	env, err := b.Prepare(t.Context(), spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec.Lock = env.Lock
	for _, gone := range []string{env.Dir, filepath.Join(b.dir, "built")} {
		b.background.Wait()
		if err := errors.Join(os.RemoveAll(env.Dir), os.RemoveAll(gone), os.MkdirAll(filepath.Join(b.dir, "built"), 0o700)); err != nil {
			t.Fatal(err)
		}
		made, err := b.Prepare(t.Context(), spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		python(t, made, "import plain")
		if made.Lock != env.Lock {
			t.Errorf("the same source gives another wheel:\n%s\n%s", env.Lock, made.Lock)
		}
	}
}

// TestSourceIsRefused asks for a package without a wheel where source is not
// allowed: by the environment, by the server, or by both.
func TestSourceIsRefused(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newSourceIndex(t, map[string]map[string]string{"plain-1.0": setupPy("plain", "1.0", "raise SystemExit('ran')")})
		for _, c := range []struct{ spec, server bool }{{false, true}, {true, false}, {false, false}} {
			b := open(t, Config{UV: tool, Environ: x.environ(t), SourceBuilds: c.server})
			_, err := b.Prepare(t.Context(), Spec{Requirements: "plain==1.0", SourceBuilds: c.spec}, nil)
			wantCause(t, err, sluice.CauseNoWheel, "another version", "plain==1.0", "only as source")
			cause := (*sluice.Cause)(nil)
			errors.As(err, &cause)
			if strings.Contains(cause.Hint, "sluice.source_builds: allow") == c.spec || strings.Contains(cause.Hint, "source_builds: true") == c.server {
				t.Errorf("%+v: the hint is %q", c, cause.Hint)
			}
		}
	})
}

// hostile is a setup.py that tries what it should not be able to, and says how
// each went.
const hostile = `
import os, signal, socket, subprocess, sys, time
def attempt(name, do):
    try:
        got = do()
    except BaseException as e:
        print("ATTEMPT", name, "denied:", type(e).__name__, flush=True)
    else:
        print("ATTEMPT", name, "SUCCEEDED:", got, flush=True)
attempt("key", lambda: open("%[1]s/seal.key").read())
attempt("list-state", lambda: [f for f in os.listdir("%[1]s") if f != "environments"][0])
attempt("write-environments", lambda: open("%[2]s/envs/evil", "w"))
attempt("write-built", lambda: open("%[2]s/built/evil", "w"))
attempt("write-own-environment", lambda: open(os.path.join(sys.prefix, "evil.pth"), "w"))
attempt("write-python", lambda: open(os.path.join(sys.base_prefix, "evil"), "w"))
attempt("write-usr", lambda: open("/usr/lib/evil", "w"))
attempt("write-tmp", lambda: open("/tmp/evil", "w"))
attempt("read-home", lambda: open("%[3]s/notes").read())
attempt("list-homes", lambda: os.listdir("/home") + os.listdir("/root"))
attempt("shadow", lambda: open("/etc/shadow").read())
attempt("root", lambda: os.setuid(0))
attempt("groups", lambda: 1 / len(os.getgroups()))
attempt("new-privileges", lambda: 1 / (1 - int(open("/proc/self/status").read().split("NoNewPrivs:")[1].split()[0])))
attempt("capabilities", lambda: 1 / int(open("/proc/self/status").read().split("CapEff:")[1].split()[0], 16))
attempt("chroot", lambda: os.chroot("/"))
attempt("other-root", lambda: os.listdir("/proc/%[4]d/root/"))
attempt("other-environment", lambda: open("/proc/%[4]d/environ").read())
attempt("kill", lambda: os.kill(%[4]d, 0))
attempt("network", lambda: socket.create_connection(("127.0.0.1", %[5]d), 2))
attempt("password", lambda: 1 / str(os.environ).count("hush-hush"))
attempt("lock-file", lambda: [fd for fd in os.listdir("/proc/self/fd") if "held" in os.readlink("/proc/self/fd/" + fd)][0])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.close(1); os.close(2)
        time.sleep(600)
    os._exit(0)
%[6]s
`

// attempts are the names of what hostile tries.
const attempts = 22

// TestHostileSource builds sources that attack the machine: everything fails
// and stands in the log, and the build itself ends well or by name.
func TestHostileSource(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		state, home := t.TempDir(), t.TempDir()
		dir := filepath.Join(state, "environments")
		for path, text := range map[string]string{filepath.Join(state, "seal.key"): "hush-hush", filepath.Join(home, "notes"): "mine"} {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil { // the folder protects it, or nothing does
				t.Fatal(err)
			}
		}
		source := func(name, last string) map[string]string {
			return setupPy(name, "1.0", fmt.Sprintf(hostile, state, dir, home, os.Getpid(), listener.Addr().(*net.TCPAddr).Port, last))
		}
		x := newSourceIndex(t, map[string]map[string]string{"quiet-1.0": source("quiet", ""), "loud-1.0": source("loud", "raise PermissionError('they keep me in')")})
		x.password = "hush-hush"
		user := User{60988, 60989}
		b := open(t, Config{Dir: dir, UV: tool, Environ: x.environ(t), SourceBuilds: true, BuildUser: user})

		env, err := b.Prepare(t.Context(), sourceSpec("quiet"), nil)
		if err != nil {
			t.Fatal(err)
		}
		python(t, env, "import quiet")
		_, err = b.Prepare(t.Context(), sourceSpec("loud"), nil)
		wantCause(t, err, sluice.CauseBuildFailed, "has a wheel", "loud 1.0", "PermissionError: they keep me in")
		if err := nobodyRuns(user); err != nil {
			t.Error(err)
		}
		logs := 0
		everyFile(t, filepath.Join(dir, "logs"), func(path string, content []byte) {
			if !bytes.Contains(content, []byte("ATTEMPT")) {
				return
			}
			logs++
			if bytes.Contains(content, []byte("SUCCEEDED")) || bytes.Contains(content, []byte("hush-hush")) {
				t.Errorf("%s:\n%s", path, content)
			}
			for line := range strings.SplitSeq(string(content), "\n") {
				if strings.Contains(line, "ATTEMPT") && !strings.Contains(line, "denied") {
					t.Error(line)
				}
			}
			if n := bytes.Count(content, []byte(" denied: ")); n < attempts {
				t.Errorf("%s tells of %d attempts", path, n)
			}
		})
		if logs != 2 {
			t.Errorf("%d logs tell of the attempts", logs)
		}
		leftNothing(t, dir)
		for _, path := range []string{"/tmp/evil", "/usr/lib/evil", filepath.Join(dir, "envs", "evil"), filepath.Join(dir, "built", "evil")} {
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s was written", path)
			}
		}
	})
}

// nobodyRuns checks that no process of a user is left.
func nobodyRuns(u User) error {
	processes, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return err
	}
	for _, path := range processes {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "\nUid:\t"+strconv.Itoa(int(u.UID))+"\t") {
			return fmt.Errorf("%s is still there:\n%s", path, text)
		}
	}
	return nil
}

// TestSourceThatLies builds sources that leave something else than a wheel of
// theirs: each is refused by name, and nothing of this machine gets in.
func TestSourceThatLies(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush-hush"), 0o644); err != nil {
		t.Fatal(err)
	}
	backend := func(code string) map[string]string {
		return map[string]string{
			"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"b\"\nbackend-path = [\".\"]\n",
			"b.py":           "import os, json\ndef build_wheel(out, config, meta):\n    " + code + "\n",
		}
	}
	const good = "liar-1.0-py3-none-any.whl"
	for name, c := range map[string]struct {
		files map[string]string
		says  string
	}{
		"another package": {backend("open(os.path.join(out, 'other-1.0-py3-none-any.whl'), 'w'); return 'other-1.0-py3-none-any.whl'"), "is no wheel of it"},
		"another version": {backend("return 'liar-2.0-py3-none-any.whl'"), "is no wheel of it"},
		"a path":          {backend("return '../../../" + good + "'"), "is no wheel of it"},
		"nothing":         {backend("return '" + good + "'"), "leaves no wheel"},
		"a link":          {backend("os.symlink('" + secret + "', os.path.join(out, '" + good + "')); return '" + good + "'"), "leaves no wheel"},
		"a pipe":          {backend("os.mkfifo(os.path.join(out, '" + good + "')); return '" + good + "'"), "leaves no wheel"},
		"a linked folder": {backend("os.rmdir(out); os.symlink('" + filepath.Dir(secret) + "', out); return '" + good + "'"), "leaves no wheel"},
		"endless words":   {backend("print('x' * 100, flush=True); os.unlink('/build/out/unpack.json'); os.rename('/build/out', '/build/gone'); os.symlink('/etc', '/build/out'); return '" + good + "'"), "failed"},
		"no backend":      {map[string]string{"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"b.c:d.e\"\n"}, "No module named 'b'"},
		"options":         {map[string]string{"pyproject.toml": "[build-system]\nrequires = [\"--index-url http://evil.example/simple\"]\n"}, "what it needs to be built cannot be had"},
		"odd requires":    {map[string]string{"pyproject.toml": "[build-system]\nrequires = {a = 1}\n"}, "does not say what it needs"},
		"no folder":       {nil, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSourceIndex(t, map[string]map[string]string{"liar-1.0": c.files})
			b := open(t, Config{UV: installedUV(t), Environ: x.environ(t), SourceBuilds: true})
			_, err := b.Prepare(t.Context(), sourceSpec("liar"), nil)
			cause := (*sluice.Cause)(nil)
			if !errors.As(err, &cause) || cause.Code != sluice.CauseBuildFailed || !strings.Contains(cause.Message, "liar 1.0") || !strings.Contains(cause.Message, c.says) {
				t.Errorf("got %v", err)
			}
			leftNothing(t, b.dir)
			if built, err := os.ReadDir(filepath.Join(b.dir, "built")); err != nil || len(built) > 0 {
				t.Errorf("kept is %v, %v", built, err)
			}
		})
	}
}

// TestCancelledBuild ends a build that never would, while it runs.
func TestCancelledBuild(t *testing.T) {
	x := newSourceIndex(t, map[string]map[string]string{"slow-1.0": setupPy("slow", "1.0", "import time, os\nprint('SLOW', flush=True)\nif os.fork(): time.sleep(600)\ntime.sleep(600)")})
	user := User{60990, 60990}
	b := open(t, Config{UV: installedUV(t), Environ: x.environ(t), SourceBuilds: true, BuildUser: user})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := b.Prepare(ctx, sourceSpec("slow"), nil)
		done <- err
	}()
	for running := false; !running; {
		select {
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		everyFile(t, filepath.Join(b.dir, "logs"), func(_ string, content []byte) {
			running = running || bytes.Contains(content, []byte("SLOW"))
		})
	}
	if err := nobodyRuns(user); err == nil {
		t.Error("nothing runs as the build's user")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := nobodyRuns(user); err != nil {
		t.Error(err)
	}
	leftNothing(t, b.dir)
}
