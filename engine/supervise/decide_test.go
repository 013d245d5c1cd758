package supervise_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/supervise"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// crashed is a copy that ran for so long and ended that long ago.
func crashed(id string, slot int, ran, since time.Duration) supervise.Copy {
	return supervise.Copy{ID: id, Slot: slot, Phase: engine.Failed,
		Created: ago(since + ran), Started: ago(since + ran), Ended: ago(since)}
}

func live(id string, slot int, phase engine.Phase, age time.Duration) supervise.Copy {
	return supervise.Copy{ID: id, Slot: slot, Phase: phase, Created: ago(age), Started: ago(age),
		DrainDelay: 5 * time.Second, Grace: 10 * time.Second}
}

func drained(c supervise.Copy, since time.Duration) supervise.Copy {
	c.Drained = ago(since)
	if !c.Phase.Ended() {
		c.Phase = engine.Draining
	}
	return c
}

func TestDecide(t *testing.T) {
	always := supervise.Want{Workload: "w", Restart: engine.RestartAlways}
	never := supervise.Want{Workload: "w", Restart: engine.RestartNever}
	want := func(w supervise.Want, n int) supervise.Want { w.Replicas = n; return w }
	removed := func(w supervise.Want, n int) supervise.Want { w.Replicas, w.Removed = n, true; return w }
	type copies = []supervise.Copy
	type actions = []supervise.Action
	told := func(c supervise.Copy, since time.Duration) supervise.Copy { c.Told = ago(since); return c }
	forced := func(c supervise.Copy, since time.Duration) supervise.Copy { c.Forced = ago(since); return c }
	unready := func(c supervise.Copy) supervise.Copy { c.Service.Unready = true; return c }
	served := func(c supervise.Copy) supervise.Copy { c.Service.Served = true; return c }
	doomed := func(c supervise.Copy) supervise.Copy { c.Doomed = true; return c }

	for name, test := range map[string]struct {
		want   supervise.Want
		copies copies
		do     actions
		next   time.Duration // from now; 0 for never
	}{
		"nothing wanted, nothing there": {want: want(always, 0)},
		"starts what misses": {want: want(always, 2),
			do: actions{{Kind: supervise.Start, Slot: 0}, {Kind: supervise.Start, Slot: 1}}},
		"starts in the free slot": {want: want(always, 3),
			copies: copies{live("a", 0, engine.Running, time.Hour), live("c", 2, engine.Pending, 0)},
			do:     actions{{Kind: supervise.Start, Slot: 1}}},
		"enough": {want: want(always, 1), copies: copies{live("a", 0, engine.Starting, time.Hour)}},
		"a first crash waits 100 ms": {want: want(always, 1),
			copies: copies{crashed("a", 0, time.Second, 60*time.Millisecond)}, next: 40 * time.Millisecond},
		"and is over then": {want: want(always, 1),
			copies: copies{crashed("a", 0, time.Second, 100*time.Millisecond)},
			do:     actions{{Kind: supervise.Start, Slot: 0}}, next: supervise.Keep - 100*time.Millisecond},
		"a third in a row waits 400 ms": {want: want(always, 1),
			copies: copies{crashed("a", 0, time.Second, 4*time.Second), crashed("b", 0, time.Second, 2*time.Second),
				crashed("c", 0, time.Second, 0)},
			next: 400 * time.Millisecond},
		"a minute of health forgives": {want: want(always, 1),
			copies: copies{crashed("a", 0, time.Second, 3*time.Minute), crashed("b", 0, time.Second, 2*time.Minute),
				crashed("c", 0, time.Minute, 0)},
			next: 100 * time.Millisecond},
		"and so do five seconds of service": {want: want(always, 1),
			copies: copies{crashed("a", 0, time.Second, 3*time.Minute), crashed("b", 0, time.Second, 2*time.Minute),
				served(crashed("c", 0, 5*time.Second, 0))},
			next: 100 * time.Millisecond},
		"a moment of service does not": {want: want(always, 1),
			copies: copies{crashed("a", 0, time.Second, 4*time.Second), served(crashed("b", 0, 4*time.Second, 0))},
			next:   200 * time.Millisecond},
		"what never started counts as a crash": {want: want(always, 1),
			copies: copies{{ID: "a", Phase: engine.Failed, Created: ago(time.Second), Ended: ago(0)}},
			next:   100 * time.Millisecond},
		"other slots are not held up": {want: want(always, 2),
			copies: copies{crashed("a", 0, time.Second, 0)},
			do:     actions{{Kind: supervise.Start, Slot: 1}}, next: 100 * time.Millisecond},
		"an end that was asked for is no crash": {want: want(always, 1),
			copies: copies{drained(crashed("a", 0, time.Second, 0), time.Second)},
			do:     actions{{Kind: supervise.Start, Slot: 0}}, next: supervise.Keep},
		"an end in the future, as the clock was set back, holds nothing up": {want: want(always, 1),
			copies: copies{crashed("a", 0, time.Second, -time.Hour)},
			do:     actions{{Kind: supervise.Start, Slot: 0}}, next: 2 * time.Hour},
		"a success under always is replaced": {want: want(always, 1),
			copies: copies{func() supervise.Copy {
				c := crashed("a", 0, time.Second, time.Second)
				c.Phase = engine.Succeeded
				return c
			}()},
			do: actions{{Kind: supervise.Start, Slot: 0}}, next: supervise.Keep - time.Second},
		"never stays ended": {want: want(never, 2),
			copies: copies{crashed("a", 0, time.Second, 2*supervise.Keep), live("b", 1, engine.Running, time.Hour)}},
		"never drains no ended copy for one too many": {want: want(never, 1),
			copies: copies{crashed("a", 0, time.Second, time.Second), live("b", 1, engine.Running, time.Hour)},
			do:     actions{{Kind: supervise.Drain, ID: "b"}}, next: 5 * time.Second},
		"not running goes before running, the youngest first": {want: want(always, 1),
			copies: copies{live("old", 0, engine.Starting, time.Hour), live("older", 1, engine.Running, 2*time.Hour),
				live("young", 2, engine.Running, time.Minute)},
			do: actions{{Kind: supervise.Drain, ID: "old"}, {Kind: supervise.Drain, ID: "young"}}, next: 5 * time.Second},
		"what does not serve goes before what does, however old": {want: want(always, 1),
			copies: copies{unready(live("stuck", 0, engine.Running, time.Hour)), live("young", 1, engine.Running, time.Minute)},
			do:     actions{{Kind: supervise.Drain, ID: "stuck"}}, next: 5 * time.Second},
		"draining copies do not count": {want: want(always, 1),
			copies: copies{drained(live("a", 0, engine.Running, time.Hour), 0)},
			do:     actions{{Kind: supervise.Start, Slot: 0}}, next: 5 * time.Second},
		"told after the drain delay": {want: want(always, 0),
			copies: copies{drained(live("a", 0, engine.Running, time.Hour), 5*time.Second)},
			do:     actions{{Kind: supervise.Tell, ID: "a"}}},
		"grace": {want: want(always, 0),
			copies: copies{told(drained(live("a", 0, engine.Running, time.Hour), 7*time.Second), 2*time.Second)},
			next:   8 * time.Second},
		"forced after its grace": {want: want(always, 0),
			copies: copies{told(drained(live("a", 0, engine.Running, time.Hour), time.Minute), 10*time.Second)},
			do:     actions{{Kind: supervise.Force, ID: "a"}}},
		"forced again": {want: want(always, 0),
			copies: copies{forced(told(drained(live("a", 0, engine.Running, time.Hour), time.Minute), time.Minute), time.Second)},
			do:     actions{{Kind: supervise.Force, ID: "a"}}},
		"not at once again": {want: want(always, 0),
			copies: copies{forced(told(drained(live("a", 0, engine.Running, time.Hour), time.Minute), time.Minute), 0)},
			next:   supervise.ForceAgain},
		"a drain that began in the future is now": {want: want(always, 0),
			copies: copies{drained(live("a", 0, engine.Running, time.Hour), -24*time.Hour)},
			do:     actions{{Kind: supervise.Tell, ID: "a"}}},
		"what hangs is forced, and counts until it has ended": {want: want(always, 1),
			copies: copies{doomed(live("a", 0, engine.Running, time.Hour))},
			do:     actions{{Kind: supervise.Force, ID: "a"}}},
		"removed drains all, with no delay at once": {want: removed(always, 2),
			copies: copies{{ID: "a", Phase: engine.Running}, {ID: "b", Slot: 1, Phase: engine.Running}},
			do: actions{{Kind: supervise.Drain, ID: "b"}, {Kind: supervise.Drain, ID: "a"},
				{Kind: supervise.Tell, ID: "a"}, {Kind: supervise.Tell, ID: "b"}}},
		"an ended copy is kept an hour": {want: removed(never, 1),
			copies: copies{crashed("a", 0, time.Second, time.Hour-time.Minute)}, next: time.Minute},
		"and then forgotten": {want: removed(never, 1),
			copies: copies{crashed("a", 0, time.Second, time.Hour)}, do: actions{{Kind: supervise.Forget, ID: "a"}}},
		"a removed workload without copies is dropped": {want: removed(always, 3), do: actions{{Kind: supervise.Drop}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, next := supervise.Decide(test.want, test.copies, noon)
			if diff := cmp.Diff(test.do, got); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			wantNext := time.Time{}
			if test.next != 0 {
				wantNext = noon.Add(test.next)
			}
			if test.next != 0 || test.do == nil {
				if diff := cmp.Diff(wantNext, next); diff != "" {
					t.Errorf("next time (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestBackOff(t *testing.T) {
	for crashes, want := range map[int]time.Duration{-1: 0, 0: 0, 1: 100 * time.Millisecond, 2: 200 * time.Millisecond,
		9: 25600 * time.Millisecond, 10: 30 * time.Second, 20: 30 * time.Second, 100: 30 * time.Second, 1 << 40: 30 * time.Second} {
		if got := supervise.BackOff(crashes); got != want {
			t.Errorf("after %d crashes: %s, want %s", crashes, got, want)
		}
	}
}

// Whatever happens to the copies, what Decide says must lead to what is wanted,
// and never to more.
func TestDecideConverges(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := &world{now: noon, r: r}
		want := supervise.Want{Workload: "w", Restart: engine.RestartAlways, Replicas: r.IntN(5)}
		for range 60 {
			if r.IntN(8) == 0 {
				want.Replicas = r.IntN(5)
			}
			w.misfortune()
			w.round(t, want)
			w.now = w.now.Add(time.Duration(r.IntN(40)) * time.Second)
			if n := w.counting(); n > want.Replicas {
				t.Fatalf("seed %d: %d copies count, want at most %d", seed, n, want.Replicas)
			}
			w.slotsDiffer(t, seed)
		}
		w.settle(t, want)
		if n := w.counting(); n != want.Replicas || len(w.alive()) != n {
			t.Fatalf("seed %d: it settles with %d copies (%d counting), want %d", seed, len(w.alive()), n, want.Replicas)
		}
		want.Removed = true
		for range 400 {
			w.round(t, want)
			w.now = w.now.Add(time.Minute)
		}
		if !w.dropped || len(w.copies) != 0 {
			t.Fatalf("seed %d: a removed workload leaves %+v", seed, w.copies)
		}
	}
}

// world carries out what is decided, at once.
type world struct {
	now     time.Time
	r       *rand.Rand
	copies  []supervise.Copy
	made    int
	dropped bool
}

func (w *world) round(t *testing.T, want supervise.Want) {
	t.Helper()
	for range 10 {
		actions, _ := supervise.Decide(want, w.copies, w.now)
		if len(actions) == 0 {
			return
		}
		for _, a := range actions {
			w.do(a)
		}
		if w.dropped {
			return
		}
	}
	t.Fatal("there is no end of things to do at one time")
}

func (w *world) do(a supervise.Action) {
	switch a.Kind {
	case supervise.Start:
		w.made++
		w.copies = append(w.copies, supervise.Copy{ID: fmt.Sprint(w.made), Slot: a.Slot, Phase: engine.Pending, Created: w.now,
			DrainDelay: time.Duration(w.r.IntN(3)) * time.Second, Grace: time.Duration(w.r.IntN(3)) * time.Second})
		return
	case supervise.Drop:
		w.dropped = true
		return
	}
	for i := range w.copies {
		c := &w.copies[i]
		if c.ID != a.ID {
			continue
		}
		switch a.Kind {
		case supervise.Drain:
			c.Drained, c.Phase = w.now, engine.Draining
		case supervise.Tell:
			c.Told = w.now
			if w.r.IntN(2) == 0 {
				c.Phase, c.Ended = engine.Succeeded, w.now
			}
		case supervise.Force:
			c.Forced = w.now
			if w.r.IntN(2) == 0 {
				c.Phase, c.Ended = engine.Failed, w.now
			}
		case supervise.Forget:
			w.copies = append(w.copies[:i:i], w.copies[i+1:]...)
			return
		}
	}
}

// misfortune moves copies on, or ends them.
func (w *world) misfortune() {
	for i := range w.copies {
		c := &w.copies[i]
		if c.Phase.Ended() {
			continue
		}
		switch w.r.IntN(6) {
		case 0:
			c.Phase, c.Ended = engine.Failed, w.now
		case 1:
			c.Doomed = true
		default:
			if c.Phase == engine.Pending {
				c.Phase, c.Started = engine.Running, w.now
			}
		}
	}
}

func (w *world) settle(t *testing.T, want supervise.Want) {
	t.Helper()
	for range 200 {
		w.round(t, want)
		w.now = w.now.Add(5 * time.Second)
		for i := range w.copies {
			if c := &w.copies[i]; c.Phase == engine.Pending {
				c.Phase, c.Started = engine.Running, w.now
			}
		}
	}
}

func (w *world) alive() (n []supervise.Copy) {
	for _, c := range w.copies {
		if !c.Phase.Ended() {
			n = append(n, c)
		}
	}
	return n
}

func (w *world) counting() (n int) {
	for _, c := range w.alive() {
		if c.Drained.IsZero() {
			n++
		}
	}
	return n
}

func (w *world) slotsDiffer(t *testing.T, seed uint64) {
	t.Helper()
	taken := map[int]bool{}
	for _, c := range w.alive() {
		if c.Drained.IsZero() && taken[c.Slot] {
			t.Fatalf("seed %d: slot %d is filled twice", seed, c.Slot)
		}
		taken[c.Slot] = taken[c.Slot] || c.Drained.IsZero()
	}
}

// A copy that serves for a few seconds and crashes, again and again, leaves no
// more logs than one that starts in vain.
func TestOfOneSlotSoManyAreKept(t *testing.T) {
	w := supervise.Want{Workload: "w", Restart: engine.RestartAlways, Replicas: 2}
	copies := []supervise.Copy{live("a", 0, engine.Running, time.Second), crashed("other", 1, time.Second, 50*time.Minute)}
	for n := range supervise.KeepInSlot + 2 {
		copies = append(copies, crashed(fmt.Sprintf("c%02d", n), 0, 5*time.Second, time.Duration(n+1)*6*time.Second))
	}
	var forgotten []string
	actions, _ := supervise.Decide(w, copies, noon)
	for _, a := range actions {
		if a.Kind == supervise.Forget {
			forgotten = append(forgotten, a.ID)
		}
	}
	if want := []string{"c30", "c31"}; !slices.Equal(forgotten, want) {
		t.Errorf("forgotten are %q, want %q", forgotten, want)
	}
}
