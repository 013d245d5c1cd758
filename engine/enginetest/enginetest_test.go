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
