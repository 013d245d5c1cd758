package parent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/handover"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/smalldisk"
)

func wantFull(t *testing.T, scarce string, err error, parts ...string) {
	t.Helper()
	c, ok := errors.AsType[*sluice.Cause](err)
	if !ok || c.Code != sluice.CauseDiskFull {
		t.Errorf("%s: %v, want a full disk", scarce, err)
		return
	}
	for _, part := range parts {
		if !strings.Contains(c.Message, part) {
			t.Errorf("%s: %q does not say %q", scarce, c.Message, part)
		}
	}
}

// smallHome is a state directory on a disk that can be filled.
func smallHome(t *testing.T) (*smalldisk.Disk, home.Dir) {
	t.Helper()
	d := smalldisk.New(t, 256<<10)
	h := home.Dir(d.Dir)
	if err := h.Make(); err != nil {
		t.Fatal(err)
	}
	return d, h
}

// The state is replaced whole or stays as it was.
func TestStateOnAFullDisk(t *testing.T) {
	d, h := smallHome(t)
	before := State{PID: 1, ParentPID: 2, Version: "before"}
	if err := before.write(h.State()); err != nil {
		t.Fatal(err)
	}
	try := func(string) error { return State{PID: 3, Version: strings.Repeat("after", 2000)}.write(h.State()) }
	failed := func(scarce string, err error) {
		if !disk.IsFull(err) {
			t.Errorf("%s: %v", scarce, err)
		}
		if s, err := ReadState(h); err != nil || s != before {
			t.Errorf("%s: the state is %+v, %v", scarce, s, err)
		}
		if entries, err := os.ReadDir(h.Run()); err != nil || len(entries) != 1 {
			t.Errorf("%s: beside the state there is %v, %v", scarce, entries, err)
		}
	}
	d.EachPage(try, failed)
	if err := before.write(h.State()); err != nil {
		t.Fatal(err)
	}
	d.EachName(try, failed)
}

// A state that could not be written is written when there is room, although
// nothing else happens then.
func TestStateIsWrittenOnceThereIsRoom(t *testing.T) {
	d, h := smallHome(t)
	p := &parent{Config: Config{Home: h, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, adopted: true,
		ready: map[string]*handover.Adopted{}, failed: make(chan error, 3), unwritten: make(chan struct{}, 1)}
	ready := 0
	p.Ready = func(State) { ready++ }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.keepState(ctx) }()
	defer func() { cancel(); <-done }()
	d.Fill(0)
	for i, name := range childNames {
		p.serving(&handover.Adopted{Name: name, PID: 100 + i})
	}
	if ready != 1 {
		t.Errorf("it was ready %d times, want once: what it adopted serves", ready)
	}
	if _, err := ReadState(h); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("on a full disk there is a state: %v", err)
	}
	d.Free()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := ReadState(h); err == nil {
			if s.PID != 100 || s.GatewayPID != 101 {
				t.Errorf("the state is %+v", s)
			}
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the state is not written")
		}
	}
}

// A parent that cannot start says that it is the disk, whatever it was about to
// write.
func TestRunOnAFullDisk(t *testing.T) {
	d, h := smallHome(t)
	settings, err := h.Load()
	if err != nil {
		t.Fatal(err)
	}
	settings.API.Listen, settings.Gateway.Listen = "localhost:0", "localhost:0"
	run := func() error {
		return Run(t.Context(), Config{Home: h, Settings: settings, Program: "/bin/false", Logger: slog.New(slog.DiscardHandler),
			Ready: func(State) { t.Error("it is ready") }})
	}
	d.Fill(0)
	wantFull(t, "with no page", run(), "the lock of the parent", h.Run())
	d.Free()
	// With the lock in place, the next thing is a child's log.
	lock, err := os.Create(h.ParentLock())
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	d.FillNames(0)
	wantFull(t, "with no name", run(), "the log of the ", h.Logs())
}

// A child that cannot say why it ended, because its log cannot be written, is
// understood.
func TestWhyEndedOnAFullDisk(t *testing.T) {
	d, h := smallHome(t)
	log := filepath.Join(h.Logs(), "server.log")
	for _, said := range []string{"", "sluice: the disk is fu"} {
		if err := os.WriteFile(log, []byte(said), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Fill(0)
		wantFull(t, said, whyEnded("server", errors.New("exit status 1"), log, 0), "the log of the server", h.Logs())
		d.Free()
	}
}

// A log that is too long is cut even where no copy of it can be kept.
func TestSetAsideOnAFullDisk(t *testing.T) {
	d, h := smallHome(t)
	path := filepath.Join(h.Logs(), "server.log")
	if err := os.WriteFile(path, []byte(strings.Repeat("line\n", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Fill(1)
	if err := setAside(path, 10); !disk.IsFull(err) {
		t.Errorf("setting aside: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("the log has %d bytes, %v", info.Size(), err)
	}
}

// A parent whose disk has become read-only is seen to run, and to have ended.
func TestRunningOnAReadOnlyDisk(t *testing.T) {
	d, h := smallHome(t)
	if Running(h) {
		t.Error("a parent runs before there is one")
	}
	lock, err := acquire(h.ParentLock())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	defer d.Freeze()()
	if err := os.WriteFile(h.State(), nil, 0o600); err == nil {
		t.Fatal("the disk can be written")
	}
	if !Running(h) {
		t.Error("the parent is not seen to run")
	}
	lock.Close()
	if Running(h) {
		t.Error("the parent is still seen to run")
	}
}
