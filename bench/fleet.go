package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/bench/loss"
	"github.com/sluice-ml/sluice/engine/process/shim"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/reconcile"
)

// fleet is a stack with an endpoint whose script says what it runs.
type fleet struct {
	*stack
	counter *loss.Counter
	uri     string
	key     string
	tls     *tls.Config
	like    arm.OnlineDeployment // blue, as it is
	round   int                  // of updates, so that each differs
}

const fleetEndpoint = "loss"

func startFleet(ctx context.Context, bin string) (*fleet, error) {
	s, err := startStack(ctx, bin)
	if err != nil {
		return nil, err
	}
	f := &fleet{stack: s}
	if f.counter, err = loss.Count(); err == nil {
		err = f.deploy(ctx)
	}
	if err != nil {
		f.stop()
		return nil, err
	}
	return f, nil
}

func (f *fleet) stop() {
	f.stack.stop()
	if f.counter != nil {
		f.counter.Close()
	}
}

// deploy brings up blue with all the traffic, and green with none.
func (f *fleet) deploy(ctx context.Context) error {
	dir := filepath.Join(f.home, fleetEndpoint)
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o700); err != nil {
		return err
	}
	deployment := fmt.Sprintf(`name: blue
endpoint_name: %s
code_configuration: {code: ./src, scoring_script: score.py}
environment:
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
  conda_file: {dependencies: [pip]}
environment_variables: {COUNTER: "%d"}
instance_type: Standard_DS1_v2
instance_count: 1
request_settings: {max_concurrent_requests_per_instance: 1000, request_timeout_ms: 60000}
`, fleetEndpoint, f.counter.Port())
	for name, text := range map[string]string{"blue.yml": deployment, "src/score.py": loss.Script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, "blue.yml")
	for _, args := range [][]string{
		{"online-endpoint", "create", "-n", fleetEndpoint, "--auth-mode", "key"},
		{"online-deployment", "create", "-f", file, "--all-traffic"},
		{"online-deployment", "create", "-f", file, "-n", "green"},
	} {
		if _, err := f.sluice(ctx, args...); err != nil {
			return err
		}
	}
	var err error
	if f.like, err = f.client.Deployment(ctx, fleetEndpoint, "blue"); err != nil {
		return err
	}
	keys, err := f.client.Keys(ctx, fleetEndpoint)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(home.Dir(f.home).CA())
	if err != nil {
		return err
	}
	f.uri, f.key = f.status.GatewayAddress+"/endpoints/"+fleetEndpoint+"/score", keys.PrimaryKey
	f.tls = &tls.Config{RootCAs: x509.NewCertPool()}
	f.tls.RootCAs.AppendCertsFromPEM(pem)
	return nil
}

func (f *fleet) load() *loss.Load {
	f.counter.Reset()
	return loss.Send(loss.Config{URL: f.uri, Key: f.key, TLS: f.tls, Rate: lossRate})
}

// update rolls blue out anew.
func (f *fleet) update(ctx context.Context) error {
	f.round++
	vars := maps.Clone(f.like.Properties.EnvironmentVariables)
	vars["ROUND"] = strconv.Itoa(f.round)
	f.like.Properties.EnvironmentVariables = vars
	return f.put(ctx)
}

// scale gives blue so many instances.
func (f *fleet) scale(ctx context.Context, count int) error {
	capacity := arm.Int(count)
	f.like.SKU = &arm.SKU{Name: "Default", Capacity: &capacity}
	return f.put(ctx)
}

func (f *fleet) put(ctx context.Context) error {
	_, poller, err := f.client.PutDeployment(ctx, fleetEndpoint, "blue", f.like)
	if err != nil {
		return err
	}
	return poller.Wait(ctx, nil)
}

// traffic gives blue so many percent, and green the rest.
func (f *fleet) traffic(ctx context.Context, blue int) error {
	shares := arm.Shares{"blue": blue, "green": 100 - blue}
	_, poller, err := f.client.PatchEndpoint(ctx, fleetEndpoint, arm.EndpointPatch{Properties: &arm.EndpointPatchProperties{Traffic: &shares}})
	if err != nil {
		return err
	}
	return poller.Wait(ctx, nil)
}

// errNoVictim says that there is no process of the role at the moment.
var errNoVictim = errors.New("none runs")

// victims are the processes that can be killed, by the role they have.
var victims = []string{"server", "gateway", "parent", "shim", "scoring server", "worker"}

// kill kills a process of the role, brings up what does not come by itself, and
// returns when all is as before.
func (f *fleet) kill(ctx context.Context, load *loss.Load, what string) error {
	before, err := f.state()
	if err != nil {
		return err
	}
	pid, err := f.pidOf(what, before)
	if err != nil {
		return err
	}
	var with []int
	if what == "shim" { // its instance ends with it
		server, err := f.pidOf("scoring server", before)
		if err != nil {
			return err
		}
		with = append(with, server)
	}
	if err := load.Kill(what, pid, with...); err != nil {
		return err
	}
	if what == "parent" {
		if _, err := f.sluice(ctx, "up", "--detach"); err != nil {
			return err
		}
	}
	return eventually(ctx, "another "+what+" runs", func() bool {
		now, err := f.state()
		if err != nil {
			return false
		}
		next, err := f.pidOf(what, now)
		return err == nil && next != pid && now.PID != 0 && now.GatewayPID != 0
	})
}

// present is which processes there are.
type present struct {
	PID        int `json:"pid"`
	GatewayPID int `json:"gatewayPid"`
	ParentPID  int `json:"parentPid"`
}

func (f *fleet) state() (p present, err error) {
	text, err := os.ReadFile(home.Dir(f.home).State())
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p)
}

// pidOf gives the process that has a role now. Of instances it is one of blue's.
func (f *fleet) pidOf(what string, now present) (int, error) {
	switch what {
	case "server":
		return now.PID, nil
	case "gateway":
		return now.GatewayPID, nil
	case "parent":
		return now.ParentPID, nil
	}
	dirs, err := filepath.Glob(filepath.Join(home.Dir(f.home).Instances(), "*"))
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		state, err := shim.ReadState(dir)
		if err != nil || state == nil || !state.Ended.IsZero() || !ofBlue(dir) {
			continue
		}
		// A shim that was killed has written no end.
		if holder, err := shim.Holder(dir); err != nil || holder == 0 {
			continue
		}
		switch workers := children(state.Command.PID); {
		case what == "shim":
			return state.Shim.PID, nil
		case what == "scoring server":
			return state.Command.PID, nil
		case len(workers) > 0:
			return workers[0], nil
		}
	}
	return 0, fmt.Errorf("blue has no %s: %w", what, errNoVictim)
}

// ofBlue reports whether the instance with this directory is one of blue's.
func ofBlue(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "copy.json"))
	var of struct {
		Labels  map[string]string `json:"labels"`
		Drained time.Time         `json:"drained"`
	}
	return err == nil && json.Unmarshal(text, &of) == nil && of.Labels[reconcile.LabelDeployment] == "blue" && of.Drained.IsZero()
}

// served waits until a request is answered.
func (f *fleet) served(ctx context.Context) error {
	n := 0
	return eventually(ctx, "blue serves", func() bool {
		n++
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.uri, strings.NewReader(fmt.Sprintf("served-%d-%d", time.Now().UnixNano(), n)))
		if err != nil {
			return false
		}
		req.Header.Set("Authorization", "Bearer "+f.key)
		resp, err := f.client.HTTP().Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

func eventually(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		}
	}
	return nil
}
