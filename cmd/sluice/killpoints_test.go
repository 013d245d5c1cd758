//go:build linux

package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/bench/loss"
	"github.com/sluice-ml/sluice/engine/process/shim"
	"github.com/sluice-ml/sluice/reconcile"
)

// gated is a script that says what it runs, and in init(), and for a request that
// says so, waits until its gate is opened.
const gated = loss.Script + `

def gate(name):
    while True:
        try:
            return socket.create_connection(("127.0.0.1", int(os.environ[name]))).close()
        except OSError:
            time.sleep(0.02)


plain_init, plain_run = init, run


def init():
    plain_init()
    if "INIT_GATE" in os.environ:
        gate("INIT_GATE")


def run(data):
    if data == "hold":
        counter.sendall(b"holding\n")
        gate("RUN_GATE")
    return plain_run(data)
`

// gate is a port on which nobody listens until it is opened.
type gate struct {
	t    *testing.T
	port int
	once sync.Once
}

func newGate(t *testing.T) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return &gate{t: t, port: l.Addr().(*net.TCPAddr).Port}
}

func (g *gate) open() {
	g.t.Helper()
	g.once.Do(func() {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(g.port))
		if err != nil {
			g.t.Fatal(err)
		}
		g.t.Cleanup(func() { l.Close() })
	})
}

// alive is one instance that lives.
type alive struct {
	dir      string
	state    *shim.State
	draining bool
}

// live gives the instances of a deployment that live, oldest first.
func (in *installation) live(deployment string) []alive {
	in.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(in.home, "instances", "*"))
	if err != nil {
		in.t.Fatal(err)
	}
	var all []alive
	for _, dir := range dirs {
		state, err := shim.ReadState(dir)
		if err != nil || state == nil || !state.Ended.IsZero() {
			continue
		}
		if holder, err := shim.Holder(dir); err != nil || holder == 0 {
			continue // it was killed, and has written no end
		}
		text, err := os.ReadFile(filepath.Join(dir, "copy.json"))
		var of struct {
			Labels  map[string]string `json:"labels"`
			Drained time.Time         `json:"drained"`
		}
		if err != nil || json.Unmarshal(text, &of) != nil || of.Labels[reconcile.LabelDeployment] != deployment {
			continue
		}
		all = append(all, alive{dir, state, !of.Drained.IsZero()})
	}
	slices.SortFunc(all, func(a, b alive) int { return a.state.Started.Compare(b.state.Started) })
	return all
}

// serving waits until a deployment has so many instances that live and do not
// drain, and gives them, oldest first.
func (in *installation) serving(deployment string, n int) (all []alive) {
	in.t.Helper()
	in.until(fmt.Sprintf("%d instances of %s run", n, deployment), func() bool {
		all = slices.DeleteFunc(in.live(deployment), func(a alive) bool { return a.draining })
		return len(all) == n
	})
	return all
}

// workers gives the workers of the instance.
func (r alive) workers() []int {
	var pids []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.state.Command.PID))
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// roles are what can be killed, and how each is found: those of Sluice, and those
// of an instance.
var roles = []string{"server", "gateway", "parent", "shim", "scoring server", "worker"}

// strike kills a process of the role, of the instance if it is one of those, and
// does by hand only what has to be done so.
func (in *installation) strike(load *loss.Load, role string, r alive) {
	in.t.Helper()
	state := in.state()
	var err error
	switch role {
	case "server":
		err = load.Kill(role, state.PID)
		in.until("another server runs", func() bool { return in.state().PID != state.PID })
	case "gateway":
		err = load.Kill(role, state.GatewayPID)
		in.until("another gateway runs", func() bool { return in.state().GatewayPID != state.GatewayPID })
	case "parent":
		err = load.Kill(role, state.ParentPID)
		in.sluice("up", "--detach")
	case "shim":
		err = load.Kill(role, r.state.Shim.PID, r.state.Command.PID)
	case "scoring server":
		err = load.Kill(role, r.state.Command.PID)
	case "worker":
		in.until("the instance has a worker", func() bool { return len(r.workers()) > 0 })
		err = load.Kill(role, r.workers()[0])
	}
	if err != nil {
		in.t.Fatal(err)
	}
}

// Each process is killed at each point of its life, while requests come in from
// 32 clients for the one instance there is: only what was inside the killed
// process fails, nothing runs twice, and all else comes back by itself.
func TestKillPoints(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	counter, err := loss.Count()
	if err != nil {
		t.Fatal(err)
	}
	defer counter.Close()
	variables := fmt.Sprintf("environment_variables: {COUNTER: \"%d\"}\n", counter.Port())
	uri, key := in.echoWith(variables, gated)
	roots := in.client.Transport.(*http.Transport).TLSClientConfig.RootCAs

	under := func(t *testing.T, do func(load *loss.Load)) {
		t.Helper()
		in.t = t
		counter.Reset()
		load := loss.Send(loss.Config{URL: uri, Key: key, TLS: &tls.Config{RootCAs: roots}, Rate: 100})
		do(load)
		in.until("it serves", func() bool {
			_, err := in.post(uri, key, fmt.Sprint("served-", time.Now().UnixNano()))
			return err == nil
		})
		if err := load.Stop(counter).Err(); err != nil {
			t.Error(err)
		}
	}
	deployment := func(query string) string {
		return strings.TrimSpace(in.sluice("online-deployment", "show", "-e", "echo", "-n", "blue", "--query", query, "-o", "tsv"))
	}
	update := func(more ...string) {
		in.sluice(append([]string{"online-deployment", "update", "-e", "echo", "-n", "blue", "--no-wait", "-o", "none"}, more...)...)
	}

	all := t // gates stay open: whatever is started later passes them as well
	for _, role := range roles {
		t.Run(role+" while it serves", func(t *testing.T) {
			under(t, func(load *loss.Load) { in.strike(load, role, in.serving("blue", 1)[0]) })
		})
		t.Run(role+" while an update starts", func(t *testing.T) {
			under(t, func(load *loss.Load) {
				gate := newGate(all)
				update("--set", fmt.Sprintf("environment_variables.INIT_GATE=%d", gate.port))
				in.strike(load, role, in.serving("blue", 2)[1])
				gate.open()
				in.until("the update is done", func() bool { return deployment("provisioning_state") != "Updating" })
				if state := deployment("provisioning_state"); state != "Succeeded" {
					t.Errorf("the update ended %s: %s", state, deployment("cause.message"))
				}
			})
		})
	}
	t.Run("server while an instance drains", func(t *testing.T) {
		under(t, func(load *loss.Load) {
			in.serving("blue", 1)
			in.until("nothing drains", func() bool { return len(in.live("blue")) == 1 })
			gate := newGate(all)
			update("--set", fmt.Sprintf("environment_variables.RUN_GATE=%d", gate.port), "--remove", "environment_variables.INIT_GATE")
			in.until("the update is done", func() bool { return deployment("provisioning_state") == "Succeeded" })
			held := make(chan error, 1)
			go func() { _, err := in.post(uri, key, "hold"); held <- err }()
			in.until("the request is held", func() bool { return counter.Ran("holding") == 1 })
			update("--set", "environment_variables.AGAIN=1")
			in.until("the old instance drains", func() bool { now := in.live("blue"); return len(now) == 2 && now[0].draining })
			in.strike(load, "server", alive{})
			gate.open()
			if err := <-held; err != nil {
				t.Errorf("the request that was under way: %v", err)
			}
		})
	})
}
