// Package supervise keeps N copies of a workload alive where the engine has no
// such thing of its own: it starts, backs off, replaces and drains.
//
// [Decide] is the whole of the thinking, a pure function of what is wanted, the
// copies there are, and the time. [Loop] asks a [Host] for these, decides, and
// has the host do it; it remembers nothing between two rounds, so a server that
// was killed and started again goes on where the other one was, as long as the
// host lists the truth.
//
// A Loop is run by one goroutine; Wake and Round may be called from any.
package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Host is what can list, start and end copies: an engine's own half.
type Host interface {
	// List gives every workload that is not dropped and every copy that is
	// not forgotten. Copies of a workload that is not listed are drained.
	List(ctx context.Context) ([]Want, []Copy, error)
	// Do carries out one action, and returns when what it did will show in
	// the next List. It must not wait for a copy to start or to end.
	Do(ctx context.Context, w Want, a Action) error
}

// Loop joins a Host to Decide.
type Loop struct {
	host  Host
	now   func() time.Time
	every time.Duration
	log   *slog.Logger
	wake  chan struct{}
	turn  chan struct{} // holds one token: whoever has it works

	closed chan struct{}
}

// NewLoop makes a loop that looks again whenever it is woken, whenever Decide
// said so, and in any case after the given time.
func NewLoop(host Host, every time.Duration, now func() time.Time, log *slog.Logger) *Loop {
	l := &Loop{host: host, every: every, now: now, log: log, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	l.closed = make(chan struct{})
	l.turn <- struct{}{}
	return l
}

// Wake makes the loop look again at once.
func (l *Loop) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx is done, and returns nil then. What the host cannot do
// is logged and tried again.
func (l *Loop) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-timer.C:
		}
		wait, err := l.Round(ctx)
		if err != nil && ctx.Err() == nil {
			l.log.Error("supervising instances", "error", err)
		}
		timer.Reset(wait)
	}
}

// Close waits for a round that is under way and makes later ones do nothing. It
// is called once, after Run has returned.
func (l *Loop) Close() {
	<-l.turn
	close(l.closed)
}

// Round looks once, acts, and says for how long nothing needs to be done. Who
// has just changed what is wanted may call it beside Run, so as to return when
// the change shows; two rounds never overlap.
func (l *Loop) Round(ctx context.Context) (time.Duration, error) {
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-l.closed:
		return l.every, nil
	case <-ctx.Done():
		return l.every, ctx.Err()
	}
	wants, copies, err := l.host.List(ctx)
	if err != nil {
		return l.every, fmt.Errorf("listing: %w", err)
	}
	now := l.now()
	wait := l.every
	byWorkload := group(wants, copies)
	for _, w := range append(wants, orphans(wants, copies)...) {
		actions, next := Decide(w, byWorkload[w.Workload], now)
		if l.do(ctx, w, actions) {
			wait = 0 // what was done may have made something else due
		}
		if !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
	}
	return wait, nil
}

// do carries out the actions and reports whether any of them succeeded. One
// that did not must wait for the next round, or a host that is broken would be
// asked without pause.
func (l *Loop) do(ctx context.Context, w Want, actions []Action) (done bool) {
	for _, a := range actions {
		if ctx.Err() != nil {
			return done
		}
		log := l.log.With("do", a.Kind, "instance", a.ID, "workload", w.Workload, "slot", a.Slot)
		if err := l.host.Do(ctx, w, a); err != nil {
			log.Error("supervising an instance", "error", err)
			continue
		}
		log.Debug("supervising an instance")
		done = true
	}
	return done
}

func group(wants []Want, copies []Copy) map[string][]Copy {
	m := make(map[string][]Copy, len(wants))
	for _, c := range copies {
		m[c.Workload] = append(m[c.Workload], c)
	}
	return m
}

// orphans gives a removed workload for each that has copies and is not listed.
func orphans(wants []Want, copies []Copy) []Want {
	known := make(map[string]bool, len(wants))
	for _, w := range wants {
		known[w.Workload] = true
	}
	var lost []Want
	for _, c := range copies {
		if !known[c.Workload] {
			known[c.Workload] = true
			lost = append(lost, Want{Workload: c.Workload, Removed: true})
		}
	}
	return lost
}
