package gateway

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// tally is what one deployment counts. It belongs to the deployment of one
// life of the endpoint, and survives every change of routes.
type tally struct {
	hadReady atomic.Bool // an instance of it was ready once
	admitted atomic.Int64
	line     line
	counts   counts
}

// admit lets a request into the deployment unless limit are in it already.
// Who was admitted calls leave once.
func (t *tally) admit(limit int64) bool {
	for {
		n := t.admitted.Load()
		if n >= limit {
			return false
		}
		if t.admitted.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (t *tally) leave() { t.admitted.Add(-1) }

// line is where requests wait for an instance, first come first served. Its
// lock is touched only while somebody waits.
type line struct {
	length atomic.Int32
	mu     sync.Mutex // guards what follows
	queue  []*ticket  // in the order they came; not those that were signalled
	came   int64
}

// ticket is a place in the line.
type ticket struct {
	number int64
	signal chan struct{} // one slot: it is worth trying again
}

// join gives a ticket. A try must follow before the wait: what was freed in
// between signals nobody.
func (l *line) join() *ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.came++
	t := &ticket{number: l.came, signal: make(chan struct{}, 1)}
	l.length.Add(1)
	l.queue = append(l.queue, t)
	return t
}

// leave gives the ticket back. A signal that came too late goes to the next.
func (l *line) leave(t *ticket, served bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.length.Add(-1)
	if i := slices.Index(l.queue, t); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
		return
	}
	if !served {
		l.signalFirst()
	}
}

// rejoin puts a ticket that was signalled, and found nothing, back in its
// place. Like join, it must be followed by a try.
func (l *line) rejoin(t *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-t.signal:
	default:
	}
	i, queued := slices.BinarySearchFunc(l.queue, t.number, func(q *ticket, n int64) int { return cmp.Compare(q.number, n) })
	if !queued {
		l.queue = slices.Insert(l.queue, i, t)
	}
}

// freed signals the first in line, if anybody waits.
func (l *line) freed() {
	if l.length.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signalFirst()
}

func (l *line) signalFirst() {
	if len(l.queue) > 0 {
		l.queue[0].signal <- struct{}{} // one slot, and signalled once while queued
		l.queue = slices.Delete(l.queue, 0, 1)
	}
}

// changed signals everybody: the routes are other ones now.
func (l *line) changed() {
	if l.length.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) > 0 {
		l.signalFirst()
	}
}

// nextTry gives how long to wait at most before an instance that was set aside
// may be tried again; most when there is none such.
func nextTry(ready []*backend, now time.Time, most time.Duration) time.Duration {
	for _, b := range ready {
		if left := time.Duration(b.aside.Load() - now.UnixNano()); left > 0 {
			most = min(most, left)
		}
	}
	return most
}
