package gateway

import (
	"time"

	"github.com/sluice-ml/sluice"
)

// plan is an endpoint's routes made ready for use. It is immutable; what it
// points at for counting outlives it.
type plan struct {
	routes  sluice.Routes
	targets []*target
	total   int // sum of the weights
}

// target is one deployment of a plan.
type target struct {
	sluice.Target
	plan  *plan
	tally *tally
	ready []*backend // those that take new requests
	slots int64      // requests that one instance runs at once
	count int        // of instances that the limit is made of
	limit int64      // requests in the deployment, waiting ones included
}

// compile makes a plan of routes. tallyOf and backendOf give what counts for a
// deployment and an instance; backendOf gives nil for one that cannot be
// reached by any means we know.
func compile(r sluice.Routes, tallyOf func(name string) *tally, backendOf func(sluice.Backend) *backend) *plan {
	p := &plan{routes: r}
	for _, d := range r.Deployments {
		if d.Timeout <= 0 || d.Timeout > sluice.MaxRequestTimeout {
			d.Timeout = min(max(d.Timeout, 5*time.Second), sluice.MaxRequestTimeout)
		}
		t := &target{Target: d, plan: p, tally: tallyOf(d.Name), slots: int64(max(1, d.MaxConcurrent))}
		for _, b := range d.Backends {
			if b.Draining {
				continue
			}
			if known := backendOf(b); known != nil {
				t.ready = append(t.ready, known)
			}
		}
		// While an instance is being replaced, what it would have carried may
		// wait: the limit is made of the instances there should be.
		t.count = max(1, d.Instances, len(t.ready))
		t.limit = 2 * t.slots * int64(t.count)
		if len(t.ready) > 0 {
			t.tally.hadReady.Store(true)
		}
		p.total += max(0, d.Weight)
		p.targets = append(p.targets, t)
	}
	return p
}
