package scoring

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-ml/sluice"
)

// Phase is how far a worker, or a pool of them, has come.
type Phase string

// The phases, in order.
const (
	PhaseStarting Phase = "starting" // the interpreter starts
	PhaseImport   Phase = "import"   // the script is being imported
	PhaseInit     Phase = "init"     // init() runs
	PhaseReady    Phase = "ready"
)

var phaseOrder = map[Phase]int{PhaseStarting: 0, PhaseImport: 1, PhaseInit: 2, PhaseReady: 3}

// Pool keeps the workers alive and gives them the requests.
//
// Requests wait in one queue and go, first come first served, to the worker
// that holds the fewest; a worker with short runs is given several at once.
// Until the first workers are ready, and while a lost one is replaced, requests
// wait. They are refused when the queue is full, when workers keep dying, and
// at the end.
//
// Submit and the questions may be asked from any goroutine; Run is called once.
type Pool struct {
	settings Settings
	log      *Log
	shelf    *shelf
	spawn    *spawner

	takes atomic.Pointer[takes] // known once a worker is ready
	known chan struct{}         // closed then

	mu        sync.Mutex
	nextID    uint64
	queue     []*call // waiting, oldest first; may hold abandoned ones
	waiting   int     // of queue, those somebody waits for
	workers   []*worker
	everReady bool
	refusing  bool // workers keep dying
	closed    bool
	since     time.Time // of the present phase
	phase     Phase
	news      uint64        // counts what was told
	moved     chan struct{} // closed when there is news, and another made
	troubles  troubles
	served    bool // a request was answered by run()
	// troubleTimer runs lookAtTrouble.
	troubleTimer *time.Timer
}

// NewPool makes a pool; it does nothing until Run.
func NewPool(s Settings, log *Log) *Pool {
	return &Pool{settings: s, log: log, shelf: newShelf(4 * max(s.MaxBody, 1<<30)), spawn: newSpawner(),
		since: time.Now(), phase: PhaseStarting, moved: make(chan struct{}), known: make(chan struct{})}
}

// Run starts the workers and replaces those that end, until the context is
// done; then it ends them. A script that cannot be loaded ends it at once, with
// a *[sluice.Cause].
func (p *Pool) Run(ctx context.Context) error {
	spawning := p.spawn.start()
	defer p.shelf.close()
	defer spawning.stop() // last: its thread is the workers' parent
	group, ctx := errgroup.WithContext(ctx)
	for range p.settings.Workers {
		group.Go(func() error { return p.keep(ctx) })
	}
	err := group.Wait()
	p.close()
	return err
}

// keep holds one seat: a worker, and another when it ends.
func (p *Pool) keep(ctx context.Context) error {
	struck := 0
	for lost := 1; ; lost++ {
		end := p.runWorker(ctx)
		if ctx.Err() != nil {
			return nil
		}
		alone, started := p.alone()
		cause := end.cause(p.settings)
		if end.ready && !end.told {
			p.lost(end, cause)
		}
		if end.struck() && struck < strikes {
			struck++
			p.log.Printf('E', "Worker with pid %d was killed while it started: it is started again", end.pid)
			continue
		}
		if !end.ready && (alone || !started) {
			return cause
		}
		p.log.Printf('E', "Worker with pid %d ended: %s", end.pid, cause.Error())
		if end.ready {
			struck = 0
		}
		if end.served > steadyAfter {
			lost = 1
		}
		if lost >= refuseAfter && alone {
			p.refuse()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backOff(lost)):
		}
	}
}

// lost tells of a worker that ended while it served.
func (p *Pool) lost(end ending, cause *sluice.Cause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.troubled(failure{why: func() *sluice.Cause { return cause }, request: end.request, counts: end.running})
}

const (
	steadyAfter = 5 * time.Second // a worker that was ready this long starts the count again
	refuseAfter = 4               // losses in a row after which requests are refused
	strikes     = 2               // kills by somebody else, while a worker starts, that are passed over
	longestWait = 10 * time.Second
)

// backOff is how long to wait before the n-th replacement in a row: the first
// comes at once, because most losses are single.
func backOff(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	return min(longestWait, 100*time.Millisecond<<min(n-2, 10))
}

