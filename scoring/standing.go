package scoring

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// Live is what is known of a pool at a moment, as GET /v2/health/live tells it.
type Live struct {
	Live    bool  `json:"live"`
	Phase   Phase `json:"phase"`
	Seconds int   `json:"seconds"` // in the phase
	// Version changes whenever something below or the phase does. Whoever names
	// the one he knows of may have the next answer held until it is another.
	Version string `json:"version"`
	// Served says that run() has answered a request.
	Served bool `json:"served"`
	// At is where a slow start stands; nil while it is not slow.
	At *Standing `json:"at,omitempty"`
	// Trouble is why requests fail; nil while they do not.
	Trouble *sluice.Cause `json:"trouble,omitempty"`
}

// Standing is a place in the user's own code, and how it came there.
type Standing struct {
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"`
	Function string   `json:"function,omitempty"`
	Stack    []string `json:"stack,omitempty"` // innermost call first
}

// maxShown bounds the lines of a stack that are told.
const maxShown = 18

func standingOf(stack []stackFrame, s Settings) *Standing {
	if len(stack) == 0 {
		return nil
	}
	at, _ := userCall(stack, s)
	// Cleaned as a cause is: all of it is the script's to forge.
	clean := sluice.Cause{File: at.file, Message: at.function[:min(len(at.function), 200)], Evidence: shownLines(stack, s, maxShown)}.Clean()
	return &Standing{File: clean.File, Line: at.line, Function: clean.Message, Stack: clean.Evidence}
}

// Live says what is known now.
func (p *Pool) Live() Live {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := Live{Live: true, Phase: p.phase, Seconds: int(time.Since(p.since).Seconds()), Version: p.version(),
		Served: p.served, Trouble: p.troubles.told}
	for _, w := range p.workers {
		if w.phase == p.phase && l.At == nil {
			l.At = standingOf(w.stack, p.settings)
		}
	}
	return l
}

// version names the present state of knowledge. Callers hold mu.
func (p *Pool) version() string { return fmt.Sprintf("%s-%d", p.phase, p.news) }

// tell wakes whoever waits for news. Callers hold mu.
func (p *Pool) tell() {
	p.news++
	close(p.moved)
	p.moved = make(chan struct{})
}

// isKnown reports whether a client's knowledge, a phase or a version, is the
// present one. Callers hold mu.
func (p *Pool) isKnown(known string) bool {
	if strings.Contains(known, "-") {
		return known == p.version()
	}
	return known == string(p.phase)
}

// askAgain says how long to wait before a worker that has been in its phase for
// so long is asked where it stands. Most are ready before the first time, and
// nothing is asked of them.
func askAgain(so, first time.Duration) time.Duration {
	switch {
	case so < first:
		return first - so
	case so < 3*first:
		return first / 5
	case so < 12*first:
		return 2 * first / 5
	}
	return first
}

func (p Phase) starting() bool { return p == PhaseImport || p == PhaseInit }

// askLater sets the time of the next question. Callers hold the pool's mutex.
func (w *worker) askLater() {
	if w.asks != nil {
		w.asks.Stop()
	}
	if w.phase.starting() {
		w.asks = time.AfterFunc(askAgain(time.Since(w.since), w.pool.settings.AskAfter), w.ask)
	}
}

// ask asks a worker that starts where it stands. The question waits for the
// answer without the mutex.
func (w *worker) ask() {
	p := w.pool
	p.mu.Lock()
	phase := w.phase
	p.mu.Unlock()
	if !phase.starting() {
		return
	}
	stack := w.standing()
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.phase != phase {
		return // its own timer is set
	}
	before, _ := userCall(w.stack, p.settings)
	if now, _ := userCall(stack, p.settings); len(stack) > 0 && (now != before || w.stack == nil) {
		p.tell()
	}
	if len(stack) > 0 {
		w.stack = stack
	}
	w.askLater()
}

// askLate asks where a run() stands that is over its limit.
func (w *worker) askLate(id uint64) {
	stack := w.standing()
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	if w.stopped == id {
		w.stack = stack
	}
}

// leftAfter is how long a run() must have been inside, when nobody waits for it
// any more, for that to be its fault.
const leftAfter = time.Second

// noteLeft notes a request that nobody waits for any more, if it has been in
// run() for long. Callers hold the pool's mutex.
func (w *worker) noteLeft(c *call) {
	id, start := w.page.running()
	so := time.Duration(monotonicNS() - start)
	if id != c.id || so < leftAfter || c.id == w.stopped {
		return
	}
	c.judged = true
	go func() {
		stack := w.standing()
		p := w.pool
		p.mu.Lock()
		defer p.mu.Unlock()
		p.troubled(failure{request: c.request, counts: true, why: func() *sluice.Cause { return left(so, stack, p.settings) }})
	}()
}

// standing asks the worker where it stands. It gives nothing while somebody else
// asks. Callers must not hold the pool's mutex.
func (w *worker) standing() []stackFrame {
	p := w.pool
	p.mu.Lock()
	if w.asking || w.phase == phaseEnded {
		p.mu.Unlock()
		return nil
	}
	w.asking = true
	p.mu.Unlock()
	stack := w.faults.stack(w.process)
	p.mu.Lock()
	w.asking = false
	p.mu.Unlock()
	return stack
}
