package reconcile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func workload(revision string) engine.Workload { return engine.Workload{ID: revision + "-w"} }

func prepared(revisions ...string) map[string]engine.Workload {
	m := map[string]engine.Workload{}
	for _, r := range revisions {
		m[r] = workload(r)
	}
	return m
}

func deployment(state sluice.State, revision, serving string) *sluice.Deployment {
	return &sluice.Deployment{
		Meta: sluice.Meta{UID: "u", Workspace: "default", Name: "blue"}, Endpoint: "iris",
		Spec: sluice.Spec{Readiness: sluice.DefaultProbe()}, State: state, Revision: revision, Serving: serving,
	}
}

func operation() *sluice.Operation {
	return &sluice.Operation{Meta: sluice.Meta{Name: "op"}, Status: sluice.OperationInProgress, Started: epoch}
}

func instance(id, revision string, phase engine.Phase, ready bool) seen {
	return seen{Instance: engine.Instance{ID: id, Workload: workload(revision).ID, Phase: phase, Created: epoch.Add(time.Second)},
		ready: ready, everReady: ready}
}

func TestPlan(t *testing.T) {
	boom := &sluice.Cause{Code: sluice.CauseInitRaised, Message: "init() raised ValueError: boom"}
	crashed := instance("a", "r1", engine.Failed, false)
	crashed.cause = boom
	slow := instance("a", "r1", engine.Running, false)
	slow.Started = epoch
	stoppedWithUs := instance("a", "r1", engine.Succeeded, false)
	stoppedWithUs.Asked, stoppedWithUs.cause = true, boom
	lostMachine := instance("b", "r1", engine.Failed, false)
	lostMachine.Reason, lostMachine.cause = engine.Evicted, boom
	homeless := instance("a", "r1", engine.Pending, false)
	homeless.Created, homeless.Reason, homeless.Message = epoch, engine.NoCapacity, "It asks for 4 GPUs, and there are none."
	r2 := "r2"

	tests := []struct {
		name string
		view view
		at   time.Time
		want actions
	}{
		{
			name: "a new deployment needs its environment",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1}, operation: operation()},
			want: actions{prepare: "r1"},
		},
		{
			name: "an environment that cannot be made fails the operation",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1}, operation: operation(),
				unpreparable: map[string]*sluice.Cause{"r1": boom}},
			want: actions{done: &outcome{cause: boom}},
		},
		{
			name: "all instances are started at once when nothing served before",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 10}, operation: operation(), prepared: prepared("r1")},
			want: actions{ensure: []ensure{{workload("r1"), 10}}},
		},
		{
			name: "an instance that ends before it was ready fails the operation and its workload goes",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1"), instances: []seen{crashed}},
			want: actions{done: &outcome{cause: boom}, remove: []string{"r1-w"}},
		},
		{
			name: "the end of an instance from before the operation does not count",
			view: view{deployment: deployment(sluice.StateUpdating, "r1", ""), scale: &sluice.Scale{Want: 1},
				operation: &sluice.Operation{Started: epoch.Add(time.Hour)}, prepared: prepared("r1"), instances: []seen{crashed}},
			at:   epoch.Add(time.Hour),
			want: actions{ensure: []ensure{{workload("r1"), 1}}},
		},
		{
			name: "an operation goes on when Sluice or the machine was stopped and started meanwhile",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1"), instances: []seen{stoppedWithUs, lostMachine}},
			want: actions{ensure: []ensure{{workload("r1"), 1}}},
		},
		{
			name: "a crash while serving fails nothing",
			view: view{deployment: deployment(sluice.StateSucceeded, "r1", "r1"), scale: &sluice.Scale{Want: 1}, prepared: prepared("r1"),
				instances: []seen{crashed}},
			want: actions{ensure: []ensure{{workload("r1"), 1}}},
		},
		{
			name: "a failed update leaves the old revision serving",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: []seen{instance("old", "r1", engine.Running, true), func() seen {
					s := instance("new", "r2", engine.Failed, false)
					s.cause = boom
					return s
				}()}},
			want: actions{done: &outcome{cause: boom}, remove: []string{"r2-w"}},
		},
		{
			name: "after a failed update the old revision is kept at its count",
			view: view{deployment: deployment(sluice.StateFailed, "r2", "r1"), scale: &sluice.Scale{Want: 2}, prepared: prepared("r1"),
				instances: []seen{instance("old", "r1", engine.Running, true)}},
			want: actions{ensure: []ensure{{workload("r1"), 2}}},
		},
		{
			name: "a rollout adds one and keeps the old ones until it is ready",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: []seen{instance("old", "r1", engine.Running, true)}},
			want: actions{ensure: []ensure{{workload("r2"), 1}}},
		},
		{
			name: "a rollout ends when the new ones are ready, and the old ones go",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: []seen{instance("old", "r1", engine.Running, true), instance("new", "r2", engine.Running, true)}},
			want: actions{ensure: []ensure{{workload("r2"), 1}}, remove: []string{"r1-w"}, serving: &r2, done: &outcome{}},
		},
		{
			name: "ten instances are replaced two at a time",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 10}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: append(many("r1", 10, true), many("r2", 2, true)...)},
			want: actions{ensure: []ensure{{workload("r2"), 4}, {workload("r1"), 8}}},
		},
		{
			name: "an instance that stays in init longer than its probe allows fails the operation",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1"), instances: []seen{slow}},
			at:   epoch.Add(311 * time.Second),
			want: actions{done: &outcome{cause: lateCause(slow, 311*time.Second, 310*time.Second)}, remove: []string{"r1-w"}},
		},
		{
			name: "an instance that finds no place is waited for",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1"), instances: []seen{homeless}},
			at:   epoch.Add(310 * time.Second),
			want: actions{ensure: []ensure{{workload("r1"), 1}}},
		},
		{
			name: "but not for ever",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1"), instances: []seen{homeless}},
			at:   epoch.Add(311 * time.Second),
			want: actions{done: &outcome{cause: noCapacityCause(homeless)}, remove: []string{"r1-w"}},
		},
		{
			name: "scaling down is done when the surplus drains",
			view: view{deployment: deployment(sluice.StateScaling, "r1", "r1"), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1"), instances: []seen{instance("a", "r1", engine.Running, true), instance("b", "r1", engine.Draining, true)}},
			want: actions{ensure: []ensure{{workload("r1"), 1}}, done: &outcome{}},
		},
		{
			name: "a deleted deployment ends what runs",
			view: view{deployment: deployment(sluice.StateDeleting, "r1", "r1"), scale: &sluice.Scale{Want: 1}, prepared: prepared("r1"),
				instances: []seen{instance("a", "r1", engine.Running, true)}},
			want: actions{remove: []string{"r1-w"}},
		},
		{
			name: "a deleted deployment is let go when nothing lives, restarts included",
			view: view{deployment: deployment(sluice.StateDeleting, "r1", "r1"), scale: &sluice.Scale{Want: 1},
				instances: []seen{instance("a", "r1", engine.Failed, false)}},
			want: actions{remove: []string{"r1-w"}, purge: true},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at := test.at
			if at.IsZero() {
				at = epoch.Add(2 * time.Second)
			}
			got := plan(test.view, at)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(actions{}, ensure{}, outcome{})); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func many(revision string, n int, ready bool) []seen {
	var out []seen
	for i := range n {
		out = append(out, instance(fmt.Sprintf("%s-%d", revision, i), revision, engine.Running, ready))
	}
	return out
}

// history is a world in which plan's actions are carried out in random order
// and at random speed.
type history struct {
	*rand.Rand
	v      view
	counts map[string]int // replicas asked for, by workload
	next   int
	now    time.Time
}

func (h *history) apply(t *testing.T, a actions) {
	d := h.v.deployment
	if a.prepare != "" && h.IntN(2) == 0 {
		h.v.prepared[a.prepare] = workload(a.prepare)
	}
	for _, e := range a.ensure {
		if d.State == sluice.StateDeleting && e.replicas > 0 {
			t.Errorf("a deleted deployment is asked to run %d of %s", e.replicas, e.workload.ID)
		}
		h.counts[e.workload.ID] = e.replicas
	}
	for _, id := range a.remove {
		h.counts[id] = 0
	}
	if a.serving != nil {
		d.Serving = *a.serving
	}
	if a.done != nil {
		h.v.operation, d.State = nil, sluice.StateSucceeded
		if a.done.cause != nil {
			d.State = sluice.StateFailed
		}
	}
}

// engine moves one random step: starts, readies, drains or ends an instance.
func (h *history) engine() {
	for id, want := range h.counts {
		live := 0
		for _, i := range h.v.instances {
			if i.Workload == id && i.live() && i.Phase != engine.Draining {
				live++
			}
		}
		if live < want {
			h.next++
			h.v.instances = append(h.v.instances, seen{Instance: engine.Instance{ID: fmt.Sprint(h.next), Workload: id,
				Phase: engine.Running, Created: h.now, Started: h.now}})
		}
		for n := range h.v.instances {
			// Not ready first, as the contract says.
			i := &h.v.instances[n]
			if live > want && i.Workload == id && i.live() && i.Phase != engine.Draining && !i.ready {
				i.Phase = engine.Draining
				live--
			}
		}
		for n := range h.v.instances {
			i := &h.v.instances[n]
			if live > want && i.Workload == id && i.live() && i.Phase != engine.Draining {
				i.Phase = engine.Draining
				live--
			}
		}
	}
	if len(h.v.instances) == 0 {
		return
	}
	i := &h.v.instances[h.IntN(len(h.v.instances))]
	switch {
	case i.Phase == engine.Draining:
		i.Phase, i.ready = engine.Succeeded, false
	case i.live():
		i.ready, i.everReady = true, true
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

// In every history a rollout settles with exactly what is wanted of the newest
// revision, and at no moment do our own actions take the number of ready
// instances below what was ready and wanted when it began.
func TestPlanSettles(t *testing.T) {
	for seed := range uint64(300) {
		h := &history{Rand: rand.New(rand.NewPCG(seed, 1)), counts: map[string]int{}, now: epoch}
		want := 1 + h.IntN(12)
		h.v = view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: want},
			operation: operation(), prepared: map[string]engine.Workload{}}
		settle := func(what string, done func() bool) {
			floor := min(h.ready(), h.v.scale.Want)
			for range 5000 {
				h.now = h.now.Add(10 * time.Millisecond)
				h.apply(t, plan(h.v, h.now))
				h.engine()
				if n := h.ready(); n < floor {
					t.Fatalf("seed %d, %s: %d ready instances, must not fall below %d", seed, what, n, floor)
				}
				if done() {
					return
				}
			}
			t.Fatalf("seed %d: %s did not settle: %+v", seed, what, h.v.deployment)
		}
		settle("create", func() bool { return h.v.operation == nil })
		for n := range 3 {
			revision := fmt.Sprintf("r%d", n+2)
			h.v.deployment.Revision, h.v.deployment.State, h.v.operation = revision, sluice.StateUpdating, operation()
			settle("update", func() bool { return h.v.operation == nil })
			if h.v.deployment.Serving != revision {
				t.Fatalf("seed %d: %s serves after an update to %s", seed, h.v.deployment.Serving, revision)
			}
			h.v.scale.Want, h.v.deployment.State, h.v.operation = 1+h.IntN(12), sluice.StateScaling, operation()
			settle("scale", func() bool { return h.v.operation == nil })
			if n := h.ready(); n < h.v.scale.Want {
				t.Fatalf("seed %d: %d ready after scaling to %d", seed, n, h.v.scale.Want)
			}
		}
		h.v.deployment.State = sluice.StateDeleting
		purged := false
		for range 5000 {
			a := plan(h.v, h.now)
			h.apply(t, a)
			h.engine()
			if purged = a.purge; purged {
				break
			}
		}
		if !purged || slices.ContainsFunc(h.v.instances, seen.live) {
			t.Fatalf("seed %d: the deleted deployment still lives", seed)
		}
	}
}
