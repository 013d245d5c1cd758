package store_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
	"github.com/sluice-ml/sluice/store/storetest"
)

// In a bubble time stands still while anybody works, so a waiter that is woken
// by the poll and not by the commit shows.
func TestCommitWakesWithoutPolling(t *testing.T) {
	dir := storetest.SQLite(t) // its directory outlives the bubble
	synctest.Test(t, func(t *testing.T) {
		s := dir(t, store.Options{})
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		woken := make(chan time.Duration, 1)
		go func() {
			_, err := s.Wait(ctx, 0)
			if err != nil {
				t.Error(err)
			}
			woken <- time.Since(start)
		}()
		synctest.Wait()
		e := &sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: "a"}}
		if _, err := s.Commit(t.Context(), sluice.Change{Put: []sluice.Resource{e}}); err != nil {
			t.Fatal(err)
		}
		if got := <-woken; got != 0 {
			t.Errorf("the waiter was woken %v after the commit", got)
		}
		if !e.Created.At.Equal(start) {
			t.Errorf("created at %v, want the bubble's time %v", e.Created.At, start)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPollNoticesWithinASecond(t *testing.T) {
	dir := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		s, other := dir(t, store.Options{}), dir(t, store.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		woken := make(chan error, 1)
		go func() {
			_, err := s.Wait(ctx, 0)
			woken <- err
		}()
		synctest.Wait()
		e := &sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: "a"}}
		if _, err := other.Commit(t.Context(), sluice.Change{Put: []sluice.Resource{e}}); err != nil {
			t.Fatal(err)
		}
		if err := <-woken; err != nil {
			t.Errorf("a second after another store's commit: %v", err)
		}
	})
}
