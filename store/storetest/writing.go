package storetest

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
)

// clock is a clock that tests set.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.micros.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.micros.Add(d.Microseconds()) }

var writing = map[string]func(*testing.T, Opener){
	"a resource comes back as it was put": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		d := &sluice.Deployment{Meta: meta("blue"), Endpoint: "iris", State: sluice.StateCreating,
			Spec: sluice.Spec{InstanceType: "Standard_DS3_v2", Request: sluice.DefaultRequestSettings(),
				Liveness: sluice.DefaultProbe(), Readiness: sluice.DefaultProbe(),
				EnvironmentVariables: map[string]string{"A": "\x00\u2028<é>"}}}
		d.UID, d.Description = "u-1", "plain 'text' \"quoted\" \\ \n"
		d.Tags = map[string]string{"a": "1"}
		commit(t, s, put(d))
		if diff := cmp.Diff(d, get[*sluice.Deployment](t, s, d.Key())); diff != "" {
			t.Errorf("read differs from what Commit left in the put resource (-put +read):\n%s", diff)
		}
	},

	"every kind can be kept": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		for _, r := range []sluice.Resource{
			&sluice.Workspace{Meta: meta("default")}, endpoint("iris"),
			&sluice.Deployment{Meta: meta("blue"), Endpoint: "iris"},
			&sluice.Revision{Meta: meta("blue"), Endpoint: "iris"},
			&sluice.Scale{Meta: meta("blue"), Endpoint: "iris", Want: 2},
			&sluice.Keys{Meta: meta("iris"), SealedPrimary: []byte{1}, SealedSecondary: []byte{2}},
			model("m", "1"), &sluice.Environment{Meta: meta("e")}, &sluice.CodeVersion{Meta: meta("c")},
			&sluice.Container{Meta: meta("m"), Of: sluice.KindModelContainer},
			&sluice.Container{Meta: meta("e"), Of: sluice.KindEnvironmentContainer},
			&sluice.Container{Meta: meta("c"), Of: sluice.KindCodeContainer},
			&sluice.Operation{Meta: meta("op"), Status: sluice.OperationInProgress},
			&sluice.DeploymentEvent{Meta: meta("blue"), Endpoint: "iris", Seq: 1, What: sluice.EventEnded,
				Cause: &sluice.Cause{Code: sluice.CauseCrashed, Message: "it crashed"}},
		} {
			commit(t, s, put(r))
			got, err := s.Get(t.Context(), r.Key())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(r, got); diff != "" {
				t.Errorf("%s (-put +read):\n%s", r.Key(), diff)
			}
		}
	},

	"keys have no case and names keep theirs": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		commit(t, s, put(endpoint("Iris")))
		got := get[*sluice.Endpoint](t, s, sluice.EndpointKey("DEFAULT", "iRIS"))
		if got.Name != "Iris" {
			t.Errorf("name is %q, want it as it was put", got.Name)
		}
		_, err := s.Commit(t.Context(), put(endpoint("IRIS")))
		wantCode(t, "creating the same name in another case", err, sluice.CodeExists)
	},

	"a missing thing is not found and named": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		for want, key := range map[string]sluice.Key{
			"endpoint Iris does not exist":                    sluice.EndpointKey("default", "Iris"),
			"deployment blue of endpoint iris does not exist": sluice.DeploymentKey("default", "iris", "blue"),
			"model m:3 does not exist":                        model("m", "3").Key(),
			"endpoint a in workspace w does not exist":        sluice.EndpointKey("w", "a"),
			"model container m does not exist":                {Workspace: "default", Kind: sluice.KindModelContainer, Name: "m"},
		} {
			_, err := s.Get(t.Context(), key)
			wantCode(t, "getting what is not there", err, sluice.CodeNotFound)
			if err == nil || err.Error() != want {
				t.Errorf("error is %q, want %q", err, want)
			}
		}
		for _, name := range []string{"", "a\x00b", "a\xff"} {
			_, err := s.Get(t.Context(), sluice.EndpointKey("default", name))
			wantCode(t, "getting a name that cannot be", err, sluice.CodeNotFound)
		}
	},

	"generations, stamps and change numbers": func(t *testing.T, open Opener) {
		clock := newClock()
		s := open(t, store.Options{Now: clock.now})
		e := endpoint("iris")
		e.Generation, e.Created = 77, sluice.Stamp{By: "a liar"} // ignored
		n := commit(t, s, put(e))
		born := sluice.Stamp{At: clock.now(), By: "admin"}
		check := func(when string, generation, change int64, modified sluice.Stamp) {
			t.Helper()
			for where, m := range map[string]*sluice.Meta{"the put resource": &e.Meta,
				"the stored one": get[*sluice.Endpoint](t, s, e.Key()).Header()} {
				type facts struct {
					Generation, Change int64
					Created, Modified  sluice.Stamp
				}
				want := facts{generation, change, born, modified}
				if diff := cmp.Diff(want, facts{m.Generation, m.Change, m.Created, m.Modified}); diff != "" {
					t.Errorf("%s: %s (-want +got):\n%s", when, where, diff)
				}
			}
		}
		check("created", 1, n, born)

		clock.advance(time.Minute)
		e.Description = "second"
		c := put(e)
		c.Actor.Name = "eve"
		n = commit(t, s, c)
		second := sluice.Stamp{At: clock.now(), By: "eve"}
		check("updated", 2, n, second)

		clock.advance(time.Minute)
		e.State = sluice.StateSucceeded
		n = commit(t, s, sluice.Change{Actor: sluice.Actor{Name: "sluice"}, Observed: true, Put: []sluice.Resource{e}})
		check("observed: no generation, not modified", 2, n, second)

		clock.advance(time.Minute)
		n = commit(t, s, put(e))
		check("put as it is: a change like any other", 3, n, sluice.Stamp{At: clock.now(), By: "admin"})

		commit(t, s, remove(e))
		clock.advance(time.Minute)
		e = endpoint("iris")
		n = commit(t, s, put(e))
		born = sluice.Stamp{At: clock.now(), By: "admin"}
		check("deleted and created again: a new life", 1, n, born)
	},

	"a put of something new needs that there is none": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		commit(t, s, put(endpoint("iris")))
		before := latest(t, s)
		_, err := s.Commit(t.Context(), put(endpoint("other"), endpoint("iris")))
		wantCode(t, "creating what exists", err, sluice.CodeExists)
		if err == nil || err.Error() != "endpoint iris exists already" {
			t.Errorf("error is %q", err)
		}
		_, err = s.Get(t.Context(), endpoint("other").Key())
		wantCode(t, "the other half of a refused change", err, sluice.CodeNotFound)
		if got := latest(t, s); got != before {
			t.Errorf("a refused change took a number: latest was %d and is %d", before, got)
		}
	},

	"a stale put or delete writes nothing": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		e := endpoint("iris")
		commit(t, s, put(e))
		old := *e
		commit(t, s, put(e))
		before := latest(t, s)
		other := endpoint("other")
		for what, c := range map[string]sluice.Change{
			"a stale put":              put(other, &old),
			"a stale observed put":     {Observed: true, Put: []sluice.Resource{other, &old}},
			"a stale delete":           {Put: []sluice.Resource{other}, Delete: []sluice.Resource{&old}},
			"a stale observed delete":  {Observed: true, Put: []sluice.Resource{other}, Delete: []sluice.Resource{&old}},
			"a put of what never was":  put(other, &sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: "no", Change: 1}}),
			"a delete of what is gone": remove(&sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: "no", Change: 1}}),
		} {
			_, err := s.Commit(t.Context(), c)
			wantCode(t, what, err, sluice.CodeStale)
			if other.Change != 0 || other.Generation != 0 {
				t.Errorf("%s touched the Meta of a put resource: %+v", what, other.Meta)
			}
			_, err = s.Get(t.Context(), other.Key())
			wantCode(t, what+", its other half", err, sluice.CodeNotFound)
		}
		if got := latest(t, s); got != before {
			t.Errorf("refused changes took numbers: latest was %d and is %d", before, got)
		}
		if got := get[*sluice.Endpoint](t, s, e.Key()); got.Change != e.Change {
			t.Errorf("the stored change is %d, want %d", got.Change, e.Change)
		}
	},

	"puts and deletes happen together": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		a, b := endpoint("a"), endpoint("b")
		commit(t, s, put(a))
		n := commit(t, s, sluice.Change{Actor: admin, Put: []sluice.Resource{b}, Delete: []sluice.Resource{a}})
		_, err := s.Get(t.Context(), a.Key())
		wantCode(t, "getting what was deleted", err, sluice.CodeNotFound)
		if got := get[*sluice.Endpoint](t, s, b.Key()).Change; got != n {
			t.Errorf("change of b is %d, want %d", got, n)
		}
	},

	"a change that makes no sense is invalid": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		stored := endpoint("stored")
		commit(t, s, put(stored))
		long := endpoint("long")
		long.Description = strings.Repeat("x", 5<<20)
		for what, c := range map[string]sluice.Change{
			"a delete without a change number": remove(endpoint("stored")),
			"a negative change number":         put(&sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: "a", Change: -1}}),
			"one key twice":                    put(endpoint("twice"), endpoint("TWICE")),
			"one key put and deleted":          {Put: []sluice.Resource{stored}, Delete: []sluice.Resource{stored}},
			"no workspace":                     put(&sluice.Endpoint{Meta: sluice.Meta{Name: "a"}}),
			"no name":                          put(endpoint("")),
			"a name that is not text":          put(endpoint("a\x00b")),
			"an unknown kind":                  put(&sluice.Container{Meta: meta("a"), Of: "bogus"}),
			"nil":                              put(nil),
		} {
			_, err := s.Commit(t.Context(), c)
			wantCode(t, what, err, sluice.CodeInvalid)
		}
		_, err := s.Commit(t.Context(), put(long))
		wantCode(t, "more than a resource may hold", err, sluice.CodeTooLarge)
	},

	"a change without writes has no number": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		want := commit(t, s, put(endpoint("a")))
		if got := commit(t, s, sluice.Change{Actor: admin}); got != want {
			t.Errorf("an empty change gave %d, want the latest, %d", got, want)
		}
	},

	"readers get copies": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		e := endpoint("a")
		e.Tags = map[string]string{"k": "v"}
		commit(t, s, put(e))
		get[*sluice.Endpoint](t, s, e.Key()).Tags["k"] = "altered"
		e.Tags["k"] = "altered too"
		if got := get[*sluice.Endpoint](t, s, e.Key()).Tags["k"]; got != "v" {
			t.Errorf("tag is %q: a caller's value reached into the store", got)
		}
	},

	"what is not text in an actor is harmless": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		e := endpoint("a")
		c := put(e)
		c.Actor = sluice.Actor{Name: "a\x00\xffb", From: "\xff", Client: strings.Repeat("é", 10_000)}
		commit(t, s, c)
		events, err := s.History(t.Context(), e.Key(), 0)
		if err != nil || len(events) != 1 {
			t.Fatalf("history is %v, %v", events, err)
		}
		if n := len(events[0].Actor.Client); n > 1024 {
			t.Errorf("a client's name of %d bytes was kept", n)
		}
	},
}
