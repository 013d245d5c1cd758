package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

// gone is an instance whose socket nobody listens on.
func gone(t *testing.T, id string) *instance {
	return &instance{id: id, socket: filepath.Join(shortDir(t), "s")}
}

func TestRefusedConnectionGoesElsewhere(t *testing.T) {
	alive := start(t, "alive", echo)
	r := newRig(t, Config{}, iris(1, gone(t, "dead"), alive))
	long := strings.Repeat("x", 200_000) // not kept, but not begun either
	for n := range 20 {
		body := []io.Reader{strings.NewReader("small"), strings.NewReader(long), io.MultiReader(strings.NewReader("unknown"))}[n%3]
		if a := r.do(r.client, r.request("POST", "/endpoints/iris/score", body)); a.status != 200 {
			t.Fatalf("request %d: %d %s", n, a.status, a.body)
		}
	}
	if got := alive.calls.Load(); got != 20 {
		t.Errorf("%d requests were run, want 20", got)
	}
	eventually(t, "the dead instance is tried, set aside and reported", func() bool {
		r.post("x")
		load := r.Load().Endpoints[0].Deployments[0]
		return len(load.Bad) == 1 && load.Bad[0] == "dead"
	})
}

func TestUnstartedAnswerGoesElsewhere(t *testing.T) {
	unwilling := start(t, "unwilling", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Sluice-Not-Started", "true")
		w.WriteHeader(503)
	})
	willing := start(t, "willing", echo)
	r := newRig(t, Config{}, iris(1, unwilling, willing))
	for n := 0; unwilling.calls.Load() == 0 || n < 10; n++ {
		body := []io.Reader{nil, strings.NewReader("small"), io.MultiReader(strings.NewReader("of unknown length"))}[n%3]
		a := r.do(r.client, r.request("POST", "/endpoints/iris/score", body))
		if a.status != 200 || body != nil && a.body == "" {
			t.Fatalf("request %d: %d %q", n, a.status, a.body)
		}
		if a.header.Get("X-Sluice-Not-Started") != "" {
			t.Error("the mark reached the caller")
		}
	}
	// A body that was not kept cannot be sent again: the caller is told.
	only := newRig(t, Config{}, iris(1, unwilling))
	a := only.do(only.client, only.request("POST", "/endpoints/iris/score", bytes.NewReader(make([]byte, 100_000))))
	if a.status != 424 || a.header.Get("Ms-Azureml-Model-Error-Reason") != "not_started" || a.header.Get("X-Sluice-Hint") == "" {
		t.Errorf("got %d %v %s", a.status, a.header, a.body)
	}
}

// A request that an instance may have begun is never sent again.
func TestBegunRequestIsNotRepeated(t *testing.T) {
	crash := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}
	one, two := start(t, "one", crash), start(t, "two", crash)
	r := newRig(t, Config{}, iris(1, one, two))
	const n = 10
	for i := range n {
		a := r.post(fmt.Sprint(i))
		if a.status != 424 || a.header.Get("Ms-Azureml-Model-Error-Reason") != "instance_lost" ||
			!strings.Contains(a.message(), "get-logs -e iris -n blue") {
			t.Errorf("got %d %s", a.status, a.body)
		}
		eventually(t, "an instance may be tried again", func() bool { return r.take(r.endpoints()[0].targets[0]) != nil })
		for _, b := range r.endpoints()[0].targets[0].ready {
			b.inflight.Store(0)
		}
	}
	if got := one.calls.Load() + two.calls.Load(); got != n {
		t.Errorf("%d requests were run %d times", n, got)
	}
}

