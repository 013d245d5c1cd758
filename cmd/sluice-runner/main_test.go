//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

// wait bounds every wait of these tests.
const wait = 60 * time.Second

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sluice-runner-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "sluice-runner")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=v1.2.3", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// The runner goes next to every model and is copied to every node, so it must
// stay small and start at once.
func TestSize(t *testing.T) {
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if const15MB := int64(15 << 20); info.Size() > const15MB {
		t.Errorf("the program has %d bytes, more than 15 MiB", info.Size())
	}
}

func TestForbiddenImports(t *testing.T) {
	forbidden := map[string]string{
		"modernc.org/":                              "a database: the runner keeps no state",
		"github.com/jackc/":                         "a database driver: the runner talks to no store",
		"github.com/pressly/":                       "migrations belong to the store",
		"github.com/Azure/":                         "a cloud's SDK is for tests only",
		"github.com/spf13/":                         "four commands need no command framework",
		"github.com/goccy/":                         "the runner reads no YAML",
		"github.com/jmespath":                       "queries belong to the CLI",
		"k8s.io/":                                   "a cluster's client belongs to the engine",
		"github.com/docker/":                        "a daemon's client belongs to the engine",
		"github.com/moby/":                          "likewise",
		"gocloud.dev/":                              "the runner holds no bucket client",
		"google.golang.org/":                        "nothing speaks gRPC",
		"github.com/prometheus/":                    "counters are shown by the gateway",
		"github.com/sluice-ml/sluice/store":         "the runner asks nobody",
		"github.com/sluice-ml/sluice/api":           "likewise",
		"github.com/sluice-ml/sluice/reconcile":     "likewise",
		"github.com/sluice-ml/sluice/gateway":       "it stands behind the gateway",
		"github.com/sluice-ml/sluice/engine/docker": "the runner is what engines start",
		"text/template":                             "it keeps the linker from dropping unused methods",
		"html/template":                             "likewise",
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range strings.Fields(string(out)) {
		for prefix, reason := range forbidden {
			if strings.HasPrefix(dep, prefix) {
				t.Errorf("the runner depends on %s: %s", dep, reason)
			}
		}
	}
}

func TestVersionAndUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"version", 0, "sluice-runner v1.2.3"},
		{"", 2, "usage: sluice-runner"},
		{"help", 0, "usage: sluice-runner"},
		{"unknown", 2, `unknown command "unknown"`},
		{"scoring --help", 0, "--entry_script"},
		{"scoring --bad", 1, "unrecognized arguments: --bad"},
		{"scoring", 1, "Either provide an entry_script"},
		{"scoring --entry_script x.py --access_control_allow_origins *", 3, "CORS"},
	} {
		out, err := exec.Command(binary, strings.Fields(c.args)...).CombinedOutput()
		if code := exitCode(err); code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%q: exit %d, want %d\n%s", c.args, code, c.code, out)
		}
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// program is a started runner.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string
	socket string
	lines  chan string // closed at the end of the output
	client *http.Client
}

func launch(t *testing.T, script string, env ...string) *program {
	t.Helper()
	p := &program{t: t, dir: t.TempDir(), lines: make(chan string, 10000)}
	p.socket = filepath.Join(p.dir, "s")
	if err := os.WriteFile(filepath.Join(p.dir, "score.py"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(binary, "scoring", "--entry_script", "score.py", "--socket", p.socket)
	p.cmd.Dir = p.dir
	p.cmd.Env = append(os.Environ(), append(env, "SLUICE_TERMINATION_FILE="+filepath.Join(p.dir, "cause"))...)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // for a test that has failed
	p.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", p.socket)
	}}}
	return p
}

// line waits for a line of the output and gives its first group.
func (p *program) line(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(wait)
	var seen []string
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the output ended without a line like %s:\n%s", pattern, strings.Join(seen, "\n"))
			}
			seen = append(seen, line)
			if m := re.FindStringSubmatch(line); m != nil {
				return m[len(m)-1]
			}
		case <-late:
			p.t.Fatalf("no line like %s:\n%s", pattern, strings.Join(seen, "\n"))
		}
	}
}

func (p *program) exit() int {
	p.t.Helper()
	late := time.After(wait)
	for open := true; open; {
		select {
		case _, open = <-p.lines:
		case <-late:
			p.t.Fatal("the program did not end")
		}
	}
	return exitCode(p.cmd.Wait())
}

