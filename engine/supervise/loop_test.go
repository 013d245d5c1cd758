package supervise_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/supervise"
)

// fakeHost keeps copies in memory. Only the loop's goroutine, and the test
// while the bubble is idle, touch it.
type fakeHost struct {
	wants  []supervise.Want
	copies []supervise.Copy
	broken error
	did    []string // what, and how long after the beginning
	began  time.Time
	lists  int
}

func (h *fakeHost) List(context.Context) ([]supervise.Want, []supervise.Copy, error) {
	h.lists++
	return h.wants, append([]supervise.Copy(nil), h.copies...), nil
}

func (h *fakeHost) Do(_ context.Context, w supervise.Want, a supervise.Action) error {
	h.did = append(h.did, time.Since(h.began).String()+" "+string(a.Kind)+" "+a.ID)
	if h.broken != nil {
		return h.broken
	}
	if a.Kind == supervise.Start {
		h.copies = append(h.copies, supervise.Copy{ID: "new", Workload: w.Workload, Phase: engine.Running, Created: time.Now(), Started: time.Now()})
	}
	for i := range h.copies {
		c := &h.copies[i]
		if c.ID != a.ID {
			continue
		}
		switch a.Kind {
		case supervise.Drain:
			c.Drained, c.Phase = time.Now(), engine.Draining
		case supervise.Tell:
			c.Told = time.Now()
		case supervise.Force:
			c.Phase, c.Ended, c.Forced = engine.Failed, time.Now(), time.Now()
		}
	}
	return nil
}

func run(t *testing.T, h *fakeHost, test func(*supervise.Loop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h.began = time.Now()
		l := supervise.NewLoop(h, time.Hour, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		test(l)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		l.Close()
		lists := h.lists
		if _, err := l.Round(t.Context()); err != nil || h.lists != lists {
			t.Errorf("a round after Close: %v, %d lists more", err, h.lists-lists)
		}
	})
}

func TestLoopActsWhenItIsTime(t *testing.T) {
	h := &fakeHost{
		wants:  []supervise.Want{{Workload: "w", Restart: engine.RestartAlways, Replicas: 0}},
		copies: []supervise.Copy{{ID: "a", Workload: "w", Phase: engine.Running, DrainDelay: 3 * time.Second, Grace: 10 * time.Second}},
	}
	run(t, h, func(*supervise.Loop) {
		<-time.After(time.Minute)
		synctest.Wait()
	})
	want := []string{"0s drain a", "3s tell a", "13s force a"}
	if diff := cmp.Diff(want, h.did); diff != "" {
		t.Errorf("it did (-want +got):\n%s", diff)
	}
}

func TestLoopIsWoken(t *testing.T) {
	h := &fakeHost{wants: []supervise.Want{{Workload: "w", Restart: engine.RestartAlways}}}
	run(t, h, func(l *supervise.Loop) {
		<-time.After(time.Minute)
		h.wants[0].Replicas = 1
		l.Wake()
		synctest.Wait()
	})
	if diff := cmp.Diff([]string{"1m0s start "}, h.did); diff != "" {
		t.Errorf("it did (-want +got):\n%s", diff)
	}
}

func TestLoopDrainsWhatNobodyWants(t *testing.T) {
	h := &fakeHost{copies: []supervise.Copy{{ID: "a", Workload: "unknown", Phase: engine.Running}}}
	run(t, h, func(*supervise.Loop) {})
	if diff := cmp.Diff([]string{"0s drain a", "0s tell a", "0s force a"}, h.did); diff != "" {
		t.Errorf("it did (-want +got):\n%s", diff)
	}
}

func TestLoopDoesNotSpinOnABrokenHost(t *testing.T) {
	h := &fakeHost{broken: errors.New("disk full"), wants: []supervise.Want{{Workload: "w", Restart: engine.RestartAlways, Replicas: 1}}}
	run(t, h, func(*supervise.Loop) {
		<-time.After(150 * time.Minute)
		synctest.Wait()
	})
	if diff := cmp.Diff([]string{"0s start ", "1h0m0s start ", "2h0m0s start "}, h.did); diff != "" {
		t.Errorf("it tried (-want +got):\n%s", diff)
	}
}
