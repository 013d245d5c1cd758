//go:build linux

package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/smalldisk"
	"github.com/sluice-ml/sluice/store"
	"github.com/sluice-ml/sluice/store/storetest"
)

// A copy that is taken while others write holds every change up to some number,
// whole, and none after it.
func TestSnapshotUnderLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sluice.db")
	s := storetest.OpenURL(path)(t, store.Options{})
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	wrote := make(chan struct{}, 1000)
	writers.Go(func() {
		for n := 0; ctx.Err() == nil && n < 1000; n++ {
			if _, err := s.Commit(ctx, pairOf(n)); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			wrote <- struct{}{}
		}
	})
	for round := range 5 {
		<-wrote
		into := filepath.Join(dir, "copy "+string(rune('a'+round))+"'s.db")
		before, err := s.Latest(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Snapshot(t.Context(), path, into); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(into); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the copy is %v, %v", info.Mode(), err)
		}
		c, err := store.Open(t.Context(), into, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		latest, err := c.Latest(t.Context())
		if err != nil || latest < before {
			t.Errorf("the copy ends with change %d (%v), and there were %d before it", latest, err, before)
		}
		if n := wholePairs(t, c); int64(n) != latest {
			t.Errorf("the copy holds %d changes and says %d", n, latest)
		}
		if n, err := c.Schema(t.Context()); err != nil || n != store.KnownSchema() || n < 1 {
			t.Errorf("its schema is %d (%v), and this program knows %d", n, err, store.KnownSchema())
		}
		if err := errors.Join(c.Check(t.Context()), c.Close()); err != nil {
			t.Error(err)
		}
	}
	stop()
	writers.Wait()
}

func TestSnapshotRefuses(t *testing.T) {
	d := smalldisk.New(t, 4<<20)
	path := filepath.Join(t.TempDir(), "sluice.db")
	if err := store.Snapshot(t.Context(), path, filepath.Join(d.Dir, "x")); sluice.ErrorCode(err) != sluice.CodeNotFound {
		t.Errorf("of nothing: %v", err)
	}
	s := storetest.OpenURL(path)(t, store.Options{})
	if _, err := s.Commit(t.Context(), pairOf(1)); err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(d.Dir, "copy")
	refused := 0
	d.EachPage(func(string) error {
		if err := store.Snapshot(t.Context(), path, into); err != nil {
			return err
		}
		return os.Remove(into)
	}, func(scarce string, err error) {
		refused++
		wantFull(t, scarce, err, into)
		if _, err := os.Stat(into); err == nil {
			t.Errorf("%s: something is left", scarce)
		}
	})
	if refused < 3 {
		t.Errorf("only %d copies found no room", refused)
	}
}