// Submit hands over a call. It answers errNotStarted when the call is refused,
// and then still belongs to the caller.
func (p *Pool) Submit(c *call) error {
	p.mu.Lock()
	if p.closed || p.refusing || p.waiting >= p.settings.Queue {
		p.mu.Unlock()
		return errNotStarted
	}
	p.nextID++
	c.id = p.nextID
	var to *worker
	if p.waiting == 0 {
		to = p.shortest(c)
	}
	if to == nil {
		p.queue = append(p.queue, c)
		p.waiting++
	} else {
		to.give(c)
	}
	p.mu.Unlock()
	if to != nil {
		to.flush()
	}
	return nil
}

// shortest picks the worker that holds the fewest requests and has room for
// this one. Callers hold mu.
func (p *Pool) shortest(c *call) *worker {
	var best *worker
	for _, w := range p.workers {
		if w.room(c) && (best == nil || w.count < best.count) {
			best = w
		}
	}
	return best
}

// Abandon says that nobody waits for the call any more. One that is not
// started will not be.
func (p *Pool) Abandon(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.answered || c.abandoned {
		return
	}
	c.abandoned = true
	for _, w := range p.workers {
		if slot := w.slotOf(c); slot >= 0 {
			// The worker looks at this byte before it calls run().
			w.page.cancel(slot, 1)
			w.noteLeft(c)
			return
		}
	}
	p.waiting--
	if p.waiting == 0 {
		p.dropAbandoned()
	}
}

func (p *Pool) dropAbandoned() {
	kept := p.queue[:0]
	for _, c := range p.queue {
		if c.abandoned {
			c.body.release()
		} else {
			kept = append(kept, c)
		}
	}
	clear(p.queue[len(kept):])
	p.queue = kept
}

// fill gives a worker what waits. Callers hold mu and flush afterwards.
func (p *Pool) fill(w *worker) {
	taken := 0
	for _, c := range p.queue {
		if c.abandoned {
			c.body.release()
		} else if w.room(c) {
			p.waiting--
			w.give(c)
		} else {
			break
		}
		p.queue[taken] = nil
		taken++
	}
	p.queue = p.queue[taken:]
	if len(p.queue) == 0 {
		p.queue = nil
	}
}

// putBack returns calls that were given to a worker but not started to the
// front of the queue, in their order. Callers hold mu and flush all workers
// afterwards.
func (p *Pool) putBack(calls []*call) {
	if len(calls) == 0 {
		return
	}
	p.queue = append(calls, p.queue...)
	p.waiting += len(calls)
	for _, w := range p.workers {
		p.fill(w)
	}
}

// close answers all that waits, and refuses what comes, for good. What runs
// goes on.
func (p *Pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.troubleTimer != nil {
		p.troubleTimer.Stop()
	}
	p.refuseWaiting()
}

// refuse answers all that waits, and what comes, until a worker is ready.
func (p *Pool) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	p.refuseWaiting()
}

func (p *Pool) refuseWaiting() {
	for _, c := range p.queue {
		c.answer(result{err: errNotStarted})
		c.body.release()
	}
	p.queue, p.waiting = nil, 0
}

// alone reports whether no worker is ready, and whether all have been once.
func (p *Pool) alone() (alone, started bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		if w.phase == PhaseReady {
			return false, p.everReady
		}
	}
	return true, p.everReady
}

// Waiting is how many requests wait for a worker.
func (p *Pool) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting
}

// Phase says how far the pool has come, and since when. It becomes ready when
// all workers are, and is ready from then on while any of them is.
//
// It is what was heard of the workers: one may be in its init() a moment before
// that is known. Only of readiness is it never behind: a worker is known to be
// ready before it is given anything.
func (p *Pool) Phase() (Phase, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.phase, p.since
}

// judgePhase is called, with mu held, after every change of a worker.
func (p *Pool) judgePhase() {
	least, most := PhaseReady, PhaseStarting
	for _, w := range p.workers {
		if phaseOrder[w.phase] < phaseOrder[least] {
			least = w.phase
		}
		if phaseOrder[w.phase] > phaseOrder[most] {
			most = w.phase
		}
	}
	if len(p.workers) < p.settings.Workers {
		least = PhaseStarting
	}
	now := least
	if p.everReady {
		now = most
	}
	if now == PhaseReady {
		p.everReady = true
	}
	if now != p.phase {
		p.phase, p.since = now, time.Now()
		p.tell()
	}
}

// Await returns once there is news for who knows of a phase or of a version
// (see [Live]), or when ctx is done.
func (p *Pool) Await(ctx context.Context, known string) {
	for {
		p.mu.Lock()
		same, moved := p.isKnown(known), p.moved
		p.mu.Unlock()
		if !same {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}
