package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
)

// memory is the store's rules without a database: the shortest program that
// does what the doc comments of [sluice.Change], [sluice.Query] and
// [sluice.Event] say. It is what random histories are compared with.
type memory struct {
	now    func() time.Time
	latest int64
	things map[sluice.Key]thing
	events map[sluice.Key][]sluice.Event // newest first, without Diff
}

type thing struct {
	description string
	meta        sluice.Meta // what the store writes, and the name
	born        int64
}

// commit gives the code of the error, "" for success.
func (m *memory) commit(c sluice.Change) sluice.Code {
	for _, r := range c.Put {
		had, ok := m.things[r.Key().Fold()]
		if ok && r.Header().Change == 0 {
			return sluice.CodeExists
		}
		if had.meta.Change != r.Header().Change {
			return sluice.CodeStale
		}
	}
	for _, r := range c.Delete {
		if m.things[r.Key().Fold()].meta.Change != r.Header().Change {
			return sluice.CodeStale
		}
	}
	m.latest++
	stamp := sluice.Stamp{At: m.now(), By: c.Actor.Name}
	for _, r := range c.Put {
		key := r.Key().Fold()
		had, ok := m.things[key]
		verb := "update"
		if !ok {
			verb = "create"
			had.born, had.meta.Created = m.latest, stamp
		}
		if !ok || !c.Observed {
			had.meta.Generation++
			had.meta.Modified = stamp
		}
		had.meta.Change = m.latest
		had.meta.Name = r.Header().Name
		had.description = r.Header().Description
		m.things[key] = had
		m.record(c, r.Key(), verb, had.meta.Generation)
	}
	for _, r := range c.Delete {
		m.record(c, r.Key(), "delete", m.things[r.Key().Fold()].meta.Generation)
		delete(m.things, r.Key().Fold())
	}
	return ""
}

func (m *memory) record(c sluice.Change, key sluice.Key, verb string, generation int64) {
	if c.Observed {
		return
	}
	e := sluice.Event{Change: m.latest, At: m.now(), Actor: c.Actor, Key: key, Verb: verb, Generation: generation}
	m.events[key.Fold()] = append([]sluice.Event{e}, m.events[key.Fold()]...)
}

// list gives the keys of one kind in order.
func (m *memory) list(kind sluice.Kind, newest bool) []sluice.Key {
	keys := slices.Collect(maps.Keys(m.things))
	keys = slices.DeleteFunc(keys, func(k sluice.Key) bool { return k.Kind != kind })
	slices.SortFunc(keys, func(a, b sluice.Key) int {
		x, y := m.things[a].born, m.things[b].born
		if newest {
			return cmp.Or(-cmp.Compare(x, y), -cmp.Compare(a.Name, b.Name), -cmp.Compare(a.Workspace, b.Workspace), -cmp.Compare(a.Version, b.Version))
		}
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(x, y), cmp.Compare(a.Workspace, b.Workspace), cmp.Compare(a.Version, b.Version))
	})
	return keys
}

// player makes random changes to a few names, so that they meet.
type player struct {
	*rand.Rand
	model *memory
	held  []sluice.Resource // read or written some time: fresh, stale or gone by now
}

func (p *player) resource() sluice.Resource {
	names := []string{"a", "A", "b-", "b_", "B", "ab"}
	m := sluice.Meta{Workspace: []string{"default", "other"}[p.IntN(2)], Name: names[p.IntN(len(names))]}
	if p.IntN(2) == 0 {
		return &sluice.Endpoint{Meta: m}
	}
	m.Version = fmt.Sprint(p.IntN(3))
	return &sluice.Model{Meta: m}
}

