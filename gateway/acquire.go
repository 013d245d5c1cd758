package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

// longWait is how long a waiting request sleeps at most before it looks
// again. It is woken when something changes; this is for what nobody reports.
const longWait = time.Second

// acquire reserves a place in an instance of the deployment, and waits for one
// where waiting can help: while all are full, or when there were ready ones
// and a replacement may come. It follows changes of routes, so the target it
// gives may be newer than t. ctx carries the request's deadline.
//
// The caller gives the place back with [Gateway.release].
func (g *Gateway) acquire(ctx context.Context, e *endpoint, t *target) (*backend, *target, *refusal) {
	t, refused := e.newest(t)
	if refused != nil {
		return nil, t, refused
	}
	if b := g.take(t); b != nil {
		return b, t, nil
	}
	if !t.tally.hadReady.Load() {
		return nil, t, refuseUnready(&t.plan.routes, t)
	}
	return g.wait(ctx, e, t)
}

// take reserves a place in an instance that is free now, or gives nil.
func (g *Gateway) take(t *target) *backend {
	now := time.Now().UnixNano()
	for {
		b := pick(t.ready, t.slots, now, rand.IntN)
		if b == nil {
			return nil
		}
		if before, ok := b.take(2 * t.slots); ok {
			if before >= t.slots {
				g.somebodyWaits()
			}
			return b
		}
	}
}

// release gives a place back and lets the next one in line have it.
func (g *Gateway) release(b *backend, t *target) {
	b.release()
	t.tally.line.freed()
}

func (g *Gateway) wait(ctx context.Context, e *endpoint, t *target) (*backend, *target, *refusal) {
	line := &t.tally.line
	ticket := line.join()
	served := false
	defer func() { line.leave(ticket, served) }()
	g.somebodyWaits()

	timer := time.NewTimer(longWait)
	defer timer.Stop()
	for {
		newest, refused := e.newest(t)
		if refused != nil {
			return nil, t, refused
		}
		t = newest
		if b := g.take(t); b != nil {
			served = true
			return b, t, nil
		}
		timer.Reset(nextTry(t.ready, time.Now(), longWait))
		select {
		case <-ticket.signal:
		case <-timer.C:
		case <-ctx.Done():
			return nil, t, g.gaveUp(ctx, t)
		}
		line.rejoin(ticket)
	}
}

// gaveUp says why a request has waited in vain.
func (g *Gateway) gaveUp(ctx context.Context, t *target) *refusal {
	if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return errClientGone
	}
	if t.usable(time.Now().UnixNano()) {
		return refuseLate(&t.plan.routes, t, "no instance was free")
	}
	return refuseUnready(&t.plan.routes, t)
}

// errClientGone ends a request whose caller has left.
var errClientGone = &refusal{status: statusClientGone, code: "ClientClosedRequest", reason: "client_gone"}

// newest gives the deployment as the endpoint's routes of this moment have it.
//
// When they have it no more, the request was let in before: instances that are
// ending still take it, and until they have all gone nobody is turned away.
func (e *endpoint) newest(t *target) (*target, *refusal) {
	p := e.plan.Load()
	if p == t.plan {
		return t, nil
	}
	if p != nil {
		if now := p.named(t.Name); now != nil {
			return now, nil
		}
	}
	if t.usable(time.Now().UnixNano()) {
		return t, nil
	}
	if p == nil {
		return t, refuseUnknown()
	}
	return t, refuseDeployment(&p.routes)
}

// usable reports whether an instance is not set aside.
func (t *target) usable(now int64) bool {
	return slices.ContainsFunc(t.ready, func(b *backend) bool { return !b.bad(now) })
}

// somebodyWaits tells whoever reports load to do it now.
func (g *Gateway) somebodyWaits() {
	select {
	case g.waiting <- struct{}{}:
	default:
	}
}
