//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/engine/process/shim"
)

// installation is a whole Sluice in a folder of its own.
type installation struct {
	t        *testing.T
	programs string
	home     string
	client   *http.Client
	as       func(*exec.Cmd)       // as whom its programs are started; nil as we are
	launch   func(*exec.Cmd) error // starts them; nil for the usual way
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	return newInstallationAs(t, 0, nil)
}

// newInstallationAs belongs to a user, who starts its programs.
func newInstallationAs(t *testing.T, user int, as func(*exec.Cmd)) *installation {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice") // short: sockets live below it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	in := installAt(t, dir, filepath.Join(dir, "h"))
	in.as = as
	for _, path := range []string{dir, in.home, filepath.Join(in.home, "sluice.yml")} {
		if err := os.Lchown(path, user, user); user != 0 && err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// installAt puts an installation into a folder, and its state, which is not
// there yet, elsewhere.
func installAt(t *testing.T, dir, home string) *installation {
	t.Helper()
	all, err := built()
	if err != nil {
		t.Fatal(err)
	}
	in := &installation{t: t, programs: filepath.Join(dir, "bin"), home: home}
	// Programs of its own tell its processes from those of other tests.
	if err := os.CopyFS(in.programs, os.DirFS(all)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in.home, 0o700); err != nil {
		t.Fatal(err)
	}
	in.write(filepath.Join(in.home, "sluice.yml"), "api: {listen: 'localhost:0'}\ngateway: {listen: 'localhost:0'}\n")
	t.Cleanup(func() {
		if _, trouble, err := in.try("down"); err != nil {
			t.Errorf("sluice down: %v\n%s", err, trouble)
		}
		if t.Failed() {
			in.showLogs()
		}
	})
	return in
}

func (in *installation) write(path, text string) {
	in.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		in.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		in.t.Fatal(err)
	}
}

func (in *installation) try(args ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(filepath.Join(in.programs, "sluice"), args...)
	cmd.Env = append(os.Environ(), "SLUICE_HOME="+in.home)
	if in.as != nil {
		in.as(cmd)
	}
	var out, trouble bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &trouble
	launch := (*exec.Cmd).Start
	if in.launch != nil {
		launch = in.launch
	}
	if err = launch(cmd); err == nil {
		err = cmd.Wait()
	}
	return out.String(), trouble.String(), err
}

func (in *installation) sluice(args ...string) string {
	in.t.Helper()
	out, trouble, err := in.try(args...)
	if err != nil {
		in.t.Fatalf("sluice %s: %v\n%s", strings.Join(args, " "), err, trouble)
	}
	return out
}

func (in *installation) showLogs() {
	logs, err := filepath.Glob(filepath.Join(in.home, "logs", "*.log"))
	if err != nil {
		return
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err == nil {
			in.t.Logf("%s:\n%s", filepath.Base(log), text)
		}
	}
}

type state struct {
	PID            int    `json:"pid"`
	GatewayPID     int    `json:"gatewayPid"`
	ParentPID      int    `json:"parentPid"`
	APIAddress     string `json:"apiAddress"`
	GatewayAddress string `json:"gatewayAddress"`
}

func (in *installation) state() state {
	in.t.Helper()
	text, err := os.ReadFile(filepath.Join(in.home, "run", "state.json"))
	if err != nil {
		in.t.Fatal(err)
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		in.t.Fatal(err)
	}
	return s
}

// until asks until the answer is yes.
func (in *installation) until(what string, done func() bool) {
	in.t.Helper()
	deadline := time.After(3 * time.Minute) // a machine may be busy with a fork bomb
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			in.t.Fatalf("waiting until %s", what)
		}
	}
}

// echo brings up an endpoint whose script answers with what it got and a number
// that this run of it has to itself: process IDs are the same in every instance.
func (in *installation) echo() (uri, key string) {
	in.t.Helper()
	return in.echoWith("", "import os\n\nme = int.from_bytes(os.urandom(6), \"big\")\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return [data, me]\n")
}

