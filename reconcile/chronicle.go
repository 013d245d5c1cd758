package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

const (
	// keepEvents is how many events are kept of a deployment, beside the newest
	// of each instance that lives.
	keepEvents = 500
	// keepBytes bounds the text of these. Causes come from instances, and all
	// that is kept is held in memory.
	keepBytes = 1 << 20
	// loud is how many ends in a row are told step by step. Of a crash loop that
	// goes on only the ends are.
	loud = 5
	// heldBack is how long after its end an instance must be missing for that to
	// be told: the first replacements come within moments.
	heldBack = 2 * time.Second
)

// chronicle is what has been told of one deployment. What a view implies is
// compared with it, so that nothing is told twice: levels, not edges.
type chronicle struct {
	events []*sluice.DeploymentEvent // by Seq; those with Change 0 are not written yet
	last   map[string]*sluice.DeploymentEvent
	ready  map[string]bool // instances that were ready once
	floor  time.Time       // what ended before it may have been forgotten
	ends   int             // ends of their own since an instance was ready
	vacant []vacancy       // places of instances that ended and were not replaced yet, oldest first
}

// vacancy is the place of an instance that ended by itself.
type vacancy struct{ instance, revision string }

// maxVacant bounds the vacancies that are remembered.
const maxVacant = 2 * sluice.MaxInstances

func newChronicle(events []*sluice.DeploymentEvent) *chronicle {
	c := &chronicle{last: map[string]*sluice.DeploymentEvent{}, ready: map[string]bool{}}
	for _, e := range events {
		c.add(e)
	}
	return c
}

// add takes in what was read, or is to be written.
func (c *chronicle) add(e *sluice.DeploymentEvent) {
	c.events = append(c.events, e)
	if e.Floor.After(c.floor) {
		c.floor = e.Floor
	}
	if subject := subjectOf(e); subject != "" {
		c.last[subject] = e
	}
	switch {
	case e.What == sluice.EventStarted:
		_, c.vacant = fill(c.vacant, e)
	case e.What == sluice.EventReady:
		if c.ends >= loud {
			c.vacant = nil // starts were not told, so who replaced whom is not known
		}
		c.ends, c.ready[e.Instance] = 0, true
	case e.What == sluice.EventEnded && e.Cause != nil:
		c.ends++
		c.vacant = append(slices.Clone(c.vacant[max(len(c.vacant)-maxVacant+1, 0):]), vacancy{e.Instance, e.Revision})
	case e.What == sluice.EventOperationDone || e.What == sluice.EventOperationFailed:
		// What starts from here on is not a replacement, nor another try at what
		// the operation failed with.
		c.vacant, c.ends = nil, 0
	}
}

// fill gives the instance whose place a start takes, "" for a new place, and the
// vacancies that are left. It alters nothing in place.
func fill(vacant []vacancy, started *sluice.DeploymentEvent) (instance string, left []vacancy) {
	at := slices.IndexFunc(vacant, func(v vacancy) bool { return v.revision == started.Revision })
	if at < 0 {
		return "", vacant
	}
	return vacant[at].instance, slices.Delete(slices.Clone(vacant), at, at+1)
}

// subjectOf names what an event is a step in the life of: an instance, a
// revision's environment, or the requests. "" for what stands alone.
func subjectOf(e *sluice.DeploymentEvent) string {
	switch {
	case e.Instance != "":
		return "instance " + e.Instance
	case e.What == sluice.EventEnvironmentReady || e.What == sluice.EventEnvironmentFailed:
		return "revision " + e.Revision
	case e.What == sluice.EventRequestsFail || e.What == sluice.EventRequestsSucceed:
		return "requests"
	}
	return ""
}

// next is the number of the next event.
func (c *chronicle) next() int64 {
	if len(c.events) == 0 {
		return 1
	}
	return c.events[len(c.events)-1].Seq + 1
}

