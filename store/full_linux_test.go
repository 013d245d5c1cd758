package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/smalldisk"
	"github.com/sluice-ml/sluice/store"
	"github.com/sluice-ml/sluice/store/storetest"
)

// wantFull checks that an error names the database and the full disk.
func wantFull(t *testing.T, scarce string, err error, path string) {
	t.Helper()
	if sluice.ErrorCode(err) != sluice.CodeUnavailable {
		t.Errorf("%s: the code of %v is %q", scarce, err, sluice.ErrorCode(err))
	}
	var e *sluice.Error
	if !errors.As(err, &e) || e.Cause == nil || e.Cause.Code != sluice.CauseDiskFull {
		t.Fatalf("%s: %v, want a full disk", scarce, err)
	}
	if !strings.Contains(e.Error(), path) || !strings.Contains(e.Hint, "free space") {
		t.Errorf("%s: %q (%s) does not say what to do where", scarce, e, e.Hint)
	}
}

// pairOf is a change of several pages whose two halves must stay together.
func pairOf(n int) sluice.Change {
	text := fmt.Sprint(n, strings.Repeat("x", 9000))
	var c sluice.Change
	for _, name := range []string{"a", "b"} {
		c.Put = append(c.Put, &sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: fmt.Sprint(name, n), Description: text}})
	}
	return c
}

// wholePairs checks that of every change there is all or nothing, and gives how
// many there are.
func wholePairs(t *testing.T, s *store.Store) int {
	t.Helper()
	all, err := store.ReadAll[*sluice.Endpoint](t.Context(), s, sluice.Query{Kind: sluice.KindEndpoint, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	halves := map[string]int{}
	for _, e := range all {
		halves[e.Name[1:]]++
	}
	for n, count := range halves {
		if count != 2 {
			t.Errorf("half of change %s is there", n)
		}
	}
	return len(halves)
}

func sound(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity check says %q, %v", verdict, err)
	}
}

func TestCommitOnAFullDisk(t *testing.T) {
	d := smalldisk.New(t, 4<<20)
	path := filepath.Join(d.Dir, "sluice.db")
	s := storetest.OpenURL(path)(t, store.Options{})
	commit := func(n int) error { _, err := s.Commit(t.Context(), pairOf(n)); return err }
	if err := commit(0); err != nil {
		t.Fatal(err)
	}
	done, tried, refused := 1, 0, 0
	d.EachPage(func(scarce string) error {
		tried++
		before, err := s.Latest(t.Context())
		if err != nil {
			t.Errorf("%s: reading: %v", scarce, err)
		}
		if err = commit(tried); err == nil {
			done++
			return nil
		}
		if after, again := s.Latest(t.Context()); again != nil || after != before {
			t.Errorf("%s: a change that failed moved the number from %d to %d, %v", scarce, before, after, again)
		}
		return err
	}, func(scarce string, err error) {
		refused++
		wantFull(t, scarce, err, path)
		if n := wholePairs(t, s); n != done {
			t.Errorf("%s: %d changes are there, and %d were acknowledged", scarce, n, done)
		}
	})
	if refused < 3 {
		t.Errorf("only %d commits found no room", refused)
	}
	// With room again the same store goes on.
	if err := commit(9000); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if _, ok, err := s.AcquireLease(t.Context(), "reconcile", "me", time.Minute); !ok || err != nil {
		t.Errorf("taking a lease with room again: %t, %v", ok, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := storetest.OpenURL(path)(t, store.Options{})
	if n := wholePairs(t, again); n != done+1 {
		t.Errorf("after opening again %d changes are there, want %d", n, done+1)
	}
	sound(t, path)
}

// Opening makes the file, marks it, and upgrades the schema step by step.
func TestOpenOnAFullDisk(t *testing.T) {
	d := smalldisk.New(t, 4<<20)
	path := filepath.Join(d.Dir, "sluice.db")
	refused := 0
	d.Each(func(string) error {
		s, err := store.Open(t.Context(), path, store.Options{})
		if err != nil {
			return err
		}
		return s.Close()
	}, func(scarce string, err error) {
		refused++
		wantFull(t, scarce, err, path)
	})
	if refused < 3 {
		t.Errorf("only %d openings found no room", refused)
	}
	s := storetest.OpenURL(path)(t, store.Options{})
	if _, err := s.Commit(t.Context(), pairOf(1)); err != nil {
		t.Errorf("with room again: %v", err)
	}
	sound(t, path)
}

// What is there can be read and taken over while there is no room at all.
func TestReopenOnAFullDisk(t *testing.T) {
	d := smalldisk.New(t, 4<<20)
	path := filepath.Join(d.Dir, "sluice.db")
	s := storetest.OpenURL(path)(t, store.Options{})
	if _, err := s.Commit(t.Context(), pairOf(1)); err != nil {
		t.Fatal(err)
	}
	d.Fill(0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, _, err := s.AcquireLease(ctx, "reconcile", "me", time.Minute); err == nil {
		t.Error("a lease was written to a full disk")
	} else {
		wantFull(t, "with no room", err, path)
	}
	other, err := store.Open(ctx, path, store.Options{})
	if err != nil {
		t.Fatalf("opening beside another on a full disk: %v", err)
	}
	if n := wholePairs(t, other); n != 1 {
		t.Errorf("%d changes are there, want 1", n)
	}
	if err := errors.Join(other.Close(), s.Close()); err != nil {
		t.Errorf("closing on a full disk: %v", err)
	}
	d.Free()
	s = storetest.OpenURL(path)(t, store.Options{})
	if n := wholePairs(t, s); n != 1 {
		t.Errorf("with room again %d changes are there, want 1", n)
	}
	if room, ok := disk.At(d.Dir); !ok || room.Bytes == 0 {
		t.Errorf("room is %+v, %t", room, ok)
	}
}