// echoWith is echo with more in its deployment, and another script.
func (in *installation) echoWith(more, script string) (uri, key string) {
	in.t.Helper()
	dir := filepath.Join(in.home, "echo")
	in.write(filepath.Join(dir, "endpoint.yml"), "name: echo\nauth_mode: key\n")
	in.write(filepath.Join(dir, "blue.yml"), deploymentFile("blue")+more)
	in.write(filepath.Join(dir, "src", "score.py"), script)
	in.sluice("online-endpoint", "create", "-f", filepath.Join(dir, "endpoint.yml"))
	in.sluice("online-deployment", "create", "-f", filepath.Join(dir, "blue.yml"), "--all-traffic")
	uri = strings.TrimSpace(in.sluice("online-endpoint", "show", "-n", "echo", "--query", "scoring_uri", "-o", "tsv"))
	key = strings.TrimSpace(in.sluice("online-endpoint", "get-credentials", "-n", "echo", "--query", "primaryKey", "-o", "tsv"))

	in.trust()
	return uri, key
}

// trust makes a client that trusts the installation's own authority.
func (in *installation) trust() {
	in.t.Helper()
	pem, err := os.ReadFile(filepath.Join(in.home, "ca.pem"))
	if err != nil {
		in.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 32,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}} // HTTP/1.1, kept alive
	in.t.Cleanup(transport.CloseIdleConnections)
	in.client = &http.Client{Transport: transport}
}

// deploymentFile is a deployment of the endpoint echo.
func deploymentFile(name string) string {
	return "name: " + name + `
endpoint_name: echo
code_configuration: {code: ./src, scoring_script: score.py}
environment:
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
  conda_file: {dependencies: [pip]}
instance_type: Standard_DS1_v2
instance_count: 1
request_settings: {max_concurrent_requests_per_instance: 100, request_timeout_ms: 30000}
`
}

// post scores a nonce and gives the number of the worker that ran it.
func (in *installation) post(uri, key, nonce string) (worker int, err error) {
	req, err := http.NewRequest(http.MethodPost, uri, strings.NewReader(nonce))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.GetBody = nil // the client must not try again by itself
	resp, err := in.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", resp.Status, body)
	}
	var answer []any
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, err
	}
	if len(answer) != 2 || answer[0] != nonce {
		return 0, fmt.Errorf("asked with %q, got %s", nonce, body)
	}
	return int(answer[1].(float64)), nil
}

// command gives the process of the one instance there is, with when it started.
func (in *installation) command() shim.Process {
	in.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(in.home, "instances", "*", shim.StateFile))
	if err != nil || len(dirs) != 1 {
		in.t.Fatalf("the instances are %v, %v", dirs, err)
	}
	state, err := shim.ReadState(filepath.Dir(dirs[0]))
	if err != nil || state == nil || !state.Ended.IsZero() {
		in.t.Fatalf("the instance is %+v, %v", state, err)
	}
	if start, err := shim.StartTime(state.Command.PID); err != nil || start != state.Command.Start {
		in.t.Errorf("process %d started at %d (%v), noted is %d", state.Command.PID, start, err, state.Command.Start)
	}
	return state.Command
}

