package reconcile

import (
	"cmp"
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
	turned    time.Time // when it was last seen to become ready, or to be so no more
	phase     string    // what the scoring server says it is doing: import, init, ready
	// cause is why it ended, when it did.
	cause *sluice.Cause
	told  told
}

func (s seen) live() bool { return !s.Phase.Ended() }

// failed reports whether it ended, and neither because it was asked to nor
// because it lost its machine.
func (s seen) failed() bool {
	return s.Phase.Ended() && !s.Asked && s.Reason != engine.Evicted
}

// actions is what to do about one deployment. The zero value is: nothing.
type actions struct {
	prepare []string // revisions whose environment is needed
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
		return v.sustain(actions{prepare: []string{revision}}, "")
	}
	if old, first := v.scaleFirst(workload.ID, now); first {
		return v.converge(v.deployment.Serving, old).withoutEnd()
	}
	if v.operation != nil {
		if cause := v.startFailure(workload.ID, now); cause != nil {
			return v.fail(cause, workload.ID)
		}
	}
	return v.sustain(v.converge(revision, workload), workload.ID)
}

// sustain adds to the steps towards a new workload, "" while it is not known,
// what brings back what serves when nothing of it is left: everything was
// stopped in the middle of an update, or the machine was, or it came from a
// backup. Until the new revision is ready, which it may never be, nothing else
// can answer.
func (v view) sustain(a actions, workload string) actions {
	serving := v.deployment.Serving
	if serving == "" || serving == v.target() || a.done != nil || len(v.workloadsExcept(workload)) > 0 {
		return a
	}
	ready, _ := v.count(workload)
	w, known := v.prepared[serving]
	switch needed := v.scale.Want - ready; {
	case needed <= 0:
	case !known && v.unpreparable[serving] == nil:
		a.prepare = append([]string{serving}, a.prepare...)
	case known && w.ID != workload:
		a.ensure = append(a.ensure, ensure{w, needed})
	}
	return a
}

// withoutEnd gives the actions of a step that is not the operation's last.
func (a actions) withoutEnd() actions {
	a.serving, a.done = nil, nil
	return a
}