// kept gives a time as it comes back from the store.
func kept(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// mayBeNew reports whether something that happened then can still be untold,
// as far as only its time says.
func (c *chronicle) mayBeNew(at time.Time) bool { return kept(at).After(c.floor) }

// unwritten are the events that no change has carried yet.
func (c *chronicle) unwritten() []*sluice.DeploymentEvent {
	at := slices.IndexFunc(c.events, func(e *sluice.DeploymentEvent) bool { return e.Change == 0 })
	if at < 0 {
		return nil
	}
	return c.events[at:]
}

// overflow gives what is too old to be kept: the oldest events beyond the
// newest keepEvents or keepBytes, but of whatever lives never the last one, which says what
// has been told of it.
func (c *chronicle) overflow(live map[string]bool) []*sluice.DeploymentEvent {
	var over []*sluice.DeploymentEvent
	for _, e := range c.events[:firstKept(c.events)] {
		if subject := subjectOf(e); !live[subject] || c.last[subject] != e {
			over = append(over, e)
		}
	}
	return over
}

// firstKept gives the place of the oldest event that is kept by its age alone.
func firstKept(events []*sluice.DeploymentEvent) int {
	size, first := 0, len(events)
	for first > max(len(events)-keepEvents, 0) {
		size += sizeOf(events[first-1])
		if size > keepBytes {
			break
		}
		first--
	}
	return first
}

// sizeOf gives the bytes of text in an event that are not ours alone.
func sizeOf(e *sluice.DeploymentEvent) int {
	size := len(e.Message)
	if c := e.Cause; c != nil {
		size += len(c.Message) + len(c.Hint) + len(c.File) + len(c.Request)
		for _, line := range c.Evidence {
			size += len(line)
		}
	}
	return size
}

// forget drops events that are not kept any more.
func (c *chronicle) forget(over []*sluice.DeploymentEvent) {
	if len(over) == 0 {
		return
	}
	gone := map[*sluice.DeploymentEvent]bool{}
	for _, e := range over {
		gone[e] = true
		if subject := subjectOf(e); c.last[subject] == e {
			delete(c.last, subject)
			delete(c.ready, e.Instance)
		}
		if e.At.After(c.floor) {
			c.floor = e.At
		}
	}
	c.events = slices.DeleteFunc(slices.Clone(c.events), func(e *sluice.DeploymentEvent) bool { return gone[e] })
}

// subjects are those of a view about which something may yet be told.
func (v view) subjects() map[string]bool {
	live := map[string]bool{"revision " + v.deployment.Revision: true, "revision " + v.deployment.Serving: true, "requests": true}
	for _, i := range v.instances {
		if i.live() {
			live["instance "+i.ID] = true
		}
	}
	return live
}

// rank orders the steps in an instance's life: what was told excludes all that
// comes before it.
var rank = map[sluice.Happening]int{
	sluice.EventNoPlace: 1, sluice.EventStarted: 2, sluice.EventImporting: 3, sluice.EventInitializing: 4,
	sluice.EventReady: 5, sluice.EventNotReady: 5, sluice.EventDraining: 6, sluice.EventEnded: 7, sluice.EventBackingOff: 8,
}

// implied gives the events that a view implies and that have not been told, in
// order, without number. It is a pure function, and nothing is implied any more
// once they are added.
func (c *chronicle) implied(v view, now time.Time) []*sluice.DeploymentEvent {
	if v.deployment.State == sluice.StateDeleting {
		return nil
	}
	var out []*sluice.DeploymentEvent
	if e := c.environment(v, now); e != nil {
		out = append(out, e)
	}
	for _, i := range v.instances {
		out = append(out, c.steps(i, now)...)
	}
	if e := c.trouble(v, now); e != nil {
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b *sluice.DeploymentEvent) int { return a.At.Compare(b.At) })
	vacant := c.vacant
	for _, e := range out {
		switch {
		case e.What == sluice.EventEnded && e.Cause != nil:
			vacant = append(slices.Clone(vacant), vacancy{e.Instance, e.Revision})
		case e.What == sluice.EventStarted:
			var before string
			if before, vacant = fill(vacant, e); before != "" {
				e.Message = "started in place of " + before
			}
		}
	}
	if e := c.missing(v, vacant, now); e != nil {
		out = append(out, e)
	}
	for _, e := range out {
		e.At = kept(e.At)
		if v.operation != nil {
			e.Operation, e.Verb = v.operation.Name, v.operation.Verb
		}
	}
	return out
}