func (p *player) change() sluice.Change {
	c := sluice.Change{Actor: sluice.Actor{Name: []string{"ann", "bob"}[p.IntN(2)], From: "here"}, Observed: p.IntN(4) == 0}
	used := map[sluice.Key]bool{}
	for range 1 + p.IntN(3) {
		r := p.resource()
		if len(p.held) > 0 && p.IntN(3) > 0 {
			r = p.held[p.IntN(len(p.held))]
		}
		// What is meant to work mostly does: take the present change number.
		if had, ok := p.model.things[r.Key().Fold()]; ok && p.IntN(4) > 0 {
			r.Header().Change = had.meta.Change
		}
		if used[r.Key().Fold()] {
			continue
		}
		used[r.Key().Fold()] = true
		r.Header().Description = fmt.Sprint(p.IntN(1000))
		if r.Header().Change > 0 && p.IntN(3) == 0 {
			c.Delete = append(c.Delete, r)
		} else {
			c.Put = append(c.Put, r)
		}
	}
	return c
}

func compareWithModel(t *testing.T, open Opener) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed) // to play the same history again
	clock := newClock()
	s, other := open(t, store.Options{Now: clock.now}), open(t, store.Options{Now: clock.now})
	model := &memory{now: clock.now, things: map[sluice.Key]thing{}, events: map[sluice.Key][]sluice.Event{}}
	p := &player{Rand: rand.New(rand.NewPCG(seed, 0)), model: model}
	for step := range 400 {
		clock.advance(time.Duration(p.IntN(1_000_000)) * time.Microsecond)
		c := p.change()
		want := model.commit(c)
		n, err := []*store.Store{s, other}[p.IntN(2)].Commit(t.Context(), c)
		got := sluice.ErrorCode(err)
		// Two writes of one change may fail for different reasons.
		if (got == "") != (want == "") || len(c.Put)+len(c.Delete) == 1 && got != want {
			t.Fatalf("step %d: commit of %d puts and %d deletes gave %v, the model %q", step, len(c.Put), len(c.Delete), err, want)
		}
		if err == nil {
			if n != model.latest {
				t.Fatalf("step %d: change number %d, the model has %d", step, n, model.latest)
			}
			p.held = append(p.held, c.Put...)
		}
		if step%50 == 49 {
			model.check(t, s, p)
		}
		if t.Failed() {
			t.Fatalf("store and model differ after step %d", step)
		}
	}
}

// check compares everything that can be read.
func (m *memory) check(t *testing.T, s *store.Store, p *player) {
	t.Helper()
	if got := latest(t, s); got != m.latest {
		t.Errorf("latest is %d, the model has %d", got, m.latest)
	}
	for key, want := range m.things {
		r, err := s.Get(t.Context(), key)
		if err != nil {
			t.Errorf("get %v: %v", key, err)
			continue
		}
		got := thing{description: r.Header().Description, born: want.born, meta: sluice.Meta{Name: r.Header().Name,
			Created: r.Header().Created, Modified: r.Header().Modified, Generation: r.Header().Generation, Change: r.Header().Change}}
		if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(thing{})); diff != "" {
			t.Errorf("%v (-model +store):\n%s", key, diff)
		}
	}
	for _, kind := range []sluice.Kind{sluice.KindEndpoint, sluice.KindModel} {
		for _, newest := range []bool{false, true} {
			var got []sluice.Key
			q := sluice.Query{Kind: kind, Newest: newest, Limit: 1 + p.IntN(7)}
			all, err := store.ReadAll[sluice.Resource](t.Context(), s, q)
			for _, r := range all {
				got = append(got, r.Key().Fold())
			}
			if diff := gocmp.Diff(m.list(kind, newest), got, cmpopts.EquateEmpty()); diff != "" || err != nil {
				t.Errorf("list %+v: %v (-model +store):\n%s", q, err, diff)
			}
		}
	}
	for key, want := range m.events {
		if diff := gocmp.Diff(want, history(t, s, key, 0), cmpopts.IgnoreFields(sluice.Event{}, "Diff")); diff != "" {
			t.Errorf("history of %v (-model +store):\n%s", key, diff)
		}
	}
}
