package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata run the real programs. Those whose name begins with
// "server" do so against a server that runs beside them, and so do those of the
// suite of causes: each reason why something fails, in two variants, and what
// every face says of it.

// programs are built once for all scripts.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sluice-programs-")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"sluice", "sluice-runner"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), "../"+name)
		if out, err := cmd.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := built(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func scripts(t *testing.T, server bool) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, file := range all {
		name := filepath.Base(file)
		if (strings.HasPrefix(name, "server") || strings.HasPrefix(name, "causes")) == server {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		t.Fatal("there are no scripts")
	}
	return files
}

func params(t *testing.T, server bool) testscript.Params {
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return testscript.Params{
		Files: scripts(t, server),
		Setup: func(e *testscript.Env) error { return setup(e, dir, server) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exit": exitWith, "eventually": eventually,
			"cause": causeEverywhere, "index": startIndex, "wheel": makeWheel, "mlflow": provideMLflow},

		RequireExplicitExec: true, ContinueOnError: os.Getenv("CONTINUE") != "",
	}
}

// setup gives each script a home of its own, with free ports.
func setup(e *testscript.Env, programs string, server bool) error {
	state := filepath.Join(e.WorkDir, "state")
	e.Setenv("PATH", programs+string(os.PathListSeparator)+e.Getenv("PATH"))
	e.Setenv("SLUICE_HOME", state)
	e.Setenv("HOME", e.WorkDir)
	e.Setenv("GOCOVERDIR", os.Getenv("GOCOVERDIR"))
	if !server {
		return nil
	}
	for _, name := range []string{"PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT", "UV_INDEX_URL", "SSL_CERT_FILE",
		"REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "PYENV_ROOT"} {
		if value, ok := os.LookupEnv(name); ok {
			e.Setenv(name, value)
		}
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	settings := "api: {listen: \"localhost:0\"}\ngateway: {listen: \"localhost:0\"}\n"
	if err := os.WriteFile(filepath.Join(state, "sluice.yml"), []byte(settings), 0o600); err != nil {
		return err
	}
	e.Defer(func() {
		down := exec.Command(filepath.Join(programs, "sluice"), "down")
		down.Env = e.Vars
		if out, err := down.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("sluice down: %v\n%s", err, out))
		}
	})
	return nil
}

// exitWith runs a command and checks its exit code: exit 3 sluice …
func exitWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if exit, ok := err.(*exec.ExitError); ok {
		code = fmt.Sprint(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != args[0] {
		ts.Fatalf("the exit code is %s, want %s", code, args[0])
	}
}

// eventually runs a command until it succeeds.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually COMMAND…")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ts.Exec(args[0], args[1:]...) == nil {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%q did not succeed within a minute", args)
		case <-tick.C:
		}
	}
}

func TestScripts(t *testing.T) { testscript.Run(t, params(t, false)) }

func TestServerScripts(t *testing.T) { testscript.Run(t, params(t, true)) }
