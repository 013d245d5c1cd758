package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
)

type waited struct {
	n   int64
	err error
}

// wait waits in the background.
func wait(ctx context.Context, s *store.Store, after int64) <-chan waited {
	out := make(chan waited, 1)
	go func() {
		n, err := s.Wait(ctx, after)
		out <- waited{n, err}
	}()
	return out
}

var waiting = map[string]func(*testing.T, Opener){
	"Wait returns at once when there is something newer": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		commit(t, s, put(endpoint("a")))
		n := commit(t, s, put(endpoint("b")))
		if got, err := s.Wait(soon(t), 0); err != nil || got != n {
			t.Errorf("Wait(0) = %d, %v, want %d", got, err, n)
		}
	},

	"Wait waits when there is nothing newer": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		n := commit(t, s, put(endpoint("a")))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if got, err := s.Wait(ctx, n); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait(%d) = %d, %v, want the context's error", n, got, err)
		}
	},

	"a commit wakes every waiter": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		n := latest(t, s)
		var all []<-chan waited
		for range 10 {
			all = append(all, wait(soon(t), s, n))
		}
		want := commit(t, s, put(endpoint("a")))
		for _, w := range all {
			if got := <-w; got.err != nil || got.n != want {
				t.Errorf("Wait gave %d, %v, want %d", got.n, got.err, want)
			}
		}
	},

	"another store's commit wakes a waiter": func(t *testing.T, open Opener) {
		s, other := open(t, store.Options{}), open(t, store.Options{})
		n := latest(t, s)
		for _, name := range []string{"a", "b", "c"} {
			w := wait(soon(t), s, n)
			want := commit(t, other, put(endpoint(name)))
			got := <-w
			if got.err != nil || got.n != want {
				t.Fatalf("Wait gave %d, %v, want %d", got.n, got.err, want)
			}
			n = got.n
		}
	},

	"an observed change wakes as well": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		w := wait(soon(t), s, latest(t, s))
		want := commit(t, s, sluice.Change{Observed: true, Put: []sluice.Resource{endpoint("a")}})
		if got := <-w; got.err != nil || got.n != want {
			t.Errorf("Wait gave %d, %v, want %d", got.n, got.err, want)
		}
	},

	"who is woken sees the change": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		done := make(chan error, 1)
		ctx := soon(t)
		go func() {
			var n int64
			for n < 50 {
				var err error
				if n, err = s.Wait(ctx, n); err != nil {
					done <- err
					return
				}
				page, err := s.List(ctx, sluice.Query{Kind: sluice.KindEndpoint})
				if err == nil && int64(len(page.Items)) < n {
					err = errors.New("woken before the change could be read")
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for i := range 50 {
			commit(t, s, put(endpoint(fmt.Sprint("e", i))))
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	},

	"Close ends every Wait": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		w := wait(soon(t), s, latest(t, s))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		got := <-w
		wantCode(t, "Wait on a closed store", got.err, sluice.CodeUnavailable)
		_, err := s.Get(t.Context(), endpoint("a").Key())
		wantCode(t, "Get on a closed store", err, sluice.CodeUnavailable)
	},

	"a context that has ended is given back": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		e := endpoint("a")
		_, errGet := s.Get(ctx, e.Key())
		_, errList := s.List(ctx, sluice.Query{Kind: sluice.KindEndpoint})
		_, errCommit := s.Commit(ctx, put(e))
		_, errHistory := s.History(ctx, e.Key(), 0)
		_, errLatest := s.Latest(ctx)
		_, errWait := s.Wait(ctx, 0)
		_, _, errLease := s.AcquireLease(ctx, "l", "h", time.Second)
		for what, err := range map[string]error{"Get": errGet, "List": errList, "Commit": errCommit, "History": errHistory,
			"Latest": errLatest, "Wait": errWait, "AcquireLease": errLease} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s gave %v, want the context's error", what, err)
			}
		}
	},
}

var leasing = map[string]func(*testing.T, Opener){
	"a lease has one holder and a growing epoch": func(t *testing.T, open Opener) {
		clock := newClock()
		a, b := open(t, store.Options{Now: clock.now}), open(t, store.Options{Now: clock.now})
		try := func(s *store.Store, holder string, wantEpoch int64, wantOK bool) {
			t.Helper()
			epoch, ok, err := s.AcquireLease(t.Context(), "reconcile", holder, 10*time.Second)
			if err != nil || epoch != wantEpoch || ok != wantOK {
				t.Fatalf("%s acquiring: epoch %d, %t, %v; want epoch %d, %t", holder, epoch, ok, err, wantEpoch, wantOK)
			}
		}
		try(a, "a", 1, true)
		try(b, "b", 0, false)
		clock.advance(9 * time.Second)
		try(a, "a", 1, true) // renewed: the same epoch
		clock.advance(9 * time.Second)
		try(b, "b", 0, false)
		clock.advance(time.Second)
		try(b, "b", 2, true) // expired exactly now: the next holder, the next epoch
		try(a, "a", 0, false)
		clock.advance(time.Hour)
		try(b, "b", 2, true) // ran out, but nobody took it
		if err := a.ReleaseLease(t.Context(), "reconcile", "a"); err != nil {
			t.Fatal(err)
		}
		try(a, "a", 0, false) // not a's to release
		if err := b.ReleaseLease(t.Context(), "reconcile", "b"); err != nil {
			t.Fatal(err)
		}
		try(a, "a", 3, true) // released: at once
		if epoch, ok, err := b.AcquireLease(t.Context(), "batch", "b", time.Second); epoch != 1 || !ok || err != nil {
			t.Errorf("another lease: epoch %d, %t, %v; want 1, true", epoch, ok, err)
		}
	},

	"a lease that many want goes to one": func(t *testing.T, open Opener) {
		clock := newClock()
		s, other := open(t, store.Options{Now: clock.now}), open(t, store.Options{Now: clock.now})
		for round := int64(1); round <= 5; round++ {
			type result struct {
				epoch int64
				ok    bool
				err   error
			}
			results := make(chan result, 16)
			for i := range cap(results) {
				on := []*store.Store{s, other}[i%2]
				go func() {
					var r result
					r.epoch, r.ok, r.err = on.AcquireLease(t.Context(), "l", "holder "+string(rune('a'+i)), time.Second)
					results <- r
				}()
			}
			winners := 0
			for range cap(results) {
				r := <-results
				if r.err != nil {
					t.Fatal(r.err)
				}
				if r.ok {
					winners++
					// The same holder cannot win twice in a row without the
					// epoch staying, so each round adds one at most.
					if r.epoch > round {
						t.Errorf("round %d has epoch %d", round, r.epoch)
					}
				}
			}
			if winners != 1 {
				t.Fatalf("round %d has %d holders, want 1", round, winners)
			}
			clock.advance(2 * time.Second)
		}
	},

	"a lease needs a name, a holder and a time": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		for _, bad := range []struct {
			name, holder string
			ttl          time.Duration
		}{{"", "h", 1}, {"n", "", 1}, {"n", "h", 0}, {"n\x00", "h", 1}, {"n", "h\xff", 1}} {
			_, _, err := s.AcquireLease(t.Context(), bad.name, bad.holder, bad.ttl)
			wantCode(t, "a bad lease", err, sluice.CodeInvalid)
		}
	},
}
