package reconcile

import (
	"fmt"
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
	crashed.cause, crashed.Ended = boom, epoch.Add(time.Second)
	crashedNew := instance("b", "r2", engine.Failed, false)
	crashedNew.cause = boom
	slow := instance("a", "r1", engine.Running, false)
	slow.Started = epoch
	unasked := slow
	unasked.Address = "unix:///x"
	turned := slow
	turned.Address, turned.asked, turned.everReady, turned.turned = "unix:///x", true, true, epoch.Add(time.Minute)
	laterOperation := &sluice.Operation{Meta: sluice.Meta{Name: "op"}, Started: epoch.Add(time.Hour)}
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
			want: actions{prepare: []string{"r1"}},
		},
		{
			name: "what serves is brought back when everything was stopped in the middle of an update",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 2}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: []seen{stoppedWithUs}},
			want: actions{ensure: []ensure{{workload("r2"), 2}, {workload("r1"), 2}}},
		},
		{
			name: "its environment does not wait for that of the new revision",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 1}, operation: operation()},
			want: actions{prepare: []string{"r1", "r2"}},
		},
		{
			name: "nor does what serves, once its environment is there",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 1}, operation: operation(), prepared: prepared("r1")},
			want: actions{prepare: []string{"r2"}, ensure: []ensure{{workload("r1"), 1}}},
		},
		{
			name: "what served and can be prepared no more holds nothing up",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r2"), unpreparable: map[string]*sluice.Cause{"r1": boom}},
			want: actions{ensure: []ensure{{workload("r2"), 1}}},
		},
		{
			name: "only so much of what served is brought back as the new revision does not do yet",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 2}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: []seen{instance("new", "r2", engine.Running, true)}},
			want: actions{ensure: []ensure{{workload("r2"), 2}, {workload("r1"), 1}}},
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
			name: "a rollout that fails half-way keeps its ready instances until the old ones are back",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 10}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: slices.Concat(many("r1", 8, true), many("r2", 2, true), []seen{crashedNew})},
			want: actions{done: &outcome{cause: boom}, ensure: []ensure{{workload("r2"), 2}}},
		},
		{
			name: "and the old ones come back at once, as far as the new ones have taken their place",
			view: view{deployment: deployment(sluice.StateFailed, "r2", "r1"), scale: &sluice.Scale{Want: 10},
				prepared: prepared("r1", "r2"), instances: slices.Concat(many("r1", 8, true), many("r2", 2, true))},
			want: actions{ensure: []ensure{{workload("r1"), 10}}},
		},
		{
			name: "what is left of a failed rollout makes place for each that is ready again",
			view: view{deployment: deployment(sluice.StateFailed, "r2", "r1"), scale: &sluice.Scale{Want: 10},
				prepared: prepared("r1", "r2"), instances: slices.Concat(many("r1", 9, true), many("r2", 2, true))},
			want: actions{ensure: []ensure{{workload("r1"), 10}, {workload("r2"), 1}}},
		},
		{
			name: "instances that are starting are not made fewer because a failed rollout is left",
			view: view{deployment: deployment(sluice.StateFailed, "r2", "r1"), scale: &sluice.Scale{Want: 10},
				prepared: prepared("r1", "r2"), instances: slices.Concat(many("r1", 10, false), many("r2", 1, true))},
			want: actions{ensure: []ensure{{workload("r1"), 10}}},
		},
		{
			name: "when count and revision change, the count comes first",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 3}, operation: scaleFirst(),
				prepared: prepared("r1", "r2"), instances: many("r1", 1, true)},
			want: actions{ensure: []ensure{{workload("r1"), 3}}},
		},
		{
			name: "and then the revision",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 3}, operation: scaleFirst(),
				prepared: prepared("r1", "r2"), instances: many("r1", 3, true)},
			want: actions{ensure: []ensure{{workload("r2"), 1}}},
		},
		{
			name: "a count that what serves cannot reach does not hold up what may mend it",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 3}, operation: scaleFirst(),
				prepared: prepared("r1", "r2"), instances: append(many("r1", 1, true), crashed)},
			want: actions{ensure: []ensure{{workload("r2"), 1}}},
		},
		{
			name: "instances that were ready and end again and again fail the operation",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 2}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: append(many("r1", 1, true), flaps(boom)...)},
			want: actions{done: &outcome{cause: boom}, remove: []string{"r2-w"}},
		},
		{
			name: "an instance that somebody killed while it started is replaced",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: append(many("r1", 1, true), killed(2, boom)...)},
			want: actions{ensure: []ensure{{workload("r2"), 1}}},
		},
		{
			name: "but not for ever",
			view: view{deployment: deployment(sluice.StateUpdating, "r2", "r1"), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1", "r2"), instances: append(many("r1", 1, true), killed(3, boom)...)},
			want: actions{done: &outcome{cause: boom}, remove: []string{"r2-w"}},
		},
		{
			name: "an instance that stays in init longer than its probe allows fails the operation",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1"), instances: []seen{slow}},
			at:   epoch.Add(311 * time.Second),
			want: actions{done: &outcome{cause: lateCause(slow, 311*time.Second, 310*time.Second)}, remove: []string{"r1-w"}},
		},
		{
			name: "one that nobody has asked since we started does not",
			view: view{deployment: deployment(sluice.StateCreating, "r1", ""), scale: &sluice.Scale{Want: 1}, operation: operation(),
				prepared: prepared("r1"), instances: []seen{unasked}},
			at:   epoch.Add(time.Hour),
			want: actions{ensure: []ensure{{workload("r1"), 1}}},
		},
		{
			name: "one that was ready and is so no more is waited for",
			view: view{deployment: deployment(sluice.StateUpdating, "r1", "r1"), scale: &sluice.Scale{Want: 1}, operation: laterOperation,
				prepared: prepared("r1"), instances: []seen{turned}},
			at:   laterOperation.Started.Add(309 * time.Second),
			want: actions{ensure: []ensure{{workload("r1"), 1}}},
		},
		{
			name: "but not for ever, although it is older than the operation",
			view: view{deployment: deployment(sluice.StateUpdating, "r1", "r1"), scale: &sluice.Scale{Want: 1}, operation: laterOperation,
				prepared: prepared("r1"), instances: []seen{turned}},
			at:   laterOperation.Started.Add(311 * time.Second),
			want: actions{done: &outcome{cause: lateCause(turned, 311*time.Second, 310*time.Second)}},
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

func scaleFirst() *sluice.Operation {
	op := operation()
	op.ScaleFirst = true
	return op
}

// flaps are instances of r2 that served for a moment.
func flaps(cause *sluice.Cause) []seen {
	all := many("r2", flapping, false)
	for n := range all {
		all[n].Phase, all[n].everReady, all[n].cause = engine.Failed, true, cause
	}
	return all
}

// killed are instances of r2 that somebody ended while they started: by a signal,
// or with their shim.
func killed(n int, cause *sluice.Cause) []seen {
	all := many("r2", n, false)
	for i := range all {
		all[i].Phase, all[i].Reason, all[i].Started, all[i].cause = engine.Failed, engine.Exited, epoch, cause
		if i%2 == 0 {
			all[i].Exit = &engine.Exit{Signal: "SIGKILL", Code: 137}
		}
	}
	return all
}

func many(revision string, n int, ready bool) []seen {
	var out []seen
	for i := range n {
		out = append(out, instance(fmt.Sprintf("%s-%d", revision, i), revision, engine.Running, ready))
	}
	return out
}
