package environment

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRelocated checks that an environment works where it stands, and that
// nothing in it names the place where it was built.
func TestRelocated(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "below", version: "1.1", script: "hello", code: "def main():\n    import sys\n    print('hello from', sys.prefix)\n"})
		// In the middle one, only the final place is too long for a first line.
		middle, err := os.MkdirTemp("", strings.Repeat("m", 60-len(os.TempDir())))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(middle) })
		dirs := map[string]string{"middle": middle}
		if tool != "off" {
			dirs["short"], dirs["long"] = t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("long", 40))
		}
		for name, dir := range dirs {
			b := open(t, Config{Dir: dir, UV: tool, Environ: x.environ(t)})
			env, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(filepath.Join(env.Dir, "bin", "hello")).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "hello from "+env.Dir {
				t.Errorf("%s: the program says %s, %v", name, out, err)
			}
			aside := []byte(filepath.Join(b.dir, "tmp"))
			everyFile(t, env.Dir, func(path string, content []byte) {
				if bytes.Contains(content, aside) {
					t.Errorf("%s names the place where it was built", path)
				}
			})
		}
	})
}

// TestOthersCanRead builds under the strictest umask and under none, the
// second time from a cache: everybody may read the environment, nobody but its
// owner may write to it.
func TestOthersCanRead(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "below", version: "1.1", script: "hello", code: "def main(): pass\n"})
		environ := x.environ(t)
		masks := []int{0o077}
		if tool != "off" { // its cache brings the first mask's files to the others
			masks = append(masks, 0, 0o027)
		}
		for _, mask := range masks {
			before := syscall.Umask(mask)
			b := open(t, Config{Dir: t.TempDir(), UV: tool, Environ: environ})
			env, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
			b.background.Wait()
			syscall.Umask(before)
			if err != nil {
				t.Fatal(err)
			}
			err = filepath.WalkDir(env.Dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil || e.Type()&fs.ModeSymlink != 0 {
					return err
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				want := fs.FileMode(0o444)
				if e.IsDir() || info.Mode()&0o100 != 0 {
					want = 0o555
				}
				if mode := info.Mode().Perm(); mode&0o077 != want&0o077 {
					t.Errorf("umask %03o: %s has mode %03o", mask, path, mode)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if info, err := os.Stat(filepath.Dir(env.Dir)); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the folder of environments: %v, %v", info.Mode(), err)
			}
		}
	})
}

// TestNothingRuns prepares an environment whose package comes with a .pth
// file, which is code that every start of its Python runs: making the
// environment is not one of them.
func TestNothingRuns(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		ran := filepath.Join(t.TempDir(), "ran")
		x := newIndex(t, wheel{name: "below", version: "1.1", pth: "import os; os.close(os.open('" + ran + "', os.O_CREAT))\n"})
		b := open(t, Config{UV: tool, Environ: x.environ(t)})
		env, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.background.Wait()
		if _, err := os.Stat(ran); err == nil {
			t.Error("making the environment ran code of its package")
		}
		python(t, env, "import below")
		if _, err := os.Stat(ran); err != nil {
			t.Errorf("the package's code does not run at all: %v", err)
		}
	})
}

// TestCompiledOnce interrupts the compiling of an environment: the next who
// asks for it goes on, whoever comes then has nothing to do.
func TestCompiledOnce(t *testing.T) {
	x := newIndex(t, wheel{name: "below", version: "1.1"})
	dir, environ := t.TempDir(), x.environ(t)
	spec := Spec{Requirements: "below"}
	first := open(t, Config{Dir: dir, UV: "off", Environ: environ})
	first.stop() // as if it had been closed at once
	env, err := first.Prepare(t.Context(), spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(env.Dir, compiled)
	if _, err := os.Stat(done); err == nil {
		t.Fatal("a closed builder compiles")
	}
	for _, processes := range []int64{1, 0} {
		b := open(t, Config{Dir: dir, UV: "off", Environ: environ})
		for range 3 {
			if _, err := b.Prepare(t.Context(), spec, nil); err != nil {
				t.Fatal(err)
			}
		}
		b.background.Wait()
		if _, err := os.Stat(done); err != nil || b.started.Load() != processes {
			t.Errorf("%d processes were started, want %d; %v", b.started.Load(), processes, err)
		}
	}
}

// TestPowerLost finds an environment of another run of the machine: it counts
// when it was on the disk, and is made anew when nobody knows.
func TestPowerLost(t *testing.T) {
	x := newIndex(t, wheel{name: "below", version: "1.1"})
	dir, environ := t.TempDir(), x.environ(t)
	spec := Spec{Requirements: "below"}
	prepare := func(boot string, finish bool) Env {
		t.Helper()
		b := open(t, Config{Dir: dir, UV: "off", Environ: environ})
		b.boot = boot
		if !finish {
			b.stop()
		}
		env, err := b.Prepare(t.Context(), spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.background.Wait()
		return env
	}
	for i, c := range []struct {
		boot   string
		finish bool
		reused bool
	}{{"a", false, false}, {"a", false, true}, {"b", false, false}, {"b", true, true}, {"c", false, true}} {
		env := prepare(c.boot, c.finish)
		if env.Reused != c.reused {
			t.Errorf("step %d: reused is %v", i, env.Reused)
		}
		python(t, env, "import below")
	}
}