// environment tells that the desired revision can run, or why it cannot.
func (c *chronicle) environment(v view, now time.Time) *sluice.DeploymentEvent {
	revision := v.deployment.Revision
	last := c.last["revision "+revision]
	if _, ok := v.prepared[revision]; ok {
		if last != nil && last.What == sluice.EventEnvironmentReady {
			return nil
		}
		return &sluice.DeploymentEvent{At: now, What: sluice.EventEnvironmentReady, Revision: revision,
			Message: "the environment is ready" + madeIn(v.operation, now)}
	}
	cause := v.unpreparable[revision]
	if cause == nil || last != nil && last.What == sluice.EventEnvironmentFailed && last.Cause != nil &&
		last.Cause.Message == cause.Message && (v.operation == nil || v.operation.Name == last.Operation) {
		return nil // it is tried again and again, and fails as it did
	}
	return &sluice.DeploymentEvent{At: now, What: sluice.EventEnvironmentFailed, Revision: revision,
		Message: cause.Message, Cause: cause}
}

// troubleAgain is how long the same trouble is not told again, and its end is
// waited for: what comes and goes is told once a minute.
const troubleAgain = time.Minute

// trouble tells why requests fail although all is deployed, and that they do not
// any more. Its figures change
// with every request: only another cause is news, or the same much later. The
// end of an instance tells its cause itself, and need not have failed a request.
func (c *chronicle) trouble(v view, now time.Time) *sluice.DeploymentEvent {
	t, last := v.deployment.Trouble, c.last["requests"]
	if t == nil && last != nil && last.What == sluice.EventRequestsFail && now.Sub(last.At) >= troubleAgain {
		return &sluice.DeploymentEvent{At: now, What: sluice.EventRequestsSucceed, Revision: v.deployment.Serving,
			Message: "requests have not failed any more for a while"}
	}
	over := func(i seen) bool { return i.ID == t.Instance && i.Phase.Ended() }
	if t == nil || t.Request == "" && slices.ContainsFunc(v.instances, over) {
		return nil
	}
	if last != nil && last.Cause != nil {
		same := last.Cause.Code == t.Code && last.Cause.File == t.File && last.Cause.Line == t.Line
		if same && (last.Cause.Instance == t.Instance || now.Sub(last.At) < troubleAgain) || now.Sub(last.At) < time.Second {
			return nil
		}
	}
	return &sluice.DeploymentEvent{At: now, What: sluice.EventRequestsFail, Revision: v.deployment.Serving,
		Message: t.Message, Cause: t}
}

// madeIn words how long the environment took, as far as the operation says.
func madeIn(op *sluice.Operation, now time.Time) string {
	if op == nil {
		return ""
	}
	var began, ended time.Time
	for _, s := range op.Stages {
		if s.Name != sluice.StageEnvironment {
			continue
		}
		if began.IsZero() {
			began = s.Started
		}
		if ended = s.Ended; ended.IsZero() {
			ended = now
		}
	}
	if began.IsZero() {
		return ""
	}
	return " after " + took(ended.Sub(began))
}

