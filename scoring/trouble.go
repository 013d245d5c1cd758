package scoring

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// troubles remembers what became of the last requests, to say why they fail. A
// request that succeeds costs it next to nothing. All of it is guarded by the
// pool's mutex.
type troubles struct {
	window uint64 // what became of the last requests, newest lowest; 1 is a failure
	seen   int    // how many of them there are
	since  int    // successes since the last failure

	last   failure
	lastAt time.Time // zero for no failure yet

	told   *sluice.Cause // what is told now; never altered
	key    string        // what tells told from another trouble
	failed int           // the share that told names
	of     int
	toldAt time.Time
	// lookedAt is when the last failure was made a cause, which costs something.
	lookedAt time.Time
}

// failure is one thing that went wrong while a worker served.
type failure struct {
	why     func() *sluice.Cause // made only when it is told
	request string               // the id of a request that showed it; "" for none
	counts  bool                 // it was the end of a request
}

const (
	recentRequests = 64 // of window
	// newsEvery bounds how often another trouble is told, shareEvery how often
	// the same with another share is.
	newsEvery  = 250 * time.Millisecond
	shareEvery = time.Second
	// A trouble is over when nothing has failed for calmFor and as many requests
	// have succeeded as failed among the last, at most calmRuns.
	calmFor  = 2 * time.Second
	calmRuns = 8
)

// succeed notes a request that was answered.
func (t *troubles) succeed() {
	t.window <<= 1
	t.since++
	t.seen = min(t.seen+1, recentRequests)
}

// fail notes a failure.
func (t *troubles) fail(f failure, now time.Time) {
	if f.counts {
		t.window = t.window<<1 | 1
		t.seen = min(t.seen+1, recentRequests)
	}
	t.since, t.last, t.lastAt = 0, f, now
}

func (t *troubles) calm(now time.Time) bool {
	enough := min(calmRuns, max(1, bits.OnesCount64(t.window)))
	return t.lastAt.IsZero() || t.since >= enough && now.Sub(t.lastAt) >= calmFor
}

// judge decides what is told from now on. It reports whether that is news, and
// after which time it must be asked again; 0 for not before the next request.
func (t *troubles) judge(now time.Time) (news bool, again time.Duration) {
	if t.calm(now) {
		news = t.told != nil
		t.told, t.key = nil, ""
		return news, 0
	}
	failed, of := bits.OnesCount64(t.window), t.seen
	same := failed == t.failed && of == t.of
	if t.told != nil && same && !t.lastAt.After(t.lookedAt) {
		return false, t.untilCalm(now)
	}
	if wait := t.lookedAt.Add(newsEvery).Sub(now); wait > 0 {
		return false, wait
	}
	t.lookedAt = now
	cause := t.last.why()
	key := keyOf(cause)
	if t.told != nil && key == t.key {
		if same {
			return false, t.untilCalm(now)
		}
		if wait := t.toldAt.Add(shareEvery).Sub(now); wait > 0 {
			return false, wait
		}
	}
	told := bounded(cause)
	if t.last.counts {
		told.Message += share(failed, of)
	}
	told.Request = sluice.Cause{Message: t.last.request}.Clean().Message
	t.told, t.key, t.failed, t.of, t.toldAt = &told, key, failed, of, now
	return true, t.untilCalm(now)
}

// maxEvidence bounds the lines that are told, and each of them in bytes.
const (
	maxEvidence = 20
	maxToldLine = 1000
)

// bounded gives a cause as it may be told: it comes from the script.
func bounded(c *sluice.Cause) sluice.Cause {
	short := *c
	short.Evidence = nil
	for _, line := range c.Evidence[max(0, len(c.Evidence)-maxEvidence):] {
		short.Evidence = append(short.Evidence, line[:min(len(line), maxToldLine)])
	}
	return short.Clean()
}

// untilCalm is when the trouble may be over without another request.
func (t *troubles) untilCalm(now time.Time) time.Duration {
	return max(0, t.lastAt.Add(calmFor).Sub(now))
}

func share(failed, of int) string {
	if of == 1 {
		return " in the last request"
	}
	return fmt.Sprintf(" in %d of the last %d requests", failed, of)
}

// keyOf tells troubles apart: by code, place and kind of exception.
func keyOf(c *sluice.Cause) string {
	kind, _, _ := strings.Cut(c.Message, ": ")
	return fmt.Sprintf("%s %s:%d %s", c.Code, c.File, c.Line, kind)
}

// troubled notes a failure and tells of it. Callers hold mu.
func (p *Pool) troubled(f failure) {
	p.troubles.fail(f, time.Now())
	p.lookAtTrouble()
}

// lookAtTrouble tells what there is to tell now, and sets the time for the next
// look. Callers hold mu.
func (p *Pool) lookAtTrouble() {
	news, again := p.troubles.judge(time.Now())
	if news {
		p.tell()
	}
	if again == 0 || p.closed {
		return
	}
	if p.troubleTimer == nil {
		p.troubleTimer = time.AfterFunc(again, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.lookAtTrouble()
		})
	} else {
		p.troubleTimer.Reset(again)
	}
}

// raised gives the cause that a worker sent with a request that failed.
func raised(said []byte, s Settings) *sluice.Cause {
	c := &sluice.Cause{}
	if json.Unmarshal(said, c) != nil || c.Message == "" {
		return ofModel(&sluice.Cause{Code: sluice.CauseRunRaises, Message: "run() failed", File: scriptName(s)}, s)
	}
	return withMemory(c, s)
}

// left is for a run() that was still inside when nobody waited any more.
func left(after time.Duration, stack []stackFrame, s Settings) *sluice.Cause {
	c := &sluice.Cause{Code: sluice.CauseRunTimeout, File: scriptName(s),
		Message: fmt.Sprintf("run() had not finished after %.1f s, when nobody waited for it any more,", after.Seconds()),
		Hint:    "make run() faster, or raise request_settings.request_timeout_ms, which bounds the wait"}
	placed(c, stack, s)
	if len(stack) > 0 {
		c.Evidence = append([]string{"Stack " + headCalls}, shownLines(stack, s, maxShown)...)
	}
	return ofModel(c, s)
}

// late is for a run() that was over its limit. What the worker said tells where
// it was interrupted; one that could not be is known by its stack.
func late(said []byte, stack []stackFrame, s Settings) *sluice.Cause {
	c := &sluice.Cause{Code: sluice.CauseRunTimeout, File: scriptName(s),
		Message: fmt.Sprintf("run() did not finish within SCORING_TIMEOUT_MS, %d ms,", s.Timeout.Milliseconds()),
		Hint:    "make run() faster, or raise SCORING_TIMEOUT_MS in environment_variables"}
	var told sluice.Cause
	switch {
	case json.Unmarshal(said, &told) == nil && told.Line > 0:
		c.File, c.Line, c.Evidence = told.File, told.Line, told.Evidence
	case len(stack) > 0:
		placed(c, stack, s)
		c.Evidence = append([]string{"Stack " + headCalls}, shownLines(stack, s, maxShown)...)
	}
	return ofModel(c, s)
}
