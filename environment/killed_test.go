package environment

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestMain makes this program a Sluice that can be killed: see TestKilled.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SLUICE_TEST_PREPARE"); dir != "" {
		pythons := findPythons(func(name string) string {
			if name == "HOME" {
				name = "SLUICE_TEST_HOME"
			}
			return os.Getenv(name)
		})
		b, err := Open(Config{Dir: dir, UV: os.Getenv("SLUICE_TEST_UV"), FindPythons: pythons})
		if err == nil {
			_, err = b.Prepare(context.Background(), Spec{Requirements: "below"}, nil)
		}
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestKilled kills -9 the process that prepares, once while it resolves and
// once while it builds, and checks that the half is never taken for the whole.
func TestKilled(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		for _, at := range []string{"resolving", "building"} {
			t.Run(at, func(t *testing.T) { killed(t, tool, at) })
		}
	})
}

func killed(t *testing.T, tool, at string) {
	x := newIndex(t, wheel{name: "below", version: "1.1"})
	dir, environ := t.TempDir(), x.environ(t)
	if at == "building" {
		// Resolved before, so that what waits for the index is the build.
		b := open(t, Config{Dir: dir, UV: tool, Environ: environ})
		env, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.background.Wait()
		if err := removeEnv(env.Dir); err != nil {
			t.Fatal(err)
		}
		environ = append(environ, "UV_NO_CACHE=1", "PIP_NO_CACHE_DIR=1")
	}
	release := x.hold()
	defer release()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(slices.Clone(environ), "SLUICE_TEST_PREPARE="+dir, "SLUICE_TEST_UV="+tool, "SLUICE_TEST_HOME="+os.Getenv("HOME"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-x.held:
	case <-time.After(time.Minute):
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("nothing was fetched: %s", &stderr)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if envs, err := filepath.Glob(filepath.Join(dir, "envs", "*")); err != nil || len(envs) != 0 {
		t.Fatalf("half of one stands where whole ones do: %v, %v", envs, err)
	}
	half, err := filepath.Glob(filepath.Join(dir, "tmp", "*", "env"))
	if err != nil || (len(half) > 0) != (at == "building") {
		t.Fatalf("killed while %s, with %v, %v", at, half, err)
	}
	release()
	b := open(t, Config{Dir: dir, UV: tool, Environ: environ})
	env, err := b.Prepare(t.Context(), Spec{Requirements: "below"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if env.Reused {
		t.Error("the half was reused")
	}
	if got := python(t, env, "import below; print(below.__version__)"); got != "1.1" {
		t.Errorf("got %s", got)
	}
	leftNothing(t, dir)
}
