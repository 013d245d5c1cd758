package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/probe"
)

// told is what a scoring server says of itself. It comes from where the user's
// code runs: it is bounded and cleaned before anything else is done with it.
type told struct {
	version string
	phase   string
	at      *place        // where a slow start stands; nil for not known
	served  bool          // run() has answered a request
	trouble *sluice.Cause // why requests fail; nil while they do not
}

// place is a line of the user's own code, and the calls that led there.
type place struct {
	file     string
	line     int
	function string
	stack    []string // innermost call first
}

// sentence says where it is: "at score.py:12 in load".
func (p *place) sentence() string {
	at := (&sluice.Cause{File: p.file, Line: p.line}).Where()
	if at == "" {
		return "outside of the script"
	}
	if p.function == "" || strings.HasPrefix(p.function, "<") {
		return "at " + at
	}
	return "at " + at + " in " + p.function
}

// evidence gives the stack as the lines that show a cause.
func (p *place) evidence() []string {
	if len(p.stack) == 0 {
		return nil
	}
	return append([]string{"Stack (most recent call first):"}, p.stack...)
}

const (
	livePath = "/v2/health/live"
	maxTold  = 64 << 10 // bytes of what a scoring server says
	// listenAfter is how long a start may take before it is asked where it stands.
	listenAfter = 5 * time.Second
	// holdFor is how long the question for news is held open; listenPause keeps a
	// server that does not hold it from being asked all the time.
	holdFor     = 10 * time.Second
	listenPause = 250 * time.Millisecond
)

// hear reads what a scoring server said. The zero value is for one that said
// nothing.
func hear(a probe.Answer) told {
	var says struct {
		Phase   string `json:"phase"`
		Version string `json:"version"`
		Served  bool   `json:"served"`
		At      *struct {
			File     string   `json:"file"`
			Line     int      `json:"line"`
			Function string   `json:"function"`
			Stack    []string `json:"stack"`
		} `json:"at"`
		Trouble *sluice.Cause `json:"trouble"`
	}
	if !a.OK() || json.Unmarshal(a.Body, &says) != nil {
		return told{}
	}
	t := told{phase: knownPhase(says.Phase), served: says.Served, version: says.Version[:min(len(says.Version), 64)]}
	if says.At != nil {
		clean := sluice.Cause{File: says.At.File, Message: says.At.Function, Evidence: says.At.Stack}.Clean()
		t.at = &place{file: short(clean.File), line: max(0, says.At.Line), function: short(clean.Message), stack: clean.Evidence}
	}
	if says.Trouble != nil && says.Trouble.Message != "" {
		clean := says.Trouble.Clean()
		clean.Line, clean.Column = max(0, clean.Line), max(0, clean.Column)
		t.trouble = &clean
	}
	return t
}

// short keeps a name from filling a line.
func short(name string) string {
	runes := []rune(name)
	if len(runes) <= 200 {
		return name
	}
	return "…" + string(runes[len(runes)-199:])
}

// listen hears what a scoring server has to tell of its start and of its
// requests, as soon as it does: each question is held until there is news.
func (w *watches) listen(ctx context.Context, i engine.Instance, one *watch) {
	known := ""
	for {
		asked := w.loop.Now()
		t := hear(w.prober.Check(ctx, i.Address, probe.Question{Path: livePath, Timeout: holdFor + 2*time.Second,
			Known: known, Wait: holdFor, MaxBody: maxTold}))
		if ctx.Err() != nil {
			return
		}
		wait := listenPause - w.loop.Now().Sub(asked)
		if t.version == "" {
			wait = time.Second // it says nothing: it is busy, gone, or an older one
		} else {
			known = t.version
			w.heard(one, t)
		}
		if wait > 0 && pause(ctx, wait) != nil {
			return
		}
	}
}

// heard keeps what was told.
func (w *watches) heard(one *watch, t told) {
	w.mu.Lock()
	news := !reflect.DeepEqual(one.said, t)
	one.said = t
	w.mu.Unlock()
	if news {
		w.loop.Poke()
	}
}

// lately is how long the end of an instance that served is told as a trouble
// of its deployment.
const lately = 5 * time.Minute

// troubleOf gives why requests to a deployment fail: what an instance tells that
// serves, else why the last one that served has ended, unless another serves
// well since. It stays with an instance as long as that is in trouble. It is
// pure.
func troubleOf(v view, now time.Time) *sluice.Cause {
	var found *seen
	for n := range v.instances {
		i := &v.instances[n]
		if !i.live() || i.Phase == engine.Draining || i.told.trouble == nil {
			continue
		}
		if found == nil || v.deployment.Trouble != nil && v.deployment.Trouble.Instance == i.ID {
			found = i
		}
	}
	if found != nil {
		return v.explained(*found.told.trouble, found.ID)
	}
	for n := range v.instances {
		i := &v.instances[n]
		if i.Phase != engine.Failed && i.Phase != engine.Succeeded || !i.everReady || i.Asked || i.Reason == engine.Evicted ||
			i.cause == nil || now.Sub(i.Ended) > lately {
			continue
		}
		if found == nil || i.Ended.After(found.Ended) {
			found = i
		}
	}
	if found == nil || slices.ContainsFunc(v.instances, func(i seen) bool { return i.live() && i.told.served && i.Created.After(found.Ended) }) {
		return nil
	}
	return v.explained(*found.cause, found.ID)
}

// explained completes a trouble: where, and the commands that show it.
func (v view) explained(c sluice.Cause, instance string) *sluice.Cause {
	d := v.deployment
	c.Instance = instance
	show := fmt.Sprintf("`sluice online-endpoint invoke -n %s -d %s -r FILE` shows it, "+
		"`sluice online-deployment get-logs -e %s -n %s --instance %s` has the details", d.Endpoint, d.Name, d.Endpoint, d.Name, instance)
	if c.Hint != "" {
		show = c.Hint + "; " + show
	}
	c.Hint = show
	return &c
}