// took words a duration: milliseconds matter below a second only.
func took(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// steps gives what is new in the life of one instance.
func (c *chronicle) steps(i seen, now time.Time) []*sluice.DeploymentEvent {
	last := c.last["instance "+i.ID]
	told := 0
	if last != nil {
		told = rank[last.What]
	}
	var out []*sluice.DeploymentEvent
	say := func(at time.Time, what sluice.Happening, message string) *sluice.DeploymentEvent {
		e := &sluice.DeploymentEvent{At: at, What: what, Instance: i.ID, Revision: i.Labels[LabelRevision], Message: message}
		out = append(out, e)
		return e
	}
	// Times that come from the engine are the same at every look: of what nothing
	// is known any more, what is older than what was forgotten has been told.
	if !i.Started.IsZero() && told < rank[sluice.EventStarted] && c.ends < loud && c.mayBeNew(i.Started) {
		say(i.Started, sluice.EventStarted, "started")
	}
	if i.Phase.Ended() {
		if told > 0 && told < rank[sluice.EventEnded] || told == 0 && c.mayBeNew(i.Ended) {
			e := say(i.Ended, sluice.EventEnded, "ended, as it was asked to")
			if !i.Asked || i.Phase == engine.Failed {
				e.Message, e.Cause = c.end(i), i.cause
			}
		}
		return out
	}
	if what, message := c.living(i, last, now); what != "" {
		say(now, what, message)
	}
	return out
}

// living gives what is new about an instance that has not ended, "" when
// nothing is. What was told of it last is nil for nothing.
func (c *chronicle) living(i seen, last *sluice.DeploymentEvent, now time.Time) (what sluice.Happening, message string) {
	told, quiet := 0, c.ends >= loud
	if last != nil {
		told = rank[last.What]
	}
	switch {
	case i.Phase == engine.Draining:
		if told < rank[sluice.EventDraining] {
			return sluice.EventDraining, "takes no new requests and ends once it has finished what it has"
		}
	case i.ready:
		if last == nil || last.What != sluice.EventReady {
			return sluice.EventReady, readyAfter(i, last, now)
		}
	case last != nil && last.What == sluice.EventReady:
		if i.asked { // a server that has just started does not know
			return sluice.EventNotReady, "its readiness probe fails: it gets no requests"
		}
	case quiet:
	case i.Phase == engine.Pending:
		if i.Reason != "" && told == 0 {
			return sluice.EventNoPlace, sluice.Cause{Message: "waits: " + i.Message}.Clean().Message
		}
	case i.phase == "import" && told < rank[sluice.EventImporting]:
		return sluice.EventImporting, "imports the scoring script"
	case i.phase == "init" && told < rank[sluice.EventInitializing]:
		return sluice.EventInitializing, "runs init()" + since(last, sluice.EventImporting, "importing", now)
	}
	return "", ""
}

// readyAfter words how an instance became ready.
func readyAfter(i seen, last *sluice.DeploymentEvent, now time.Time) string {
	if last != nil && last.What == sluice.EventNotReady {
		return "ready again after " + took(now.Sub(last.At))
	}
	message := "ready"
	// One that is first seen when it has run for long was ready before.
	if !i.Started.IsZero() && (last != nil || now.Sub(i.Started) < time.Minute) {
		message += " " + took(now.Sub(i.Started)) + " after it was started"
	}
	return message + since(last, sluice.EventImporting, "importing", now) + since(last, sluice.EventInitializing, "init()", now)
}

// since words how long the step before took, where that is what was told last.
func since(last *sluice.DeploymentEvent, step sluice.Happening, name string, now time.Time) string {
	if last == nil || last.What != step {
		return ""
	}
	return "; " + name + " took " + took(now.Sub(last.At))
}

// end words the end of an instance that was its own.
func (c *chronicle) end(i seen) string {
	message := "ended"
	if i.cause != nil {
		message = i.cause.Message
	}
	if c.ends > 0 {
		message += fmt.Sprintf(" (the %s end in a row)", ordinal(c.ends+1))
	}
	return message
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprint(n) + suffix
}

// missing tells that the replacement of an instance that ended is held back.
func (c *chronicle) missing(v view, vacant []vacancy, now time.Time) *sluice.DeploymentEvent {
	revision := v.target()
	live := 0
	var ended []seen
	for _, i := range v.instances {
		switch {
		case i.Labels[LabelRevision] != revision:
		case i.live() && i.Phase != engine.Draining:
			live++
		case i.Phase.Ended() && !i.Asked:
			ended = append(ended, i)
		}
	}
	if revision == "" || len(ended) == 0 || live >= v.scale.Want || c.ends > loud {
		return nil
	}
	newest := slices.MaxFunc(ended, func(a, b seen) int { return cmp.Or(a.Ended.Compare(b.Ended), cmp.Compare(a.ID, b.ID)) })
	last := c.last["instance "+newest.ID]
	if last == nil || last.What != sluice.EventEnded || now.Sub(newest.Ended) < heldBack {
		return nil
	}
	// An update brings one after the other: fewer than wanted does not mean that
	// this one's place is empty.
	if !slices.ContainsFunc(vacant, func(of vacancy) bool { return of.instance == newest.ID }) {
		return nil
	}
	return &sluice.DeploymentEvent{At: now, What: sluice.EventBackingOff, Instance: newest.ID, Revision: revision,
		Message: fmt.Sprintf("is not replaced yet, after %d in a row that ended: each time it takes longer, up to half a minute", max(c.ends, 1))}
}