// scaleFirst reports whether what serves has to come to the new count before
// the new revision is begun, and gives it. Once there is an instance of the new
// one that step is over, and so it is when an instance of what serves fails:
// the new revision may be what mends that.
func (v view) scaleFirst(workload string, now time.Time) (engine.Workload, bool) {
	old, known := v.prepared[v.deployment.Serving]
	if !known || v.operation == nil || !v.operation.ScaleFirst || old.ID == workload {
		return old, false
	}
	for _, i := range v.instances {
		begun := i.Workload == workload && !i.Created.Before(v.operation.Started)
		failed := i.Workload == old.ID && i.failed() && !i.Ended.Before(v.operation.Started)
		if begun || failed {
			return old, false
		}
	}
	ready, live := v.count(old.ID)
	if ready >= v.scale.Want && live <= v.scale.Want {
		return old, false
	}
	return old, v.startFailure(old.ID, now) == nil
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

// fail ends the operation with the cause and takes back what was started for
// it. Of that, what is ready stays until what serves has its full number again:
// it has taken the place of some.
func (v view) fail(cause *sluice.Cause, started ...string) actions {
	a := actions{}
	if v.operation != nil {
		a.done = &outcome{cause: cause}
	}
	serving := v.prepared[v.deployment.Serving].ID
	for _, id := range started {
		if id == serving {
			continue
		}
		ready, _ := v.count(id)
		if w, known := v.prepared[v.deployment.Revision]; ready > 0 && v.deployment.Serving != "" && known && w.ID == id {
			a.ensure = append(a.ensure, ensure{w, ready})
		} else {
			a.remove = append(a.remove, id)
		}
	}
	return a
}

// struck reports whether somebody else ended it: a signal that no program sends
// to itself, or the end of what watched over it.
func (s seen) struck() bool {
	if s.Reason != engine.Exited || s.Started.IsZero() {
		return false
	}
	return s.Exit == nil || s.Exit.Signal == "SIGKILL" && !s.Exit.OOM
}

// strikes is how many instances somebody else may end before that is taken for
// the workload's own fault.
const strikes = 3

// flapping is after how many ends of instances that had been ready a workload
// is taken to be unable to serve, or as many as there should be instances.
const flapping = 5

// startFailure gives why the operation cannot succeed any more: an instance of
// the workload that ended, or took too long, without ever having been ready; or
// that ready ones end again and again. One or two that somebody killed are
// replaced as they are when they serve. Ended instances from before the operation
// do not count, nor do those whose end was not their own: all are asked to end
// when Sluice is stopped meanwhile, or lose their machine. One that was ready and
// stays unready is waited for as long as one that starts.
func (v view) startFailure(workload string, now time.Time) *sluice.Cause {
	bound := startBound(v.deployment.Spec.Readiness)
	ends, struck := 0, 0
	for _, i := range v.instances {
		if i.Workload != workload || i.Asked || i.Reason == engine.Evicted {
			continue
		}
		if since := later(i.waiting(), v.operation.Started); !i.waiting().IsZero() && now.Sub(since) > bound {
			return lateCause(i, now.Sub(since), bound)
		}
		if i.Created.Before(v.operation.Started) {
			continue
		}
		switch {
		case !i.failed():
		case i.everReady:
			if ends++; ends >= max(flapping, v.scale.Want) {
				return i.cause
			}
		case i.struck():
			if struck++; struck >= strikes {
				return i.cause
			}
		default:
			return i.cause
		}
	}
	return nil
}

// waiting gives since when an instance has to become ready, zero when it has not.
func (s seen) waiting() time.Time {
	switch {
	case !s.live() || s.ready || s.Phase == engine.Draining:
		return time.Time{}
	case s.Address != "" && !s.asked: // it may be ready for long: we have just started
		return time.Time{}
	case s.everReady:
		return s.turned
	case s.Phase == engine.Pending && s.Reason == engine.NoCapacity:
		return s.Created
	}
	return s.Started
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
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
	if i.Phase == engine.Pending && i.Reason == engine.NoCapacity {
		return noCapacityCause(i)
	}
	phase := i.phase
	if phase == "" {
		phase = "starting"
	}
	c := &sluice.Cause{
		Code:     sluice.CauseInitHangs,
		Instance: i.ID,
		Message:  fmt.Sprintf("the instance was not ready after %.0f s: it is still in %s", took.Seconds(), phase),
		Hint: fmt.Sprintf("readiness_probe bounds this at initial_delay + failure_threshold × period = %.0f s; "+
			"`%s` shows what it wrote", bound.Seconds(), showLog(i.Instance)),
	}
	if i.everReady {
		c.Message = fmt.Sprintf("the instance was ready, and then was not for %.0f s: it is in %s", took.Seconds(), phase)
	}
	if at := i.told.at; at != nil && i.told.phase == i.phase {
		c.File, c.Line, c.Evidence = at.file, at.line, at.evidence()
		c.Message += ", " + at.sentence()
	}
	return c
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
		replicas = min(want, max(live, ready+max(1, want/5)))
	}
	a := actions{ensure: []ensure{{workload, replicas}}}
	v.release(&a, others, max(0, want-ready))
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

// release lets go of what is not needed of the workloads that are being
// replaced: together they keep as many ready instances as are still needed.
// What serves comes before what is left of a rollout that failed, and keeps
// those that are being restarted as well. A workload whose template is not known
// any more cannot be made smaller: it stays as it is while any of it is needed.
func (v view) release(a *actions, others []string, needed int) {
	known := map[string]engine.Workload{}
	for _, w := range v.prepared {
		known[w.ID] = w
	}
	serving := v.prepared[v.deployment.Serving].ID
	slices.SortStableFunc(others, func(a, b string) int {
		return cmp.Compare(last(a != serving), last(b != serving))
	})
	for _, id := range others {
		ready, live := v.count(id)
		keep := min(ready, needed)
		if id == serving {
			keep = needed
		}
		needed -= min(ready, needed)
		w, knows := known[id]
		switch {
		case keep == 0:
			a.remove = append(a.remove, id)
		case knows && live > keep:
			a.ensure = append(a.ensure, ensure{w, keep})
		}
	}
}

// last orders what it is true of after the rest.
func last(is bool) int {
	if is {
		return 1
	}
	return 0
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
