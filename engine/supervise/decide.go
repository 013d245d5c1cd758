package supervise

import (
	"cmp"
	"slices"
	"time"

	"github.com/sluice-ml/sluice/engine"
)

// The times that decide. They are part of the engines' contract with people:
// a crashed copy is back in a tenth of a second, one that crashes for ever
// costs two starts a minute.
const (
	FirstBackOff = 100 * time.Millisecond
	LastBackOff  = 30 * time.Second
	Healthy      = time.Minute     // a copy that ran this long starts again from FirstBackOff
	Steady       = 5 * time.Second // and so does one that ran this long and served
	Keep         = time.Hour       // an ended copy stays listed this long
	KeepInSlot   = 30              // but of one slot not more of them: each has a log
	ForceAgain   = time.Second     // when force has not ended a copy
)

// Want is what was asked for one workload.
type Want struct {
	Workload string
	Restart  engine.Restart
	Replicas int
	Removed  bool // the workload itself is no longer wanted
}

// Copy is what a host knows of one copy.
type Copy struct {
	ID       string
	Workload string
	Slot     int // which of the replicas it is, from 0; its replacement has the same
	Phase    engine.Phase
	Created  time.Time
	Started  time.Time
	Ended    time.Time

	// Service is what is known of how it serves. One that nobody has asked is
	// taken to serve when there are too many, and not to have served when it ends.
	Service engine.Service

	DrainDelay time.Duration // of the template it was made from
	Grace      time.Duration

	Drained time.Time // when it was chosen to end; zero if it was not
	Told    time.Time // when it was given the polite signal
	Forced  time.Time // when force was last used
	Doomed  bool      // it must be ended by force and replaced: it hangs
}

// asked reports whether the copy ended, or is to end, because it was told to.
func (c Copy) asked() bool { return !c.Drained.IsZero() }

// Kind is what to do.
type Kind string

// The kinds of action.
const (
	Start  Kind = "start"  // make a copy in Slot
	Drain  Kind = "drain"  // mark the copy as chosen to end
	Tell   Kind = "tell"   // give the polite signal
	Force  Kind = "force"  // kill it, children included
	Forget Kind = "forget" // it ended long ago: remove what is left of it
	Drop   Kind = "drop"   // the workload is removed and has no copies: forget it
)

// Action is one thing to do. ID is the copy's; Start and Drop have none.
type Action struct {
	Kind Kind
	ID   string
	Slot int
}

// Decide says what to do now for one workload, and when to decide again if
// nothing happens before then (zero: no need). It is a pure function of what is
// wanted, what there is, and the time.
//
//	starts    as many copies as miss, in the lowest free slots, each when its
//	          slot's back-off is over
//	drains    as many copies as are too many: those not running first, then
//	          those that do not serve, then the youngest
//	tells     what drains, DrainDelay after it was chosen
//	forces    what was told, Grace later; and what hangs, at once
//	forgets   what ended Keep ago, and what KeepInSlot have ended after
func Decide(w Want, copies []Copy, now time.Time) ([]Action, time.Time) {
	d := decision{now: now}
	replicas := w.Replicas
	if w.Removed {
		replicas = 0
	}
	victims, missing := balance(w.Restart, copies, replicas)
	for _, c := range victims {
		d.add(Action{Kind: Drain, ID: c.ID})
	}
	over := outlived(copies)
	for _, c := range copies {
		if slices.ContainsFunc(victims, func(v Copy) bool { return v.ID == c.ID }) {
			c.Drained = now
		}
		d.end(c)
		d.forget(w, c, over[c.ID])
	}
	for _, slot := range freeSlots(w.Restart, copies, missing) {
		if d.due(startAt(copies, slot, now)) {
			d.add(Action{Kind: Start, Slot: slot})
		}
	}
	if w.Removed && len(copies) == 0 {
		d.add(Action{Kind: Drop})
	}
	return d.actions, d.next
}

// decision collects actions and the earliest time at which another will be due.
type decision struct {
	now     time.Time
	actions []Action
	next    time.Time
}

func (d *decision) add(a Action) { d.actions = append(d.actions, a) }

// due reports whether t has come, and else remembers to look again then.
func (d *decision) due(t time.Time) bool {
	if !t.After(d.now) {
		return true
	}
	if d.next.IsZero() || t.Before(d.next) {
		d.next = t
	}
	return false
}

// after gives the time so long after t. Where t lies in the future, the clock
// has been set back, and waiting for it could take for ever: that is now.
func (d *decision) after(t time.Time, wait time.Duration) time.Time {
	if t.After(d.now) {
		return d.now
	}
	return t.Add(wait)
}