// load scores from 32 clients until it is stopped, and gives what failed.
func (in *installation) load(uri, key string) (stop func() (sent int64, failed []error)) {
	var sent atomic.Int64
	var mu sync.Mutex
	var failed []error
	done := make(chan struct{})
	var group sync.WaitGroup
	for c := range 32 {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				sent.Add(1)
				if _, err := in.post(uri, key, fmt.Sprintf("%d-%d", c, n)); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	return func() (int64, []error) {
		close(done)
		group.Wait()
		return sent.Load(), failed
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("killing process %d: %v", pid, err)
	}
}

func TestKillingAProcessLosesOnlyWhatWasInside(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	uri, key := in.echo()
	worker, err := in.post(uri, key, "first")
	if err != nil {
		t.Fatal(err)
	}
	command := in.command()
	same := func(what string) {
		t.Helper()
		if now, err := in.post(uri, key, "again"); err != nil || now != worker {
			t.Errorf("after %s the worker is %d (%v), was %d: instances must run on", what, now, err, worker)
		}
		if now := in.command(); now != command {
			t.Errorf("after %s the instance is process %+v, was %+v", what, now, command)
		}
	}

	t.Run("server", func(t *testing.T) {
		stop := in.load(uri, key)
		old := in.state().PID
		kill(t, old)
		in.until("another server runs", func() bool { return in.state().PID != old })
		in.sluice("online-endpoint", "show", "-n", "echo")
		sent, failed := stop()
		if len(failed) > 0 {
			t.Errorf("%d of %d requests failed, want none: %v", len(failed), sent, failed[0])
		}
		same("killing the server")
	})
	t.Run("parent", func(t *testing.T) {
		before := in.state()
		stop := in.load(uri, key)
		kill(t, before.ParentPID)
		in.until("the parent's lock is free", func() bool { return syscall.Kill(before.ParentPID, 0) != nil })
		stdout, stderr, err := in.try("status", "--query", "parentPid")
		if err != nil || strings.TrimSpace(stdout) != "0" || !strings.Contains(stderr, "the parent (process ") || !strings.Contains(stderr, "hint: `sluice up --detach`") {
			t.Errorf("without a parent, status says %q and %q: %v", stdout, stderr, err)
		}
		in.sluice("up", "--detach")
		sent, failed := stop()
		if len(failed) > 0 {
			t.Errorf("%d of %d requests failed, want none: %v", len(failed), sent, failed[0])
		}
		after := in.state()
		if after.PID != before.PID || after.GatewayPID != before.GatewayPID || after.ParentPID == before.ParentPID {
			t.Errorf("processes went from %+v to %+v: want another parent and the same children", before, after)
		}
		same("killing the parent")
	})
	t.Run("gateway", func(t *testing.T) {
		old := in.state().GatewayPID
		stop := in.load(uri, key)
		kill(t, old)
		in.until("another gateway runs", func() bool { return in.state().GatewayPID != old })
		if _, err := in.post(uri, key, "after"); err != nil {
			// A kept connection of the dead gateway may be tried once.
			if _, err := in.post(uri, key, "after"); err != nil {
				t.Errorf("the new gateway does not serve: %v", err)
			}
		}
		// Each of the 32 clients had at most one request inside.
		if sent, failed := stop(); len(failed) > 32 {
			t.Errorf("%d of %d requests failed, want at most 32: %v", len(failed), sent, failed[0])
		}
		same("killing the gateway")
	})
	t.Run("adopted children are started again too", func(t *testing.T) {
		old := in.state().PID
		kill(t, old)
		in.until("another server runs", func() bool { return in.state().PID != old })
		in.sluice("online-endpoint", "show", "-n", "echo")
	})
}

func TestDownStopsEverythingAndUpBringsItBack(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	uri, key := in.echo()
	if _, err := in.post(uri, key, "first"); err != nil {
		t.Fatal(err)
	}
	in.secrets(key)
	in.sluice("down")
	if left := in.processes(); len(left) > 0 {
		t.Errorf("processes are left after `sluice down`: %v", left)
	}

	in.sluice("up", "--detach")
	in.client.CloseIdleConnections()
	uri = strings.TrimSpace(in.sluice("online-endpoint", "show", "-n", "echo", "--query", "scoring_uri", "-o", "tsv"))
	in.until("the deployment is back", func() bool {
		_, err := in.post(uri, key, "again")
		return err == nil
	})
}

// secrets checks that the admin credential and an endpoint's key are where
// they belong and nowhere else.
func (in *installation) secrets(key string) {
	in.t.Helper()
	text, err := os.ReadFile(filepath.Join(in.home, "admin.json"))
	if err != nil {
		in.t.Fatal(err)
	}
	var credential struct{ Token string }
	if err := json.Unmarshal(text, &credential); err != nil || credential.Token == "" {
		in.t.Fatalf("admin.json holds no token: %v", err)
	}
	for _, pid := range in.processes() {
		for _, file := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if err == nil && (bytes.Contains(text, []byte(credential.Token)) || bytes.Contains(text, []byte(key))) {
				in.t.Errorf("the %s of process %d holds a secret", file, pid)
			}
		}
	}
	err = filepath.WalkDir(in.home, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasPrefix(path, filepath.Join(in.home, "environments")) {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(in.home, path)
		if name != "admin.json" && bytes.Contains(text, []byte(credential.Token)) {
			in.t.Errorf("%s holds the admin credential", name)
		}
		if bytes.Contains(text, []byte(key)) {
			in.t.Errorf("%s holds an endpoint's key", name)
		}
		switch name {
		case "admin.json", "seal.key", "ca-key.pem", "sluice.db":
			if info.Mode().Perm() != 0o600 {
				in.t.Errorf("%s has mode %v, want 0600", name, info.Mode().Perm())
			}
		}
		return nil
	})
	if err != nil {
		in.t.Error(err)
	}
	info, err := os.Stat(in.home)
	if err != nil || info.Mode().Perm() != 0o700 {
		in.t.Errorf("the state directory has mode %v (%v), want 0700", info.Mode().Perm(), err)
	}
}