func (p *program) score(body string) (string, error) {
	res, err := p.client.Post("http://sluice/score", "text/plain", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(res.Body)
	return string(text), errors.Join(err, res.Body.Close())
}

func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

const script = `
import os, time
def init():
    pass
def run(data):
    if data == "pid":
        return os.getpid()
    if data == "hold":
        open("held", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.002)
    return data
`

func TestServesAndDrains(t *testing.T) {
	p := launch(t, script)
	p.line(`^Server Settings$`)
	p.line(`^Worker Count: 1$`)
	p.line(`Worker with pid (\d+) ready for serving traffic`)
	if info, err := os.Stat(p.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info, err)
	}
	if got, err := p.score("x"); err != nil || got != `"x"` {
		t.Errorf("got %s, %v", got, err)
	}
	held := make(chan string, 1)
	go func() { got, _ := p.score("hold"); held <- got }()
	until(t, "run() holds", func() bool { _, err := os.Stat(filepath.Join(p.dir, "held")); return err == nil })
	p.signal(syscall.SIGTERM)
	p.line("Handling signal")
	if err := os.WriteFile(filepath.Join(p.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := <-held; got != `"hold"` {
		t.Errorf("the request in flight got %q", got)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit %d after a drain", code)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := launch(t, script, "SLUICE_GRACE_MS=600000")
	p.line(`ready for serving traffic`)
	go p.score("hold") //nolint:errcheck // it is cut off
	until(t, "run() holds", func() bool { _, err := os.Stat(filepath.Join(p.dir, "held")); return err == nil })
	p.signal(syscall.SIGTERM)
	p.line("Handling signal")
	p.signal(syscall.SIGTERM)
	p.exit()
}

func TestFailedStartLeavesItsCause(t *testing.T) {
	p := launch(t, "def init():\n    raise ValueError('no <model>')\ndef run(data): pass\n")
	if code := p.exit(); code != 3 {
		t.Errorf("exit %d, want 3", code)
	}
	path := filepath.Join(p.dir, "cause")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cause sluice.Cause
	if err := json.Unmarshal(text, &cause); err != nil {
		t.Fatal(err)
	}
	if cause.Code != sluice.CauseInitRaised || cause.Where() != "score.py:2" || cause.Message != "init() raised ValueError: no <model>" {
		t.Errorf("got %+v", cause)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info, err)
	}
}

func TestWorkersDieWithTheRunner(t *testing.T) {
	p := launch(t, script)
	p.line(`ready for serving traffic`)
	pid, err := p.score("pid")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	go p.score("hold") //nolint:errcheck // it is cut off
	until(t, "run() holds", func() bool { _, err := os.Stat(filepath.Join(p.dir, "held")); return err == nil })
	p.signal(syscall.SIGKILL)
	p.exit()
	until(t, "the worker is gone", func() bool {
		// A worker whose parent is gone may stay as a zombie where nobody reaps.
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n))
		return errors.Is(syscall.Kill(n, 0), syscall.ESRCH) || err == nil && strings.Contains(string(status), ") Z ")
	})
}

func TestAsTheOriginal(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "azmlinfsrv")
	if err := os.Symlink(binary, name); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(name, "--entry_script", "none.py").CombinedOutput(); exitCode(err) != 3 || !strings.Contains(string(out), "none.py") {
		t.Errorf("a missing script: exit %d\n%s", exitCode(err), out)
	}
	strict := exec.Command(name)
	strict.Env = append(os.Environ(), "AZUREML_ENTRY_SCRIPT=x.py")
	if out, err := strict.CombinedOutput(); exitCode(err) != 1 || !strings.Contains(string(out), "--entry_script") {
		t.Errorf("without a flag: exit %d\n%s", exitCode(err), out)
	}
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	out, err := exec.Command(name, "--entry_script", "none.py", "--port", strconv.Itoa(port)).CombinedOutput()
	if exitCode(err) == 0 || !strings.Contains(string(out), fmt.Sprintf("port %d is taken", port)) {
		t.Errorf("a taken port: exit %d\n%s", exitCode(err), out)
	}
}

// until polls for something observable.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(wait); !so(); <-poll.C {
		if time.Now().After(end) {
			t.Fatalf("did not come to be: %s", what)
		}
	}
}