// end moves a copy that is to end one step further.
func (d *decision) end(c Copy) {
	if c.Phase.Ended() {
		return
	}
	forceAt := d.after(c.Told, c.Grace)
	if !c.Forced.IsZero() {
		forceAt = d.after(c.Forced, ForceAgain)
	}
	switch {
	case c.Doomed && c.Forced.IsZero():
		d.add(Action{Kind: Force, ID: c.ID})
	case c.Told.IsZero() && c.Forced.IsZero() && c.asked():
		if d.due(d.after(c.Drained, c.DrainDelay)) {
			d.add(Action{Kind: Tell, ID: c.ID})
		}
	case c.asked() || c.Doomed:
		if d.due(forceAt) {
			d.add(Action{Kind: Force, ID: c.ID})
		}
	}
}

// outlived gives the ended copies of each slot beyond the newest KeepInSlot. One
// that crashes every few seconds leaves hundreds within Keep.
func outlived(copies []Copy) map[string]bool {
	bySlot := map[int][]Copy{}
	for _, c := range copies {
		if c.Phase.Ended() {
			bySlot[c.Slot] = append(bySlot[c.Slot], c)
		}
	}
	over := map[string]bool{}
	for _, ended := range bySlot {
		if len(ended) <= KeepInSlot {
			continue
		}
		slices.SortFunc(ended, func(a, b Copy) int { return cmp.Or(b.Ended.Compare(a.Ended), cmp.Compare(b.ID, a.ID)) })
		for _, c := range ended[KeepInSlot:] {
			over[c.ID] = true
		}
	}
	return over
}

// forget drops what ended Keep ago or is over, unless it is the one run of a
// workload that runs once: its exit stays for as long as the workload is wanted.
func (d *decision) forget(w Want, c Copy, over bool) {
	if !c.Phase.Ended() || spent(w.Restart, c) && !w.Removed {
		return
	}
	if over || d.due(c.Ended.Add(Keep)) {
		d.add(Action{Kind: Forget, ID: c.ID})
	}
}

// spent reports whether an ended copy still fills its slot: it ran once, and
// that is all it was to do.
func spent(r engine.Restart, c Copy) bool {
	return r == engine.RestartNever && c.Phase.Ended() && !c.asked()
}

// balance compares the copies that count with how many there should be, and
// gives those to drain or the number that is missing.
func balance(r engine.Restart, copies []Copy, replicas int) (victims []Copy, missing int) {
	var live []Copy
	full := 0
	for _, c := range copies {
		switch {
		case spent(r, c):
			full++
		case !c.Phase.Ended() && !c.asked():
			live = append(live, c)
		}
	}
	excess := len(live) + full - replicas
	if excess <= 0 {
		return nil, -excess
	}
	slices.SortFunc(live, byVictim)
	return live[:min(excess, len(live))], 0
}

// byVictim puts first what is to be ended first.
func byVictim(a, b Copy) int {
	use := func(c Copy) int {
		switch {
		case c.Phase != engine.Running:
			return 0
		case c.Service.Unready:
			return 1
		}
		return 2
	}
	return cmp.Or(
		cmp.Compare(use(a), use(b)),
		b.Created.Compare(a.Created),
		cmp.Compare(b.ID, a.ID),
	)
}

// freeSlots gives the n lowest slots that no copy fills.
func freeSlots(r engine.Restart, copies []Copy, n int) []int {
	taken := map[int]bool{}
	for _, c := range copies {
		if spent(r, c) || !c.Phase.Ended() && !c.asked() {
			taken[c.Slot] = true
		}
	}
	var free []int
	for slot := 0; len(free) < n; slot++ {
		if !taken[slot] {
			free = append(free, slot)
		}
	}
	return free
}

// startAt says when a slot may be filled again. It depends on nothing but the
// copies that are listed, so a restarted server goes on where it was.
func startAt(copies []Copy, slot int, now time.Time) time.Time {
	var before []Copy
	for _, c := range copies {
		// What ended in the future did so before the clock was set back.
		if c.Slot == slot && c.Phase.Ended() && !c.Ended.After(now) {
			before = append(before, c)
		}
	}
	slices.SortFunc(before, func(a, b Copy) int { return b.Ended.Compare(a.Ended) })
	crashes := 0
	for _, c := range before {
		if c.asked() {
			break
		}
		crashes++
		if c.ran() >= Healthy || c.Service.Served && c.ran() >= Steady {
			break
		}
	}
	if crashes == 0 {
		return now
	}
	return before[0].Ended.Add(BackOff(crashes))
}

func (c Copy) ran() time.Duration {
	if c.Started.IsZero() {
		return 0
	}
	return c.Ended.Sub(c.Started)
}

// BackOff is how long to wait after the given number of crashes in a row.
func BackOff(crashes int) time.Duration {
	if crashes < 1 {
		return 0
	}
	if crashes > 20 { // far beyond LastBackOff, and before the shift overflows
		return LastBackOff
	}
	return min(FirstBackOff<<(crashes-1), LastBackOff)
}
