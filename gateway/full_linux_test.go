package gateway

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/smalldisk"
)

// Each write of a copy of the routes fails once: the former copy stays whole.
func TestWritingRoutesOnAFullDisk(t *testing.T) {
	d := smalldisk.New(t, 256<<10)
	s := &shelf{dir: d.Dir, log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1)}
	before := iris(1)
	before.UID = strings.Repeat("long", 3000) // of several pages
	first := true
	write := func(string) error {
		if first {
			d.Free()
			if err := s.write(keyOf(before.Workspace, before.Endpoint), &before); err != nil {
				t.Fatal(err)
			}
			d.Fill(0)
			first = false
		}
		next := before
		next.Version = 2
		return s.write(keyOf(next.Workspace, next.Endpoint), &next)
	}
	failed := func(scarce string, err error) {
		var c *sluice.Cause
		if !errors.As(err, &c) || c.Code != sluice.CauseDiskFull || !strings.Contains(c.Message, "endpoint iris to "+d.Dir) {
			t.Errorf("%s: %v, want a full disk", scarce, err)
		}
		kept, err := s.load()
		if err != nil || len(kept) != 1 {
			t.Fatalf("%s: %d copies are kept, %v", scarce, len(kept), err)
		}
		if diff := cmp.Diff(before, kept[0]); diff != "" {
			t.Errorf("%s: the former copy (-want +got):\n%s", scarce, diff)
		}
		if left, err := filepath.Glob(filepath.Join(d.Dir, ".*")); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v, %v", scarce, left, err)
		}
	}
	d.EachPage(write, failed)
	if kept, err := s.load(); err != nil || len(kept) != 1 || kept[0].Version != 2 {
		t.Errorf("with room again %+v is kept, %v", kept, err)
	}
}

// A gateway whose copy cannot be written serves with what it was told, and
// writes it as soon as there is room, without being told anything more.
func TestTrafficOnAFullDisk(t *testing.T) {
	d := smalldisk.New(t, 256<<10)
	i := start(t, "i1", echo)
	r := newRig(t, Config{RoutesDir: filepath.Join(d.Dir, "routes")})
	d.Fill(0)
	r.Reset([]sluice.Routes{iris(1, i)})
	eventually(t, "a word about the full disk", func() bool { return strings.Contains(r.log.String(), "the disk is full") })
	for range 20 {
		if a := r.post("x"); a.status != 200 {
			t.Fatalf("on a full disk the gateway answers %d: %s", a.status, a.body)
		}
	}
	file := filepath.Join(d.Dir, "routes", "default~iris.json")
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy is there on a full disk: %v", err)
	}
	d.Free()
	eventually(t, "the copy", func() bool { _, err := readRoutes(file); return err == nil })
	eventually(t, "a word that it is kept", func() bool { return strings.Contains(r.log.String(), "kept again") })
	if n := strings.Count(r.log.String(), "the disk is full"); n != 1 {
		t.Errorf("the log says %d times that the disk is full, want once", n)
	}
	again := newRig(t, Config{RoutesDir: filepath.Join(d.Dir, "routes")})
	if a := again.post("x"); a.status != 200 {
		t.Errorf("a gateway on the copy answers %d: %s", a.status, a.body)
	}
}

// A gateway that starts on a full disk serves with the copy it has.
func TestAGatewayStartsOnAFullDisk(t *testing.T) {
	d := smalldisk.New(t, 256<<10)
	i := start(t, "i1", echo)
	s := &shelf{dir: d.Dir, log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1)}
	s.keep(key{"default", "iris"}, iris(1, i))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.run(ctx) // writes the last of it
	d.Fill(0)
	d.FillNames(0)
	r := newRig(t, Config{RoutesDir: d.Dir})
	if a := r.post("x"); a.status != 200 {
		t.Errorf("it answers %d: %s", a.status, a.body)
	}
}
