package gateway

import (
	"time"

	"github.com/sluice-ml/sluice"
)

// idleAfter is when a deployment without requests is left out of Load.
const idleAfter = 5 * time.Minute

// Load tells the traffic of this moment. Endpoints that nobody has called for
// five minutes are left out.
func (g *Gateway) Load() sluice.Load {
	now := time.Now()
	load := sluice.Load{Gateway: g.config.ID, At: now}
	for _, p := range g.endpoints() {
		e := sluice.EndpointLoad{Workspace: p.routes.Workspace, Endpoint: p.routes.Endpoint}
		for _, t := range p.targets {
			if l, active := t.load(now); active {
				e.Deployments = append(e.Deployments, l)
			}
		}
		if e.Deployments != nil {
			load.Endpoints = append(load.Endpoints, e)
		}
	}
	return load
}

func (t *target) load(now time.Time) (l sluice.DeploymentLoad, active bool) {
	l.Name = t.Name
	admitted := t.tally.admitted.Load()
	waiting := int64(t.tally.line.length.Load())
	for _, b := range t.ready {
		// What an instance got beyond what it runs waits in its own queue.
		waiting += max(0, b.inflight.Load()-t.slots)
		if b.bad(now.UnixNano()) {
			l.Bad = append(l.Bad, b.id)
		}
	}
	l.Waiting = int(waiting)
	l.InFlight = int(max(0, admitted-waiting))
	l.Requests = t.tally.counts.total()
	recent := now.Unix()-t.tally.counts.last.Load() < int64(idleAfter/time.Second)
	return l, recent || admitted > 0 || len(l.Bad) > 0
}