// processes lists those that run this installation's programs.
func (in *installation) processes() []int {
	in.t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		in.t.Fatal(err)
	}
	var pids []int
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, in.programs) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			if err != nil {
				in.t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestUpNamesWhoHoldsThePort(t *testing.T) {
	in := newInstallation(t)
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for flag, who := range map[string]string{"--api-listen": "server", "--gateway-listen": "gateway"} {
		_, trouble, err := in.try("up", "--detach", flag, "localhost:"+port)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("up on a taken port: %v, want exit code 1", err)
		}
		for _, want := range []string{"port " + port, who, "process " + strconv.Itoa(os.Getpid()), flag} {
			if !strings.Contains(trouble, want) {
				t.Errorf("the error does not say %q:\n%s", want, trouble)
			}
		}
	}
}

// Two at once come to the same end as one after the other.
func TestTwoUpsAndTwoDowns(t *testing.T) {
	in := newInstallation(t)
	both := func(args ...string) {
		t.Helper()
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				if _, trouble, err := in.try(args...); err != nil {
					t.Errorf("sluice %s: %v\n%s", strings.Join(args, " "), err, trouble)
				}
			})
		}
		group.Wait()
	}
	for range 3 {
		both("up", "--detach")
		if n := len(in.processes()); n != 3 {
			t.Errorf("%d processes run, want parent, server and gateway", n)
		}
		both("down")
		if left := in.processes(); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
	}
}

// A server or a gateway started by hand beside the ones that run would take
// their sockets, and the engine from the server.
func TestSecondServerAndGatewayAreRefused(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	before := in.state()
	for _, what := range []string{"server", "gateway"} {
		_, trouble, err := in.try(what)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(trouble, "another "+what+" runs in "+in.home) {
			t.Errorf("sluice %s beside the one that runs: %v\n%s", what, err, trouble)
		}
	}
	uri, key := in.echo() // what runs still does its work
	if _, err := in.post(uri, key, "n1"); err != nil {
		t.Errorf("invoking: %v", err)
	}
	if after := in.state(); after != before {
		t.Errorf("processes went from %+v to %+v, want the same", before, after)
	}
}

func TestUpWhenAllIsUp(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	before := in.state()
	in.sluice("up", "--detach")
	if after := in.state(); after != before {
		t.Errorf("processes went from %+v to %+v, want the same", before, after)
	}
}

func TestUpSaysWhatOthersCanReach(t *testing.T) {
	in := newInstallation(t)
	_, said, err := in.try("up", "--detach", "--gateway-listen", "0.0.0.0:0")
	if err != nil {
		t.Fatalf("up: %v\n%s", err, said)
	}
	if !strings.Contains(said, "the endpoints can be reached from other machines") {
		t.Errorf("up does not say that the endpoints can be reached from other machines:\n%s", said)
	}
	if strings.Contains(said, "the API can be reached") {
		t.Errorf("up says that the API can be reached from other machines, which listens on loopback:\n%s", said)
	}
}
