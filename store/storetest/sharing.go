package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
)

// sharing is about several goroutines, stores and lives of one database.
var sharing = map[string]func(*testing.T, Opener){
	"reopening keeps everything": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		e := endpoint("Iris")
		op := &sluice.Operation{Meta: meta("op-1"), Target: e.Key(), Verb: sluice.VerbCreate, Status: sluice.OperationInProgress,
			Started: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)}
		op.Stages = sluice.Advance(nil, sluice.Stage{Name: sluice.StageEnvironment, Step: sluice.StepResolving}, op.Started)
		n := commit(t, s, put(e, op))
		events := history(t, s, e.Key(), 0)
		if _, ok, err := s.AcquireLease(t.Context(), "l", "me", time.Hour); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, store.Options{})
		if diff := cmp.Diff(op, get[*sluice.Operation](t, s, op.Key())); diff != "" {
			t.Errorf("the operation (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(e, get[*sluice.Endpoint](t, s, e.Key())); diff != "" {
			t.Errorf("the endpoint (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(events, history(t, s, e.Key(), 0)); diff != "" {
			t.Errorf("the history (-before +after):\n%s", diff)
		}
		if got := latest(t, s); got != n {
			t.Errorf("latest is %d, want %d", got, n)
		}
		if _, ok, err := s.AcquireLease(t.Context(), "l", "another", time.Hour); ok || err != nil {
			t.Errorf("the lease was lost: %t, %v", ok, err)
		}
		if got := commit(t, s, put(endpoint("b"))); got != n+1 {
			t.Errorf("the next change is %d, want %d", got, n+1)
		}
	},

	"many may open a new database at once": func(t *testing.T, open Opener) {
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				ctx := soon(t)
				s := open(t, store.Options{})
				if _, err := s.Commit(ctx, put(endpoint(fmt.Sprint("e", i)))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := latest(t, open(t, store.Options{})); got != 6 {
			t.Errorf("latest is %d, want 6", got)
		}
	},

	"no update is lost, no number given twice": func(t *testing.T, open Opener) {
		const workers, each = 8, 25
		stores := []*store.Store{open(t, store.Options{}), open(t, store.Options{})}
		counter := &sluice.Scale{Meta: meta("blue"), Endpoint: "iris"}
		first := commit(t, stores[0], put(counter))
		var mu sync.Mutex
		given := map[int64]bool{}
		group, ctx := errgroup.WithContext(soon(t))
		for i := range workers {
			s := stores[i%len(stores)]
			group.Go(func() error {
				var last int64
				for range each {
					n, err := increment(ctx, s, counter.Key())
					if err != nil {
						return err
					}
					if n <= last {
						return fmt.Errorf("change %d came after change %d", n, last)
					}
					last = n
					mu.Lock()
					if given[n] {
						err = fmt.Errorf("change number %d was given twice", n)
					}
					given[n] = true
					mu.Unlock()
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		got := get[*sluice.Scale](t, stores[0], counter.Key())
		if got.Want != workers*each || got.Generation != workers*each+1 {
			t.Errorf("%d increments left count %d, generation %d", workers*each, got.Want, got.Generation)
		}
		if n := latest(t, stores[1]); n != first+workers*each {
			t.Errorf("latest is %d after %d changes from %d on: refused changes took numbers", n, workers*each, first)
		}
		if n := len(history(t, stores[0], counter.Key(), 0)); n != workers*each+1 {
			t.Errorf("the history has %d lines, want %d", n, workers*each+1)
		}
	},

	"change numbers are in the order in which changes appear": func(t *testing.T, open Opener) {
		const workers, each = 4, 25
		s, other := open(t, store.Options{}), open(t, store.Options{})
		group, ctx := errgroup.WithContext(soon(t))
		for i := range workers {
			on := []*store.Store{s, other}[i%2]
			group.Go(func() error {
				for j := range each {
					if _, err := on.Commit(ctx, put(endpoint(fmt.Sprintf("e-%d-%d", i, j)))); err != nil {
						return err
					}
				}
				return nil
			})
		}
		group.Go(func() error {
			for n := int64(0); n < workers*each; {
				var err error
				if n, err = s.Latest(ctx); err != nil {
					return err
				}
				page, err := s.List(ctx, sluice.Query{Kind: sluice.KindEndpoint})
				if err != nil {
					return err
				}
				have := map[int64]bool{}
				for _, r := range page.Items {
					have[r.Header().Change] = true
				}
				for c := int64(1); c <= n; c++ {
					if !have[c] {
						return fmt.Errorf("latest was %d, but change %d could not be seen yet", n, c)
					}
				}
			}
			return nil
		})
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	},

	"a change is seen whole or not at all": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		a, b := endpoint("a"), endpoint("b")
		commit(t, s, put(a, b))
		group, ctx := errgroup.WithContext(soon(t))
		stop := make(chan struct{})
		group.Go(func() error {
			for {
				page, err := s.List(ctx, sluice.Query{Kind: sluice.KindEndpoint})
				if err != nil {
					return err
				}
				if x, y := page.Items[0].Header(), page.Items[1].Header(); x.Description != y.Description || x.Change != y.Change {
					return fmt.Errorf("saw half of a change: %q and %q", x.Description, y.Description)
				}
				select {
				case <-stop:
					return nil
				default:
				}
			}
		})
		for i := range 100 {
			a.Description, b.Description = fmt.Sprint(i), fmt.Sprint(i)
			if _, err := s.Commit(ctx, put(a, b)); err != nil {
				t.Error(err)
				break
			}
		}
		close(stop)
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	},

	"pages miss and repeat nothing while others come and go": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		var stay []sluice.Resource
		for i := range 60 {
			stay = append(stay, endpoint(fmt.Sprintf("stay%02d", i)))
		}
		commit(t, s, put(stay...))
		group, ctx := errgroup.WithContext(soon(t))
		stop := make(chan struct{})
		group.Go(func() error {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return nil
				default:
				}
				e := endpoint(fmt.Sprintf("stay%02d-come", i%60))
				if _, err := s.Commit(ctx, put(e)); err != nil {
					return err
				}
				if _, err := s.Commit(ctx, remove(e)); err != nil {
					return err
				}
			}
		})
		for round := range 10 {
			seen := map[string]int{}
			for _, name := range walk(t, s, sluice.Query{Kind: sluice.KindEndpoint, Limit: 7, Newest: round%2 == 1}) {
				seen[name]++
			}
			for _, r := range stay {
				if n := seen[r.Header().Name]; n != 1 {
					t.Errorf("round %d: %s is in the pages %d times", round, r.Header().Name, n)
				}
			}
		}
		close(stop)
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	},

	"histories agree with the model": func(t *testing.T, open Opener) {
		compareWithModel(t, open)
	},
}

// increment adds one as any careful client does: read, change, try again when
// somebody else was faster.
func increment(ctx context.Context, s *store.Store, key sluice.Key) (int64, error) {
	for {
		r, err := store.Read[*sluice.Scale](ctx, s, key)
		if err != nil {
			return 0, err
		}
		r.Want++
		n, err := s.Commit(ctx, put(r))
		if sluice.ErrorCode(err) != sluice.CodeStale {
			return n, err
		}
	}
}