// With its only instance gone, a deployment's requests wait for the next one.
func TestWaitsForReplacement(t *testing.T) {
	first := start(t, "first", echo)
	r := newRig(t, Config{}, iris(1, first))
	if a := r.post("x"); a.status != 200 {
		t.Fatalf("got %d", a.status)
	}
	first.kill()
	var wg sync.WaitGroup
	for range 8 { // as many as are admitted
		wg.Go(func() {
			if a := r.post("waited"); a.status != 200 || a.body != "waited" {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
	tally := r.endpoints()[0].targets[0].tally
	eventually(t, "all wait", func() bool { return tally.line.length.Load() == 8 })
	if load := r.Load().Endpoints[0].Deployments[0]; load.Waiting != 8 || load.InFlight != 0 {
		t.Errorf("load %+v, want 8 waiting", load)
	}
	r.Apply(iris(2)) // the server has noticed
	if a := r.post("x"); a.status != 429 {
		t.Errorf("beyond the limit: %d", a.status)
	}
	r.Apply(iris(3, start(t, "second", echo)))
	wg.Wait()
}

func TestWaitEnds(t *testing.T) {
	first := start(t, "first", echo)
	short := func(version int64, instances ...*instance) sluice.Routes {
		routes := iris(version, instances...)
		routes.Deployments[0].Timeout = 50 * time.Millisecond
		routes.Deployments[0].Note = "the last instance ran out of memory"
		return routes
	}
	r := newRig(t, Config{}, short(1, first))
	r.Apply(short(2))
	if a := r.post("x"); a.status != 424 || !strings.Contains(a.message(), "ran out of memory") {
		t.Errorf("at the deadline: %d %s", a.status, a.body)
	}
	statuses := make(chan int)
	change := func(what string, do func(), want int) {
		go func() { statuses <- r.post("x").status }()
		eventually(t, "it waits", func() bool {
			p := r.endpoints()
			return len(p) == 1 && p[0].targets[0].tally.line.length.Load() == 1
		})
		do()
		if got := <-statuses; got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	r.Apply(iris(3))
	change("the deployment goes", func() {
		routes := iris(4)
		routes.Deployments[0].Name = "green"
		r.Apply(routes)
	}, 404)
	r.Apply(iris(5, first))
	r.Apply(iris(6))
	change("the endpoint goes", func() {
		routes := iris(7)
		routes.Gone = true
		r.Apply(routes)
	}, 404)
}

// Who waits for an instance when the deployment, or the whole endpoint, is
// deleted was let in before: the instances that are ending still serve it.
func TestDeletionServesThoseThatWait(t *testing.T) {
	deletions := map[string]func(r *rig){
		"deployment": func(r *rig) {
			routes := iris(2)
			routes.Deployments = nil
			r.Apply(routes)
		},
		"endpoint": func(r *rig) {
			routes := iris(2)
			routes.Gone = true
			r.Apply(routes)
		},
		"endpoint, by a server that has never heard of it": func(r *rig) { r.Reset(nil) },
	}
	for what, remove := range deletions {
		t.Run(what, func(t *testing.T) {
			open := make(chan struct{})
			only := start(t, "only", func(w http.ResponseWriter, r *http.Request) { <-open; echo(w, r) })
			routes := iris(1, only)
			routes.Deployments[0].MaxConcurrent, routes.Deployments[0].Instances = 1, 4
			r := newRig(t, Config{}, routes)
			var group sync.WaitGroup
			for n := range 8 {
				group.Go(func() {
					if a := r.post(fmt.Sprint(n)); a.status != 200 || a.body != fmt.Sprint(n) {
						t.Errorf("request %d: %d %s", n, a.status, a.body)
					}
				})
			}
			tally, b := r.endpoints()[0].targets[0].tally, r.endpoints()[0].targets[0].ready[0]
			eventually(t, "six wait and two are with the instance", func() bool { return tally.line.length.Load() == 6 && only.calls.Load() == 2 })
			remove(r)
			if a := r.post("late"); a.status != 404 {
				t.Errorf("a request after the deletion: %d %s", a.status, a.body)
			}
			close(open)
			group.Wait()
			eventually(t, "all places are given back", func() bool { return b.inflight.Load() == 0 })
			// Nothing is kept open: the instance waits for that when it ends.
			eventually(t, "the connections are closed", func() bool { return only.connections.Load() == 0 })
		})
	}
}

// Routes change all the time while requests run: none fails.
func TestSwapsUnderLoad(t *testing.T) {
	var instances []*instance
	for n := range 4 {
		instances = append(instances, start(t, fmt.Sprint("i", n), echo))
	}
	r := newRig(t, Config{}, iris(1, instances...))
	var stop atomic.Bool
	var clients, swapper sync.WaitGroup
	swapper.Go(func() {
		for version := int64(2); !stop.Load(); version++ {
			routes := iris(version, instances[version%3:version%3+2]...)
			routes.Deployments[0].MaxConcurrent = 10
			switch version % 3 {
			case 0:
				r.Reset([]sluice.Routes{routes})
			case 1:
				routes.Deployments[0].Backends[0].Draining = true
				fallthrough
			default:
				r.Apply(routes)
			}
		}
	})
	for n := range 8 {
		clients.Go(func() {
			client := []*http.Client{r.client, r.http2}[n%2]
			for i := range 100 {
				nonce := fmt.Sprintf("%d-%d", n, i)
				a, err := ask(client, r.request("POST", "/endpoints/iris/score", strings.NewReader(nonce)))
				if err != nil || a.status != 200 || a.body != nonce {
					t.Errorf("%s: %d %s %v", nonce, a.status, a.body, err)
					return
				}
			}
		})
	}
	clients.Wait()
	stop.Store(true)
	swapper.Wait()
	var ran int64
	for _, i := range instances {
		ran += i.calls.Load()
	}
	if ran != 800 {
		t.Errorf("800 requests were run %d times", ran)
	}
	if got := r.endpoints()[0].targets[0].tally.counts.total(); got != 800 {
		t.Errorf("%d requests counted, want 800: counters must survive swaps", got)
	}
}
