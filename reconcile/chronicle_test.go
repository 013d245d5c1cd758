package reconcile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

// line gives an event as "What instance: message".
func line(e *sluice.DeploymentEvent) string {
	text := string(e.What)
	if e.Instance != "" {
		text += " " + e.Instance
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Cause != nil {
		text += " [" + string(e.Cause.Code) + "]"
	}
	return text
}

// chronicleOf gives a chronicle in which these have been told of instance a.
func chronicleOf(what ...sluice.Happening) *chronicle {
	c := newChronicle(nil)
	for n, w := range what {
		e := &sluice.DeploymentEvent{At: epoch.Add(time.Duration(n) * time.Second), What: w, Instance: "a", Revision: "r1"}
		if w == sluice.EventEnded {
			e.Cause = &sluice.Cause{Message: "it crashed"}
		}
		switch w {
		case sluice.EventEnvironmentReady, sluice.EventEnvironmentFailed, sluice.EventOperationFailed:
			e.Instance = ""
		}
		c.append(deployment(sluice.StateSucceeded, "r1", "r1"), e)
	}
	return c
}

func TestImplied(t *testing.T) {
	const (
		env, started, importing, initializing = sluice.EventEnvironmentReady, sluice.EventStarted, sluice.EventImporting, sluice.EventInitializing
		ready, notReady, draining, ended      = sluice.EventReady, sluice.EventNotReady, sluice.EventDraining, sluice.EventEnded
	)
	boom := &sluice.Cause{Code: sluice.CauseInitRaised, Message: "init() raised ValueError: boom"}
	now := epoch.Add(10 * time.Second)
	one := func(phase engine.Phase, change func(*seen)) []seen {
		i := instance("a", "r1", phase, false)
		i.Labels = map[string]string{LabelRevision: "r1"}
		if phase != engine.Pending {
			i.Started = epoch.Add(2 * time.Second)
		}
		if phase.Ended() {
			i.Ended, i.cause = now.Add(-time.Second), boom
		}
		i.asked = true
		if change != nil {
			change(&i)
		}
		return []seen{i}
	}
	crashes := slices.Repeat([]sluice.Happening{ended}, loud)
	tests := []struct {
		name string
		told []sluice.Happening
		view view
		want []string
	}{
		{name: "nothing", told: []sluice.Happening{env}, view: view{}},
		{name: "an environment that is there", view: view{prepared: prepared("r1")}, want: []string{"EnvironmentReady: the environment is ready"}},
		{name: "how long the environment took", want: []string{"EnvironmentReady: the environment is ready after 4.5 s"},
			view: view{prepared: prepared("r1"), operation: &sluice.Operation{Stages: []sluice.Stage{
				{Name: sluice.StageEnvironment, Started: epoch, Ended: epoch.Add(time.Second)},
				{Name: sluice.StageEnvironment, Started: epoch.Add(time.Second), Ended: epoch.Add(4500 * time.Millisecond)}}}}},
		{name: "an environment that was told of", told: []sluice.Happening{env}, view: view{prepared: prepared("r1")}},
		{name: "an environment that cannot be made", view: view{unpreparable: map[string]*sluice.Cause{"r1": boom}},
			want: []string{"EnvironmentFailed: init() raised ValueError: boom [InitRaised]"}},
		{name: "no room", view: view{instances: one(engine.Pending, func(i *seen) { i.Reason, i.Message = engine.NoCapacity, "It asks for\n4 GPUs." })},
			want: []string{"NoPlace a: waits: It asks for 4 GPUs."}},
		{name: "no room, told", told: []sluice.Happening{sluice.EventNoPlace},
			view: view{instances: one(engine.Pending, func(i *seen) { i.Reason, i.Message = engine.NoCapacity, "no" })}},
		{name: "started", view: view{instances: one(engine.Running, nil)}, want: []string{"Started a: started"}},
		{name: "importing", told: []sluice.Happening{started}, view: view{instances: one(engine.Running, func(i *seen) { i.phase = "import" })},
			want: []string{"Importing a: imports the scoring script"}},
		{name: "initializing", told: []sluice.Happening{started, importing}, view: view{instances: one(engine.Running, func(i *seen) { i.phase = "init" })},
			want: []string{"Initializing a: runs init(); importing took 9.0 s"}},
		{name: "ready at first sight", view: view{instances: one(engine.Running, func(i *seen) { i.ready = true })},
			want: []string{"Started a: started", "Ready a: ready 8.0 s after it was started"}},
		{name: "ready long before it was first seen", view: view{instances: one(engine.Running, func(i *seen) { i.ready, i.Started = true, epoch.Add(-time.Hour) })},
			want: []string{"Started a: started", "Ready a: ready"}},
		{name: "ready", told: []sluice.Happening{started, importing, initializing}, view: view{instances: one(engine.Running, func(i *seen) { i.ready = true })},
			want: []string{"Ready a: ready 8.0 s after it was started; init() took 8.0 s"}},
		{name: "ready still", told: []sluice.Happening{ready}, view: view{instances: one(engine.Running, func(i *seen) { i.ready = true })}},
		{name: "not ready any more", told: []sluice.Happening{ready}, view: view{instances: one(engine.Running, nil)},
			want: []string{"NotReady a: its readiness probe fails: it gets no requests"}},
		{name: "not asked yet after a restart", told: []sluice.Happening{ready}, view: view{instances: one(engine.Running, func(i *seen) { i.asked = false })}},
		{name: "ready again", told: []sluice.Happening{ready, notReady}, view: view{instances: one(engine.Running, func(i *seen) { i.ready = true })},
			want: []string{"Ready a: ready again after 9.0 s"}},
		{name: "draining", told: []sluice.Happening{ready}, view: view{instances: one(engine.Draining, func(i *seen) { i.ready = true })},
			want: []string{"Draining a: takes no new requests and ends once it has finished what it has"}},
		{name: "ended as asked", told: []sluice.Happening{draining}, view: view{instances: one(engine.Succeeded, func(i *seen) { i.Asked = true })},
			want: []string{"Ended a: ended, as it was asked to"}},
		{name: "had to be forced", told: []sluice.Happening{draining}, view: view{instances: one(engine.Failed, func(i *seen) { i.Asked = true })},
			want: []string{"Ended a: init() raised ValueError: boom [InitRaised]"}},
		{name: "crashed", told: []sluice.Happening{ready}, view: view{instances: one(engine.Failed, nil)},
			want: []string{"Ended a: init() raised ValueError: boom [InitRaised]"}},
		{name: "crashed at first sight", view: view{instances: one(engine.Failed, nil)},
			want: []string{"Started a: started", "Ended a: init() raised ValueError: boom [InitRaised]"}},
		{name: "crashed, told", told: []sluice.Happening{ready, ended}, view: view{instances: one(engine.Failed, nil)}},
		{name: "held back", told: []sluice.Happening{ended, ended}, view: view{instances: one(engine.Failed, func(i *seen) { i.Ended = now.Add(-heldBack) })},
			want: []string{"BackingOff a: is not replaced yet, after 2 in a row that ended: each time it takes longer, up to half a minute"}},
		{name: "what has been replaced is not held back, although there are to be more", told: []sluice.Happening{ready, ended},
			view: view{scale: &sluice.Scale{Want: 2}, instances: func() []seen {
				over, fresh := one(engine.Failed, func(i *seen) { i.Ended = now.Add(-heldBack) }), one(engine.Running, nil)
				fresh[0].ID, fresh[0].Started = "b", now
				return append(over, fresh...)
			}()}, want: []string{"Started b: started in place of a"}},
		{name: "held back, told", told: []sluice.Happening{ended, sluice.EventBackingOff},
			view: view{instances: one(engine.Failed, func(i *seen) { i.Ended = now.Add(-heldBack) })}},
		{name: "a crash loop is told by its ends only", told: crashes, view: view{instances: func() []seen {
			starting, over := one(engine.Running, nil), one(engine.Failed, nil)
			starting[0].ID, over[0].ID = "b", "c"
			return append(starting, over...)
		}()}, want: []string{"Ended c: init() raised ValueError: boom (the 6th end in a row) [InitRaised]"}},
		{name: "the end of a crash loop", told: crashes, view: view{instances: one(engine.Running, func(i *seen) { i.ID, i.ready = "b", true })},
			want: []string{"Ready b: ready 8.0 s after it was started"}},
		{name: "a replacement", told: []sluice.Happening{ready, ended}, view: view{instances: one(engine.Running, func(i *seen) { i.ID = "b" })},
			want: []string{"Started b: started in place of a"}},
		{name: "a replacement, seen together with the end", told: []sluice.Happening{ready}, view: view{instances: func() []seen {
			over, fresh := one(engine.Failed, nil), one(engine.Running, nil)
			fresh[0].ID, fresh[0].Started = "b", now
			return append(over, fresh...)
		}()}, want: []string{"Ended a: init() raised ValueError: boom [InitRaised]", "Started b: started in place of a"}},
		{name: "what an operation starts replaces nothing", told: []sluice.Happening{ended, sluice.EventOperationFailed},
			view: view{instances: one(engine.Running, func(i *seen) { i.ID = "b" })}, want: []string{"Started b: started"}},
		{name: "what failed in an operation before does not count for the next end", told: []sluice.Happening{ended, sluice.EventOperationFailed},
			view: view{instances: one(engine.Failed, func(i *seen) { i.ID = "b" })},
			want: []string{"Started b: started", "Ended b: init() raised ValueError: boom [InitRaised]"}},
		{name: "the end of an instance is not told again as requests that fail", told: []sluice.Happening{ready},
			view: view{deployment: func() *sluice.Deployment {
				d := deployment(sluice.StateSucceeded, "r1", "r1")
				d.Trouble = &sluice.Cause{Code: sluice.CauseCrashed, Message: "ended by SIGKILL", Instance: "a"}
				return d
			}(), instances: one(engine.Failed, nil)},
			want: []string{"Ended a: init() raised ValueError: boom [InitRaised]"}},
		{name: "what is being deleted", view: view{deployment: deployment(sluice.StateDeleting, "r1", "r1"), instances: one(engine.Draining, nil)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := tt.view
			if v.deployment == nil {
				v.deployment = deployment(sluice.StateSucceeded, "r1", "r1")
			}
			if v.scale == nil {
				v.scale = &sluice.Scale{Want: 1}
			}
			c := chronicleOf(tt.told...)
			var got []string
			for _, e := range c.implied(v, now) {
				got = append(got, line(e))
				c.append(v.deployment, e)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if again := c.implied(v, now); len(again) > 0 {
				t.Errorf("the same view implies more once that is told: %s", line(again[0]))
			}
		})
	}
}

// An environment that fails the next operation in the same way is told again;
// one that only fails again by itself is not.
func TestAFailureOfEachOperationIsTold(t *testing.T) {
	boom := &sluice.Cause{Code: sluice.CauseNoWheel, Message: "no wheel"}
	v := view{deployment: deployment(sluice.StateFailed, "r1", ""), scale: &sluice.Scale{Want: 1},
		unpreparable: map[string]*sluice.Cause{"r1": boom}, operation: operation()}
	c := newChronicle(nil)
	told := func() int {
		events := c.implied(v, epoch)
		for _, e := range events {
			c.append(v.deployment, e)
		}
		return len(events)
	}
	if n := told(); n != 1 {
		t.Errorf("the first failure gives %d events", n)
	}
	if v.operation = nil; told() != 0 {
		t.Error("trying again by itself is told")
	}
	v.operation = &sluice.Operation{Meta: sluice.Meta{Name: "op2"}}
	if told() != 1 {
		t.Error("the next operation's failure is not told")
	}
}

// life is a random history of instances, and what of it was really seen.
type life struct {
	*rand.Rand
	now        time.Time
	instances  []seen
	made, over int
}

// step lets something happen.
func (l *life) step() {
	l.now = l.now.Add(time.Duration(1+l.IntN(5000)) * time.Millisecond)
	var live []int
	for n, i := range l.instances {
		if i.live() {
			live = append(live, n)
		}
	}
	if len(live) == 0 || len(live) < 6 && l.IntN(4) == 0 {
		l.made++
		l.instances = append(l.instances, seen{asked: true, Instance: engine.Instance{ID: fmt.Sprintf("i%d", l.made), Phase: engine.Pending,
			Created: l.now, Labels: map[string]string{LabelRevision: "r1"}}})
		return
	}
	i := &l.instances[live[l.IntN(len(live))]]
	switch i.Phase {
	case engine.Pending:
		i.Phase, i.Started = engine.Running, l.now
	case engine.Running:
		switch l.IntN(6) {
		case 0:
			i.phase = "import"
		case 1:
			i.phase = "init"
		case 2, 3:
			i.ready = !i.ready
		case 4:
			i.Phase, i.Asked = engine.Draining, true
		case 5:
			l.end(i, engine.Failed)
		}
	case engine.Draining:
		l.end(i, engine.Succeeded)
	}
	// The engine forgets what ended an hour ago.
	l.instances = slices.DeleteFunc(l.instances, func(i seen) bool { return i.Phase.Ended() && l.now.Sub(i.Ended) > time.Hour })
}

func (l *life) end(i *seen, phase engine.Phase) {
	l.over++
	i.Phase, i.Ended, i.ready = phase, l.now, false
	i.cause = &sluice.Cause{Code: sluice.CauseCrashed, Message: "crashed"}
}

// Whatever happens, and wherever the server is killed on the way: each event is
// told once and in order, and no more are kept than may be.
func TestRandomHistoriesAreToldOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	l := &life{Rand: rand.New(rand.NewPCG(seed, 0)), now: epoch}
	loop := &Loop{chronicles: map[string]*chronicle{}}
	d := deployment(sluice.StateSucceeded, "r1", "r1")
	stored := map[int64]*sluice.DeploymentEvent{}
	load := func() {
		var events []*sluice.DeploymentEvent
		for _, e := range stored {
			one := *e
			events = append(events, &one)
		}
		slices.SortFunc(events, func(a, b *sluice.DeploymentEvent) int { return int(a.Seq - b.Seq) })
		loop.chronicles[d.UID] = newChronicle(events)
	}
	load()
	ends, steps := map[string]int{}, map[string]sluice.Happening{}
	newest := int64(0)
	for range 5_000 {
		l.step()
		v := view{deployment: d, scale: &sluice.Scale{Want: 3}, instances: slices.Clone(l.instances)}
		c := loop.chronicles[d.UID]
		for _, e := range c.implied(v, l.now) {
			c.append(d, e)
		}
		change := sluice.Change{}
		if l.IntN(3) == 0 { // killed before it was written, or held back
			if l.IntN(4) == 0 {
				load()
			}
			continue
		}
		settled := loop.told(v, &change)
		for _, r := range change.Delete {
			delete(stored, r.(*sluice.DeploymentEvent).Seq)
		}
		for _, r := range change.Put {
			e := r.(*sluice.DeploymentEvent)
			e.Change = 1
			one := *e
			if stored[e.Seq] != nil || e.Seq <= newest {
				t.Fatalf("number %d is given twice", e.Seq)
			}
			stored[e.Seq], newest = &one, e.Seq
			check(t, e, ends, steps)
		}
		settled(nil)
		if l.IntN(20) == 0 {
			load() // killed after it was written
		}
		if most := keepEvents + len(v.subjects()); len(stored) > most {
			t.Fatalf("%d events are kept, more than %d", len(stored), most)
		}
	}
	ended := 0
	for _, n := range ends {
		ended += n
	}
	if newest < 3*keepEvents || len(stored) < keepEvents {
		t.Errorf("%d events were told and %d are kept: too few to tell whether they are bounded", newest, len(stored))
	}
	if l.over < 300 || ended < l.over-5 { // what is not written yet
		t.Errorf("of %d ends %d were told", l.over, ended)
	}
}

// check fails when an event does not follow on the last one of its instance.
func check(t *testing.T, e *sluice.DeploymentEvent, ends map[string]int, steps map[string]sluice.Happening) {
	t.Helper()
	if e.Instance == "" {
		return
	}
	if e.What == sluice.EventEnded {
		if ends[e.Instance]++; ends[e.Instance] > 1 {
			t.Fatalf("the end of %s is told %d times", e.Instance, ends[e.Instance])
		}
	}
	before := steps[e.Instance]
	again := (e.What == sluice.EventReady || e.What == sluice.EventNotReady) && e.What != before
	if rank[e.What] < rank[before] || rank[e.What] == rank[before] && !again {
		t.Fatalf("%s of %s comes after %s", e.What, e.Instance, before)
	}
	steps[e.Instance] = e.What
}

func TestOrdinals(t *testing.T) {
	var got []string
	for _, n := range []int{1, 2, 3, 4, 11, 12, 13, 21, 102, 111} {
		got = append(got, ordinal(n))
	}
	if s := strings.Join(got, " "); s != "1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 111th" {
		t.Error(s)
	}
}

// Why requests fail is told when it begins, and again only when it is another
// reason: its figures change all the time.
func TestTroubleIsTold(t *testing.T) {
	c := newChronicle(nil)
	d := deployment(sluice.StateSucceeded, "r1", "r1")
	v := view{deployment: d}
	trouble := func(line, failed int, instance string) *sluice.Cause {
		return &sluice.Cause{Code: sluice.CauseRunRaises, File: "score.py", Line: line, Instance: instance,
			Message: fmt.Sprintf("run() raised KeyError: 'x' in %d of the last 20 requests", failed)}
	}
	for n, step := range []struct {
		after   time.Duration
		trouble *sluice.Cause
		want    int
	}{
		{0, nil, 0},
		{0, trouble(3, 1, "a"), 1},
		{time.Second, trouble(3, 2, "a"), 0},
		{time.Hour, trouble(3, 20, "a"), 0},
		{time.Second, trouble(9, 1, "a"), 1},
		{time.Millisecond, trouble(10, 1, "a"), 0}, // not as fast as requests come
		{30 * time.Second, trouble(9, 1, "b"), 0},
		{time.Minute, trouble(9, 1, "b"), 1},
		{time.Second, nil, 0},
		{time.Minute, nil, 1},
		{time.Hour, nil, 0},
		{2 * time.Second, trouble(9, 1, "b"), 1},
	} {
		at := epoch
		if last := c.last["requests"]; last != nil {
			at = last.At
		}
		d.Trouble = step.trouble
		got := c.implied(v, at.Add(step.after))
		if len(got) != step.want {
			t.Fatalf("step %d: %d events, want %d", n, len(got), step.want)
		}
		for _, e := range got {
			if (e.What == sluice.EventRequestsFail) != (step.trouble != nil) || e.Cause != step.trouble || step.trouble != nil && e.Message != step.trouble.Message {
				t.Errorf("step %d: %+v", n, e)
			}
			c.append(d, e)
		}
	}
}

// A server that has just started knows from what was told which instances had
// been ready: that one of them has ended is no failed start.
func TestWhoWasReadyIsKnownAfterARestart(t *testing.T) {
	c := chronicleOf(sluice.EventStarted, sluice.EventReady)
	if !c.ready["a"] || c.ready["b"] {
		t.Errorf("ready were %v, want a alone", c.ready)
	}
}

// A clock that was years ahead once, and was put right, makes no end go untold of
// an instance that something is known of.
func TestAnEndIsToldWhateverTheClock(t *testing.T) {
	c := chronicleOf(sluice.EventStarted, sluice.EventReady)
	c.floor = epoch.Add(10_000 * time.Hour)
	i := instance("a", "r1", engine.Failed, false)
	i.Ended, i.cause = epoch.Add(time.Minute), &sluice.Cause{Code: sluice.CauseCrashed, Message: "it crashed"}
	if got := c.steps(i, epoch.Add(time.Hour)); len(got) != 1 || got[0].What != sluice.EventEnded {
		t.Errorf("told is %v", got)
	}
	unknown := i
	unknown.ID = "b"
	if got := c.steps(unknown, epoch.Add(time.Hour)); len(got) != 0 {
		t.Errorf("of one that may have been told and forgotten: %v", got)
	}
}

// Long causes are forgotten sooner: a hostile instance brings one every second.
func TestEventsAreBoundedInBytes(t *testing.T) {
	c := newChronicle(nil)
	cause := &sluice.Cause{Message: "m", Evidence: slices.Repeat([]string{strings.Repeat("x", 1000)}, 50)}
	for n := range 100 {
		c.append(deployment(sluice.StateSucceeded, "r1", "r1"),
			&sluice.DeploymentEvent{At: epoch.Add(time.Duration(n) * time.Second), What: sluice.EventRequestsFail, Cause: cause})
		c.forget(c.overflow(map[string]bool{"requests": true}))
	}
	size := 0
	for _, e := range c.events {
		size += sizeOf(e)
	}
	if size > keepBytes || len(c.events) < 10 || c.last["requests"] != c.events[len(c.events)-1] {
		t.Errorf("%d events with %d bytes are kept", len(c.events), size)
	}
}
