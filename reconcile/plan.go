package reconcile

import (
	"fmt"
	"slices"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

// view is one deployment as it is at this moment: all that a decision about it
// may depend on.
type view struct {
	deployment *sluice.Deployment
	scale      *sluice.Scale
	// operation is the one still running on this deployment, or nil.
	operation *sluice.Operation
	// prepared holds the workloads of the revisions whose environment is ready.
	prepared map[string]engine.Workload
	// unpreparable holds why a revision's environment could not be made.
	unpreparable map[string]*sluice.Cause
	instances    []seen
}

// seen is an instance with what its probes say.
type seen struct {
	engine.Instance
	asked bool // whether it was asked at all since we started
	ready bool
	// everReady tells a crash while serving from a failure to start.
	everReady bool
	phase     string // what the scoring server says it is doing: import, init, ready
	// cause is why it ended, when it did.
	cause *sluice.Cause
}

func (s seen) live() bool { return !s.Phase.Ended() }

// actions is what to do about one deployment. The zero value is: nothing.
type actions struct {
	prepare string // a revision whose environment is needed
	ensure  []ensure
	remove  []string // workload IDs
	serving *string  // the revision that serves from now on
	done    *outcome // the running operation has ended
	purge   bool     // nothing is left of it: its rows may go
}

type ensure struct {
	workload engine.Workload
	replicas int
}

// outcome is how an operation ended: well when cause is nil.
type outcome struct{ cause *sluice.Cause }

// plan decides what to do about one deployment. It is a pure function: the
// same view and time always give the same actions, and repeating actions that
// were already carried out changes nothing.
func plan(v view, now time.Time) actions {
	if v.deployment.State == sluice.StateDeleting {
		return planDelete(v)
	}
	revision := v.target()
	if revision == "" {
		return actions{remove: v.workloadsExcept("")}
	}
	workload, ok := v.prepared[revision]
	if !ok {
		if cause := v.unpreparable[revision]; cause != nil {
			return v.fail(cause)
		}
		return actions{prepare: revision}
	}
	if v.operation != nil {
		if cause := v.startFailure(workload.ID, now); cause != nil {
			return v.fail(cause, workload.ID)
		}
	}
	return v.converge(revision, workload)
}

// planDelete ends every workload the deployment ever had that may still run,
// those between two attempts at starting included, and lets go of the rows
// once nothing lives.
func planDelete(v view) actions {
	a := actions{purge: true}
	known := map[string]bool{}
	for _, i := range v.instances {
		if i.live() {
			a.purge = false
		}
		if !known[i.Workload] {
			known[i.Workload] = true
			a.remove = append(a.remove, i.Workload)
		}
	}
	for _, w := range v.prepared {
		if !known[w.ID] {
			known[w.ID] = true
			a.remove = append(a.remove, w.ID)
		}
	}
	slices.Sort(a.remove)
	return a
}

// target gives the revision that should run: the desired one, but what served
// before when the desired one has failed. "" when nothing should run.
func (v view) target() string {
	if v.deployment.State == sluice.StateFailed {
		return v.deployment.Serving
	}
	return v.deployment.Revision
}

// fail ends the operation with the cause and stops the workloads that were
// started for it. What serves is left alone.
func (v view) fail(cause *sluice.Cause, started ...string) actions {
	a := actions{}
	if v.operation != nil {
		a.done = &outcome{cause: cause}
	}
	serving := v.prepared[v.deployment.Serving].ID
	for _, id := range started {
		if id != serving {
			a.remove = append(a.remove, id)
		}
	}
	return a
}

// startFailure gives why the operation cannot succeed any more: an instance of
// the workload that ended, or took too long, without ever having been ready.
// Ended instances from before the operation do not count, nor do those whose
// end was not their own: all are asked to end when Sluice is stopped meanwhile,
// or lose their machine.
func (v view) startFailure(workload string, now time.Time) *sluice.Cause {
	bound := startBound(v.deployment.Spec.Readiness)
	for _, i := range v.instances {
		if i.Workload != workload || i.everReady || i.Asked || i.Reason == engine.Evicted || i.Created.Before(v.operation.Started) {
			continue
		}
		if i.Phase == engine.Failed || i.Phase == engine.Succeeded {
			return i.cause
		}
		if i.Phase == engine.Pending && i.Reason == engine.NoCapacity && now.Sub(i.Created) > bound {
			return noCapacityCause(i)
		}
		if !i.Started.IsZero() && i.Phase != engine.Draining && now.Sub(i.Started) > bound {
			return lateCause(i, now.Sub(i.Started), bound)
		}
	}
	return nil
}

// startBound is how long an instance may take to become ready: what the
// readiness probe allows before it gives up.
func startBound(p sluice.Probe) time.Duration {
	return p.InitialDelay + time.Duration(p.FailureThreshold)*p.Period
}

// noCapacityCause is for an instance that found no place in all that time:
// waiting longer would leave the operation without an end.
func noCapacityCause(i seen) *sluice.Cause {
	cause := sluice.Cause{Code: sluice.CauseInstanceType, Instance: i.ID,
		Message: "no place was found for the instance: " + i.Message, Hint: "choose another instance_type"}.Clean()
	return &cause
}

func lateCause(i seen, took, bound time.Duration) *sluice.Cause {
	phase := i.phase
	if phase == "" {
		phase = "starting"
	}
	return &sluice.Cause{
		Code:     sluice.CauseInitHangs,
		Instance: i.ID,
		Message:  fmt.Sprintf("the instance was not ready after %.0f s: it is still in %s", took.Seconds(), phase),
		Hint: fmt.Sprintf("readiness_probe bounds this at initial_delay + failure_threshold × period = %.0f s; "+
			"see what the script does with `sluice online-deployment get-logs`", bound.Seconds()),
	}
}

// converge moves replicas to the workload, a fifth at a time and at least one,
// never letting the number of ready instances fall below what is wanted
// because of it.
func (v view) converge(revision string, workload engine.Workload) actions {
	want := v.scale.Want
	ready, live := v.count(workload.ID)
	others := v.workloadsExcept(workload.ID)

	replicas := want
	if len(others) > 0 {
		replicas = min(want, ready+max(1, want/5))
	}
	a := actions{ensure: []ensure{{workload, replicas}}}
	if ready >= want {
		a.remove = others
	} else {
		a.ensure = append(a.ensure, v.shrink(others, want-ready)...)
	}
	if ready >= want && live <= want {
		if v.deployment.Serving != revision {
			a.serving = &revision
		}
		if v.operation != nil {
			a.done = &outcome{}
		}
	}
	return a
}

// shrink lowers the workload that serves now to the number still needed of it.
// Others, whose template is not known any more, stay until they are removed.
func (v view) shrink(others []string, needed int) []ensure {
	old, ok := v.prepared[v.deployment.Serving]
	if !ok {
		return nil
	}
	for _, id := range others {
		if _, live := v.count(id); id == old.ID && live > needed {
			return []ensure{{old, needed}}
		}
	}
	return nil
}

// count gives the workload's instances that serve, and those that live and do
// not drain.
func (v view) count(workload string) (ready, live int) {
	for _, i := range v.instances {
		if i.Workload != workload || !i.live() || i.Phase == engine.Draining {
			continue
		}
		live++
		if i.ready {
			ready++
		}
	}
	return ready, live
}

// workloadsExcept lists the workloads of this deployment that have live
// instances, without the one named.
func (v view) workloadsExcept(id string) []string {
	var out []string
	known := map[string]bool{id: true}
	for _, i := range v.instances {
		if i.live() && !known[i.Workload] {
			known[i.Workload] = true
			out = append(out, i.Workload)
		}
	}
	return out
}
