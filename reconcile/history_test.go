package reconcile

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

// history is one deployment in a world where plan's actions are carried out in
// random order and at random speed, users ask for what they may ask for, and
// things fail. It says so when a promise is broken.
type history struct {
	*rand.Rand
	t         *testing.T
	seed      uint64
	v         view
	replicas  map[string]int // asked for, by workload
	broken    map[string]bool
	revisions int
	made      int
	now       time.Time
	calm      bool // nothing fails any more that could do otherwise
	log       []string
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{Rand: rand.New(rand.NewPCG(seed, 1)), t: t, seed: seed, now: epoch,
		replicas: map[string]int{}, broken: map[string]bool{}, revisions: 1}
	h.v = view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1 + h.IntN(12)},
		prepared: map[string]engine.Workload{}, unpreparable: map[string]*sluice.Cause{}}
	h.broken["r1"] = h.IntN(6) == 0
	h.begin()
	return h
}

func (h *history) say(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

func (h *history) fail(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("seed %d: %s\n%s", h.seed, fmt.Sprintf(format, args...), strings.Join(h.log[max(0, len(h.log)-40):], "\n"))
}

func (h *history) begin() {
	h.v.operation = &sluice.Operation{Meta: sluice.Meta{Name: "op"}, Status: sluice.OperationInProgress, Started: h.now}
}

// user asks for something that the API would accept now.
func (h *history) user() {
	d := h.v.deployment
	if d.State == sluice.StateDeleting {
		return
	}
	if h.IntN(800) == 0 {
		h.say("delete")
		d.State = sluice.StateDeleting
		h.begin()
		return
	}
	if h.v.operation != nil {
		return
	}
	count := h.v.scale.Want
	update, scale := h.IntN(3) > 0, h.IntN(2) == 0
	if scale {
		count = 1 + h.IntN(12)
	}
	switch {
	case update:
		h.revisions++
		d.Revision, d.State = fmt.Sprintf("r%d", h.revisions), sluice.StateUpdating
		h.broken[d.Revision] = h.IntN(3) == 0
		h.begin()
		h.v.operation.ScaleFirst = count != h.v.scale.Want
	case count != h.v.scale.Want:
		d.State = sluice.StateScaling
		h.begin()
	default:
		return
	}
	h.say("update to %s (broken %v) and %d instances", d.Revision, h.broken[d.Revision], count)
	h.v.scale.Want = count
}

// pass carries out what plan says, and looks at what that does at once.
func (h *history) pass() (purged bool) {
	d, before := h.v.deployment, h.ready()
	a := plan(h.v, h.now)
	if again := plan(h.v, h.now); !reflect.DeepEqual(a, again) {
		h.fail("the same view gives %+v and then %+v", a, again)
	}
	if d.State == sluice.StateDeleting && (len(a.ensure) > 0 || len(a.prepare) > 0) {
		h.fail("a deleted deployment is to run %+v", a)
	}
	for _, revision := range a.prepare {
		switch {
		case h.IntN(2) == 0:
		case h.broken[revision] && h.revisions%2 == 0 && revision != d.Serving:
			h.v.unpreparable[revision] = &sluice.Cause{Code: sluice.CauseUnresolvable}
		default:
			h.v.prepared[revision] = workload(revision)
		}
	}
	for _, e := range a.ensure {
		h.replicas[e.workload.ID] = e.replicas
	}
	for _, id := range a.remove {
		h.replicas[id] = 0
	}
	h.drain()
	// What has never served may go whole.
	stays := d.State != sluice.StateDeleting && (d.Serving != "" || d.State != sluice.StateFailed && a.done == nil)
	if floor := min(before, h.v.scale.Want); stays && h.ready() < floor {
		h.fail("%d ready instances became %d, with %d wanted: %+v", before, h.ready(), h.v.scale.Want, a)
	}
	if a.serving != nil {
		d.Serving = *a.serving
	}
	if a.done != nil {
		h.say("operation ended: %v", a.done.cause)
		h.v.operation, d.State = nil, sluice.StateSucceeded
		if a.done.cause != nil {
			d.State = sluice.StateFailed
		}
	}
	return a.purge
}

// drain marks those that are too many, as the contract of engines says: first
// what does not serve, then the youngest.
func (h *history) drain() {
	for id, want := range h.replicas {
		var live []int
		for n, i := range h.v.instances {
			if i.Workload == id && i.live() && i.Phase != engine.Draining {
				live = append(live, n)
			}
		}
		slices.SortFunc(live, func(a, b int) int {
			x, y := h.v.instances[a], h.v.instances[b]
			return cmp.Or(cmp.Compare(last(x.ready), last(y.ready)), y.Created.Compare(x.Created))
		})
		for _, n := range live[:max(0, len(live)-want)] {
			h.v.instances[n].Phase, h.v.instances[n].Asked = engine.Draining, true
		}
	}
}

// world lets time pass: copies are made, become ready, fail, end.
func (h *history) world() {
	h.now = h.now.Add(10 * time.Millisecond)
	for id, want := range h.replicas {
		live := 0
		for _, i := range h.v.instances {
			if i.Workload == id && i.live() && i.Phase != engine.Draining {
				live++
			}
		}
		if live < want && h.IntN(3) > 0 {
			h.made++
			h.v.instances = append(h.v.instances, seen{asked: true, Instance: engine.Instance{ID: fmt.Sprint(h.made), Workload: id,
				Phase: engine.Running, Created: h.now, Started: h.now}})
		}
	}
	for n := range h.v.instances {
		if i := &h.v.instances[n]; i.live() && h.IntN(4) == 0 {
			h.step(i)
		}
	}
	if len(h.v.instances) > 40 { // an engine forgets
		h.v.instances = slices.DeleteFunc(h.v.instances, func(i seen) bool {
			return !i.live() && (h.v.operation == nil || i.Ended.Before(h.v.operation.Started))
		})
	}
	if h.IntN(50) == 0 { // a restarted server knows less
		h.say("another server")
		for n := range h.v.instances {
			h.v.instances[n].asked = h.v.instances[n].ready
		}
		clear(h.v.prepared)
	}
	if !h.calm && h.IntN(80) == 0 {
		h.say("all is stopped, and started again")
		for n := range h.v.instances {
			if i := &h.v.instances[n]; i.live() {
				i.Phase, i.ready, i.Asked, i.Ended = engine.Succeeded, false, true, h.now
			}
		}
		clear(h.replicas)
		clear(h.v.prepared)
	}
}

func (h *history) step(i *seen) {
	boom := &sluice.Cause{Code: sluice.CauseInitRaised}
	broken := h.broken[strings.TrimSuffix(i.Workload, "-w")]
	switch {
	case i.Phase == engine.Draining:
		i.Phase, i.ready, i.Ended = engine.Succeeded, false, h.now
	case !i.ready && broken && h.IntN(2) == 0:
		h.say("%s of %s fails", i.ID, i.Workload)
		i.Phase, i.cause, i.Ended = engine.Failed, boom, h.now
	case !i.ready && !(broken && h.IntN(3) > 0):
		i.ready, i.everReady = true, true
	case i.ready && !h.calm && h.IntN(60) == 0:
		h.say("%s of %s crashes", i.ID, i.Workload)
		i.Phase, i.ready, i.cause, i.Ended = engine.Failed, false, boom, h.now
	}
}

func (h *history) ready() int {
	n := 0
	for _, i := range h.v.instances {
		if i.ready && i.live() && i.Phase != engine.Draining {
			n++
		}
	}
	return n
}

// settled reports whether exactly what is wanted runs, and nothing else.
func (h *history) settled() bool {
	d := h.v.deployment
	if h.v.operation != nil {
		return false
	}
	want := ""
	if target := h.v.target(); target != "" {
		want = workload(target).ID
	}
	for _, i := range h.v.instances {
		if i.live() && i.Workload != want {
			return false
		}
	}
	if want == "" || h.broken[strings.TrimSuffix(want, "-w")] {
		return true // what is broken by itself is tried for ever
	}
	ready, live := h.v.count(want)
	return ready == h.v.scale.Want && live == ready && (d.State == sluice.StateFailed || d.Serving == d.Revision)
}

// In every history: at no moment do our own actions take the number of ready
// instances below what was ready and is wanted, so that the last one of an
// unfinished rollout never goes; a deleted deployment starts nothing; and once
// nothing more happens, all comes to rest with exactly what is wanted, of the
// newest revision or, when that has failed, of the one before.
func TestEveryHistorySettles(t *testing.T) {
	ended := map[sluice.State]int{}
	for seed := range uint64(400) {
		h := newHistory(t, seed)
		for range 300 {
			h.user()
			if h.pass() {
				break
			}
			h.world()
		}
		h.calm = true
		for n := 0; !h.settled() && h.v.deployment.State != sluice.StateDeleting; n++ {
			if n == 20000 {
				h.fail("it does not settle: %+v, %d wanted, operation %+v", h.v.deployment, h.v.scale.Want, h.v.operation)
			}
			h.pass()
			h.world()
		}
		ended[h.v.deployment.State]++
		if h.v.deployment.State != sluice.StateDeleting {
			h.v.deployment.State = sluice.StateDeleting
			h.begin()
		}
		for n := 0; !h.pass(); n++ {
			if n == 5000 {
				h.fail("the deleted deployment does not go")
			}
			h.world()
		}
		if slices.ContainsFunc(h.v.instances, seen.live) {
			h.fail("the deleted deployment still lives")
		}
	}
	for _, state := range []sluice.State{sluice.StateSucceeded, sluice.StateFailed, sluice.StateDeleting} {
		if ended[state] < 20 {
			t.Errorf("%d histories ended %s: the test does not look at enough of them", ended[state], state)
		}
	}
}
