package enginetest

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/engine"
)

func TestEngineInMemoryPassesTheSuite(t *testing.T) {
	Run(t, func(t *testing.T) Harness {
		e := New()
		e.Program = Simulate
		t.Cleanup(e.Close)
		return Harness{Open: func(*testing.T) engine.Engine { return e }, Actor: []string{"actor", ActorMark}}
	})
}

// What does not run goes first, however old it is, and then the youngest.
func TestDrainingOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New()
		w := engine.Workload{ID: "w", Template: engine.Template{Restart: engine.RestartAlways, DrainDelay: time.Minute}}
		for n := 1; n <= 4; n++ {
			if err := e.Ensure(t.Context(), 1, w, n); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second) // so that their ages differ
		}
		for _, id := range []string{"w-2", "w-3", "w-4"} {
			e.Running(id)
		}
		for n, want := range []string{"w-1", "w-4", "w-3", "w-2"} {
			if err := e.Ensure(t.Context(), 1, w, 3-n); err != nil {
				t.Fatal(err)
			}
			all, err := e.Instances(t.Context(), engine.Selector{})
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			for _, i := range all {
				if i.Asked {
					asked++
				}
				if i.ID == want && !i.Asked {
					t.Errorf("with %d copies wanted %s is not asked to end", 3-n, want)
				}
			}
			if asked != n+1 {
				t.Errorf("with %d copies wanted %d are asked to end", 3-n, asked)
			}
		}
	})
}

// A caller's test plays with copies by hand, in a bubble.
func TestEngineIsScripted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New()
		w := engine.Workload{ID: "w", Template: engine.Template{Restart: engine.RestartAlways,
			Address: "unix://${run}/s", DrainDelay: 5 * time.Second}}
		ensure := func(n int) {
			t.Helper()
			if err := e.Ensure(t.Context(), 1, w, n); err != nil {
				t.Fatal(err)
			}
		}
		phases := func() (list []engine.Phase) {
			t.Helper()
			all, err := e.Instances(t.Context(), engine.Selector{})
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range all {
				list = append(list, i.Phase)
			}
			return list
		}
		expect := func(want ...engine.Phase) {
			t.Helper()
			if diff := cmp.Diff(want, phases()); diff != "" {
				t.Errorf("phases (-want +got):\n%s", diff)
			}
		}
		ensure(2)
		expect(engine.Pending, engine.Pending)
		e.Starting("w-1")
		e.Running("w-1")
		expect(engine.Running, engine.Pending)
		e.Exit("w-1", engine.Exit{Code: 1})
		expect(engine.Failed, engine.Pending)
		<-time.After(99 * time.Millisecond)
		expect(engine.Failed, engine.Pending)
		<-time.After(time.Millisecond)
		expect(engine.Failed, engine.Pending, engine.Pending)
		e.RunAll()
		ensure(1)
		expect(engine.Failed, engine.Running, engine.Draining)
		<-time.After(5 * time.Second)
		expect(engine.Failed, engine.Running, engine.Succeeded)
		e.Fail("w-2", engine.FilesMissing, "no such tree")
		<-time.After(time.Hour + time.Second)
		expect(engine.Pending) // the ended ones are forgotten, the failed one was replaced
		e.Break(errors.New("out of order"))
		if err := e.Ensure(t.Context(), 1, w, 1); err == nil {
			t.Error("a broken engine accepts")
		}
		if n := len(e.Calls()); n != 3 {
			t.Errorf("%d calls are recorded, want 3", n)
		}
	})
}
