package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/enginetest"
	"github.com/sluice-ml/sluice/reconcile"
	"github.com/sluice-ml/sluice/store"
)

// plant is all that runs behind the API: the real reconciler over an engine in
// memory, whose copies are ready at once, or fail when their script says so.
type plant struct {
	*world
	engine *enginetest.Engine

	mu     sync.Mutex
	routes map[string]sluice.Routes // by endpoint, guarded by mu
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	dir, err := os.MkdirTemp("", "plant") // short: a socket lives in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ready := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })}
	go ready.Serve(l)
	t.Cleanup(func() { ready.Close() })
	p := &plant{world: newWorld(t), engine: enginetest.New(), routes: map[string]sluice.Routes{}}
	p.engine.AddressOf = func(string) string { return "unix://" + socket }
	p.engine.Program = func(one *enginetest.Process) engine.Exit {
		if one.Env["FAIL"] != "" {
			return engine.Exit{Code: 3, Message: `{"code":"InitRaised","message":"init() raised ValueError"}`}
		}
		p.engine.Running(one.Instance)
		select {
		case <-one.Term:
		case <-one.Kill:
		}
		return engine.Exit{}
	}
	t.Cleanup(p.engine.Close)
	p.assets()
	return p
}

func (p *plant) PublishAll(all []sluice.Routes) {
	for _, r := range all {
		p.Publish(r)
	}
}

func (p *plant) Publish(r sluice.Routes) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes[r.Endpoint] = r
}

func (p *plant) Applied(string, string, int64) bool { return true }

func (p *plant) Prepare(context.Context, reconcile.Needs, func(step, detail string)) (reconcile.Python, error) {
	return reconcile.Python{Dir: "/env", Bin: "/env/bin"}, nil
}

// run starts a reconciler and gives what stops it.
func (p *plant) run(epoch int64) (stop func()) {
	loop := reconcile.New(reconcile.Config{Store: p.store, Engine: p.engine, Environments: p, Publisher: p, Runner: "/runner",
		InstanceTypes: sluice.InstanceTypes(), Epoch: epoch, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("the reconciler ended with %v", err)
		}
	}
}

// ask does one thing at random that a client may ask for, and gives its answer.
func (p *plant) ask(r *rand.Rand) (what string, got answer) {
	endpoint := []string{"iris", "wine"}[r.IntN(2)]
	at := ws + "/onlineEndpoints/" + endpoint
	name := []string{"blue", "green"}[r.IntN(2)]
	under := at + "/deployments/" + name
	switch n := r.IntN(20); {
	case n < 3:
		return "create endpoint", p.do("PUT", at+version, "{}")
	case n < 8:
		d := deployment(1 + r.IntN(4))
		d.Properties.EnvironmentVariables = map[string]string{"N": fmt.Sprint(r.IntN(5))}
		if r.IntN(4) == 0 {
			d.Properties.EnvironmentVariables["FAIL"] = "1"
		}
		return "put deployment", p.do("PUT", under+version, body(d))
	case n < 10:
		return "scale", p.do("PATCH", under+version, fmt.Sprintf(`{"sku":{"capacity":%d}}`, 1+r.IntN(4)))
	case n < 13:
		split := []string{`{"blue":100}`, `{"green":100}`, `{"blue":30,"green":70}`}[r.IntN(3)]
		return "traffic", p.do("PATCH", at+version, `{"properties":{"traffic":`+split+`}}`)
	case n < 14:
		return "no traffic", p.do("PATCH", at+version, `{"properties":{"traffic":{}}}`)
	case n < 16:
		return "rotate a key", p.do("POST", at+"/regenerateKeys"+version, `{"keyType":"Primary"}`)
	case n < 19:
		return "delete deployment", p.do("DELETE", under+version, "")
	}
	return "delete endpoint", p.do("DELETE", at+version, "")
}

// follow waits for the operation that an answer names, if it names one.
func (p *plant) follow(a answer) {
	if at := a.header.Get("Azure-AsyncOperation"); a.status < 300 && at != "" {
		p.do("GET", strings.TrimPrefix(at, "https://localhost:7443"), "", "Prefer", "wait=5")
	}
}

// mayAnswer are the answers that each question may get.
var mayAnswer = map[string][]int{
	"create endpoint":   {200, 201, 409},
	"put deployment":    {200, 201, 404, 409},
	"scale":             {200, 202, 404, 409},
	"traffic":           {200, 400, 404, 409},
	"no traffic":        {200, 404, 409},
	"rotate a key":      {200, 404, 409},
	"delete deployment": {202, 204, 400, 409},
	"delete endpoint":   {200, 202, 204},
}

