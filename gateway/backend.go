package gateway

import (
	"sync/atomic"
	"time"
)

// How long an instance that failed is left alone: longer each time in a row.
const (
	firstAside = 10 * time.Millisecond
	lastAside  = time.Second
)

// backend is one instance. It is known by its ID, so what it counts survives
// every change of routes.
type backend struct {
	id       string
	inflight atomic.Int64 // requests sent and not finished
	failures atomic.Int32 // in a row
	aside    atomic.Int64 // takes nothing before this moment, in Unix nanoseconds
	orphan   atomic.Bool  // no routes name it any more
	up       atomic.Pointer[upstream]
}

// take reserves a place in b if fewer than slots are taken, and gives how many
// were before.
func (b *backend) take(slots int64) (before int64, ok bool) {
	for {
		n := b.inflight.Load()
		if n >= slots {
			return n, false
		}
		if b.inflight.CompareAndSwap(n, n+1) {
			return n, true
		}
	}
}

// release gives a place back. The last to leave an instance that no routes name
// closes the door: it waits for that when it ends.
func (b *backend) release() {
	if b.inflight.Add(-1) == 0 && b.orphan.Load() {
		b.up.Load().close()
	}
}

// setAside keeps new requests off b for a while: it has just failed.
func (b *backend) setAside(now time.Time) {
	pause := firstAside << min(b.failures.Add(1)-1, 10)
	b.aside.Store(now.Add(min(pause, lastAside)).UnixNano())
}

// succeed takes back what setAside noted.
func (b *backend) succeed() {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
		b.aside.Store(0)
	}
}

// bad reports whether b is set aside at now.
func (b *backend) bad(now int64) bool { return b.aside.Load() > now }

// pick chooses the instance for a request: of two at random the one with fewer
// requests in flight; and when that one is busy already, the one with the
// fewest of all, so that nobody waits behind another while an instance is
// idle. It gives nil when none is free: each runs up to slots requests at once
// and queues as many. now is in Unix nanoseconds.
func pick(ready []*backend, slots, now int64, roll func(n int) int) *backend {
	if len(ready) == 0 {
		return nil
	}
	best := ready[roll(len(ready))]
	if len(ready) > 1 {
		if other := ready[roll(len(ready))]; best.bad(now) || !other.bad(now) && other.inflight.Load() < best.inflight.Load() {
			best = other
		}
	}
	if !best.bad(now) && best.inflight.Load() < slots {
		return best
	}
	best = nil
	var fewest int64
	for _, b := range ready {
		if b.bad(now) {
			continue
		}
		if n := b.inflight.Load(); best == nil || n < fewest {
			best, fewest = b, n
		}
	}
	if best != nil && fewest >= 2*slots {
		return nil
	}
	return best
}
