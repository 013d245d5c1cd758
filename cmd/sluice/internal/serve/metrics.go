package serve

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process"
)

// counters are what the server counts of itself. They are served as plain
// Prometheus text to whoever has the admin credential: model code on this
// machine is a stranger too.
type counters struct {
	handler      http.Handler
	authenticate func(*http.Request) (sluice.Actor, error)
	engine       *process.Engine

	classes [6]atomic.Int64 // answers by the first digit of their status
	micros  atomic.Int64    // time spent answering, held polls included
}

func (c *counters) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/metrics" {
		c.serve(w, r)
		return
	}
	began := time.Now()
	counted := &countedAnswer{ResponseWriter: w, status: http.StatusOK}
	c.handler.ServeHTTP(counted, r)
	c.classes[min(counted.status/100, 5)].Add(1)
	c.micros.Add(time.Since(began).Microseconds())
}

func (c *counters) serve(w http.ResponseWriter, r *http.Request) {
	if _, err := c.authenticate(r); err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "the metrics take the admin credential as bearer token", http.StatusUnauthorized)
		return
	}
	var b strings.Builder
	b.WriteString("# HELP sluice_api_requests_total Requests answered by the API, by class of status.\n# TYPE sluice_api_requests_total counter\n")
	for class := 1; class <= 5; class++ {
		fmt.Fprintf(&b, "sluice_api_requests_total{code=\"%dxx\"} %d\n", class, c.classes[class].Load())
	}
	b.WriteString("# HELP sluice_api_request_seconds_total Time spent answering, held polls included.\n# TYPE sluice_api_request_seconds_total counter\n")
	fmt.Fprintf(&b, "sluice_api_request_seconds_total %g\n", float64(c.micros.Load())/1e6)
	phases := map[engine.Phase]int{}
	instances, err := c.engine.Instances(r.Context(), engine.Selector{})
	if err == nil {
		for _, i := range instances {
			phases[i.Phase]++
		}
		b.WriteString("# HELP sluice_instances Instances by phase; ended ones stay listed for an hour.\n# TYPE sluice_instances gauge\n")
		for _, p := range []engine.Phase{engine.Pending, engine.Starting, engine.Running, engine.Draining, engine.Succeeded, engine.Failed} {
			fmt.Fprintf(&b, "sluice_instances{phase=%q} %d\n", p, phases[p])
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write([]byte(b.String()))
}

// countedAnswer remembers the status of an answer.
type countedAnswer struct {
	http.ResponseWriter
	status int
}

func (a *countedAnswer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the real writer.
func (a *countedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