// Whatever is asked for, in any order and at once, and however often the
// reconciler is replaced meanwhile: each answer is one that the question may
// get, and all comes to rest in a state that makes sense.
func TestAnythingInAnyOrder(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			p := newPlant(t)
			stop := p.run(1)
			defer func() { stop() }()
			var mu sync.Mutex
			counts := map[string]int{}
			for round := range 2 {
				together(4, func(client int) {
					r := rand.New(rand.NewPCG(seed, uint64(10*round+client)))
					for range 25 {
						what, got := p.ask(r)
						if !slices.Contains(mayAnswer[what], got.status) {
							t.Errorf("%s: %d %s", what, got.status, got.body)
						}
						if r.IntN(2) == 0 {
							p.follow(got)
						}
						mu.Lock()
						counts[fmt.Sprint(what, " ", got.status)]++
						mu.Unlock()
					}
				})
				stop()
				stop = p.run(int64(round + 2))
			}
			p.rest()
			t.Log(counts)
		})
	}
}

// rest waits until nothing moves, and looks at what has come about.
func (p *plant) rest() {
	p.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		wrong := p.wrong()
		if wrong == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			p.t.Fatal("it does not come to rest: ", wrong)
		}
	}
}

// wrong says what does not make sense, "" for nothing.
func (p *plant) wrong() string {
	p.t.Helper()
	ctx := p.t.Context()
	read := func(err error) {
		if err != nil {
			p.t.Fatal(err)
		}
	}
	endpoints, err := store.ReadAll[*sluice.Endpoint](ctx, p.store, sluice.Query{Kind: sluice.KindEndpoint})
	read(err)
	deployments, err := store.ReadAll[*sluice.Deployment](ctx, p.store, sluice.Query{Kind: sluice.KindDeployment})
	read(err)
	operations, err := store.ReadAll[*sluice.Operation](ctx, p.store, sluice.Query{Kind: sluice.KindOperation})
	read(err)
	instances, err := p.engine.Instances(ctx, engine.Selector{})
	read(err)
	for _, op := range operations {
		if !op.Done() {
			return fmt.Sprintf("%s of %s still runs", op.Verb, op.Target)
		}
	}
	live := map[string]int{}
	for _, i := range instances {
		if !i.Phase.Ended() && i.Phase != engine.Draining {
			live[i.Labels[reconcile.LabelUID]]++
		}
	}
	under := map[string][]string{}
	for _, d := range deployments {
		if d.State.Transitional() || d.Operation != "" {
			return fmt.Sprintf("deployment %s/%s is %s", d.Endpoint, d.Name, d.State)
		}
		want := 0
		if d.Serving != "" {
			scale, err := store.Read[*sluice.Scale](ctx, p.store, sluice.Key{Workspace: d.Workspace, Kind: sluice.KindScale, Name: d.Endpoint + "/" + d.Name})
			read(err)
			want = scale.Want
		}
		if live[d.UID] != want {
			return fmt.Sprintf("deployment %s/%s (%s) has %d instances, not %d", d.Endpoint, d.Name, d.State, live[d.UID], want)
		}
		delete(live, d.UID)
		under[strings.ToLower(d.Endpoint)] = append(under[strings.ToLower(d.Endpoint)], d.Name)
	}
	if len(live) > 0 {
		return fmt.Sprintf("instances of no deployment live: %v", live)
	}
	return p.wrongRoutes(endpoints, under)
}

func (p *plant) wrongRoutes(endpoints []*sluice.Endpoint, under map[string][]string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := map[string]bool{}
	for _, e := range endpoints {
		name := strings.ToLower(e.Name)
		known[e.Name] = true
		r := p.routes[e.Name]
		if e.State.Transitional() || r.Gone || r.UID != e.UID || r.Keys != e.KeyDigests {
			return fmt.Sprintf("endpoint %s is %s, its routes are %+v", e.Name, e.State, r)
		}
		if err := sluice.CheckTraffic(e.Traffic, e.MirrorTraffic, under[name]); err != nil {
			return fmt.Sprintf("endpoint %s: %v", e.Name, err)
		}
		shares := map[string]int{}
		for _, d := range r.Deployments {
			if d.Weight > 0 {
				shares[strings.ToLower(d.Name)] = d.Weight
			}
		}
		if a, b := asJSON(shares), asJSON(sluice.NormalTraffic(e.Traffic)); a != b {
			return fmt.Sprintf("endpoint %s is routed %s and wanted %s", e.Name, a, b)
		}
		delete(under, name)
	}
	for name, r := range p.routes {
		if !known[name] && !r.Gone {
			return "endpoint " + name + ", which is no more, is still routed"
		}
	}
	if len(under) > 0 {
		return fmt.Sprintf("deployments of no endpoint: %v", under)
	}
	return ""
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
