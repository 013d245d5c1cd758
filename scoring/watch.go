package scoring

import (
	"fmt"
	"time"

	"github.com/sluice-ml/sluice/scoring/frame"
)

const (
	// abortGrace is how long a run() that is over its limit has to react to the
	// signal before its process is killed.
	abortGrace = 500 * time.Millisecond
	// peek is how often the outbox of a worker that holds several requests is
	// looked at: a finished answer must not wait for a slow neighbour.
	peek = 2 * time.Millisecond
	// recheck is how often a run() whose start is not known yet is looked at.
	recheck = 5 * time.Millisecond
)

// lookLater sets the watch for when the worker has to be looked at. Callers
// hold the pool's mutex; it is called for every request and does next to
// nothing when the watch is set already.
func (w *worker) lookLater() {
	var after time.Duration
	switch limit := w.pool.settings.Timeout; {
	case w.count > 1:
		after = peek
	case limit > 0:
		after = min(limit, maxSleep)
	default:
		return
	}
	at := time.Now().Add(after)
	if !w.watchAt.IsZero() && !w.watchAt.After(at) {
		return
	}
	w.watchAt = at
	if w.watch == nil {
		w.watch = time.AfterFunc(after, w.look)
	} else {
		w.watch.Reset(after)
	}
}

// maxSleep keeps one setting of the watch from outliving what it was set for
// by much.
const maxSleep = time.Minute

// look delivers answers that wait in the outbox and enforces the limit of one
// run(). The start of the run is read from the shared page, so the limit holds
// to the millisecond although no timer was set for this request.
func (w *worker) look() {
	p := w.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	w.watchAt = time.Time{}
	if w.count == 0 || w.phase != PhaseReady {
		return
	}
	if w.count > 1 {
		for _, f := range w.page.answers() {
			w.respond(f, nil)
		}
	}
	next := w.lookAtRun()
	if w.count > 1 {
		next = min(next, peek)
	}
	if w.count == 0 || next == 0 {
		return
	}
	w.watchAt = time.Now().Add(next)
	w.watch.Reset(next)
}

// lookAtRun times out the running request if it is due, and gives how long
// until it has to be looked at again.
func (w *worker) lookAtRun() time.Duration {
	limit := w.pool.settings.Timeout
	if limit == 0 {
		return maxSleep
	}
	id, start := w.page.running()
	slot := w.slotOfID(id)
	if slot < 0 || w.pending[slot].stream != nil { // the limit is for run() alone
		return min(limit, recheck)
	}
	left := limit - time.Duration(monotonicNS()-start)
	if left > 0 {
		return min(left, maxSleep)
	}
	if w.stopped != id {
		w.interrupt(slot, limit)
	}
	return recheck
}

func (w *worker) slotOfID(id uint64) int {
	for slot, c := range w.pending {
		if c != nil && c.id == id {
			return slot
		}
	}
	return -1
}

// interrupt answers a request that is over its limit, and then makes the worker
// stop: a signal that raises TimeoutError in the script, and if that does not
// help, the end of the process. The slot stays taken until one or the other.
func (w *worker) interrupt(slot int, limit time.Duration) {
	c := w.pending[slot]
	c.answer(result{outcome: frame.TimedOut, pid: w.pid})
	w.stopped = c.id
	w.pool.log.Record('E', w.pid, "azmlinfsrv", fmt.Sprintf(
		"Encountered Exception: run() did not finish within SCORING_TIMEOUT_MS, %d ms", limit.Milliseconds()))
	// Native code that cannot be interrupted still says where it stands.
	w.stack = nil
	go w.askLate(c.id)
	w.page.interrupt(c.id)
	w.process.interrupt()
	time.AfterFunc(abortGrace, func() {
		w.pool.mu.Lock()
		defer w.pool.mu.Unlock()
		if w.pending[slot] == c && w.phase != phaseEnded {
			w.process.kill()
		}
	})
}

// leave makes sure that a worker whose script has ended the interpreter goes.
func (w *worker) leave() {
	w.leaving = true
	time.AfterFunc(abortGrace, func() {
		w.pool.mu.Lock()
		defer w.pool.mu.Unlock()
		if w.phase != phaseEnded {
			w.process.kill()
		}
	})
}
