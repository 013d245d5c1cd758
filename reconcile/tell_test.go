package reconcile_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/store"
)

// events gives what is told of the deployment, in order.
func (w *world) events() []*sluice.DeploymentEvent {
	w.t.Helper()
	all, err := store.ReadAll[*sluice.DeploymentEvent](w.t.Context(), w.db,
		sluice.Query{Workspace: "default", Kind: sluice.KindDeploymentEvent, Name: "iris/blue"})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// happened counts the events of a kind.
func (w *world) happened(what sluice.Happening) int {
	n := 0
	for _, e := range w.events() {
		if e.What == what {
			n++
		}
	}
	return n
}

func TestWhatHappensIsTold(t *testing.T) {
	w := newWorld(t)
	stop := w.run()
	w.create(1)
	w.until("the operation is done", w.done("op1"))
	var got []sluice.Happening
	for _, e := range w.events() {
		got = append(got, e.What)
		if e.Operation != "op1" || e.Verb != sluice.VerbCreate || e.Message == "" || e.At.IsZero() {
			t.Errorf("the event is %+v, want it with its operation, time and a sentence", e)
		}
	}
	want := []sluice.Happening{sluice.EventEnvironmentReady, sluice.EventStarted, sluice.EventReady, sluice.EventOperationDone}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events, written by the time the operation is done (-want +got):\n%s", diff)
	}

	// None of it cost the start a change of its own.
	w.mu.Lock()
	for _, c := range w.written {
		with := 0
		for _, r := range c.Put {
			if r.Key().Kind == sluice.KindDeploymentEvent {
				with++
			}
		}
		if with > 0 && with == len(c.Put) {
			t.Errorf("a change holds %d events and nothing else", with)
		}
	}
	w.mu.Unlock()

	// Another server finds what was told and tells nothing again; and while
	// nothing happens, nothing is written.
	stop()
	before, told := w.latest(), w.events()
	stop = w.run()
	w.until("the next server has looked", func() bool { return w.backends() == 1 })
	w.crash <- engine.Exit{Code: 7}
	w.until("the end is told", func() bool { return w.happened(sluice.EventEnded) == 1 && w.happened(sluice.EventReady) == 2 })
	if diff := cmp.Diff(told, w.events()[:len(told)]); diff != "" {
		t.Errorf("what was told before is (-want +got):\n%s", diff)
	}
	if n := w.latest() - before; n > 8 {
		t.Errorf("%d changes were written for one end and one start", n)
	}
	end := w.events()[slices.IndexFunc(w.events(), func(e *sluice.DeploymentEvent) bool { return e.What == sluice.EventEnded })]
	if end.Cause == nil || end.Cause.Code != sluice.CauseInstanceExited || end.Cause.Instance != end.Instance || end.Instance == "" {
		t.Errorf("the end is told as %+v", end)
	}
	stop()

	// Nothing of it is left once the deployment is deleted.
	w.run()
	d := w.deployment()
	d.State, d.Operation = sluice.StateDeleting, "op2"
	w.commit(d, w.operation("op2", sluice.VerbDelete))
	w.until("the deletion is done", w.done("op2"))
	if left := w.events(); len(left) > 0 {
		t.Errorf("%d events outlive their deployment", len(left))
	}
}

func (w *world) latest() int64 {
	w.t.Helper()
	n, err := w.db.Latest(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// A failed start tells why, as the operation does.
func TestAFailedStartIsTold(t *testing.T) {
	w := newWorld(t)
	w.setBehave(fails("init() raised ValueError: boom"))
	w.run()
	w.create(1)
	w.until("the operation is done", w.done("op1"))
	cause := w.op("op1").Cause
	for _, what := range []sluice.Happening{sluice.EventEnded, sluice.EventOperationFailed} {
		at := slices.IndexFunc(w.events(), func(e *sluice.DeploymentEvent) bool { return e.What == what })
		if at < 0 {
			t.Fatalf("%s is not told", what)
		}
		if diff := cmp.Diff(cause, w.events()[at].Cause); diff != "" {
			t.Errorf("the cause of %s (-operation +event):\n%s", what, diff)
		}
	}
}

// Nothing is written while nothing happens.
func TestAQuietDeploymentWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.create(1)
	w.until("the operation is done", w.done("op1"))
	var before int64
	w.until("nothing is left to write", func() bool {
		last := before
		before = w.latest()
		return last == before
	})
	passes := w.engine.Calls()
	w.until("three more passes were made", func() bool { return len(w.engine.Calls()) >= len(passes)+3 })
	if n := w.latest(); n != before {
		t.Errorf("%d changes were written while nothing happened", n-before)
	}
}
