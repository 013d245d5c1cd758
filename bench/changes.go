package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-ml/sluice/bench/loss"
)

const (
	changes  = 100 // of each kind
	kills    = 20  // of each process
	lossRate = 300 // requests a second, from at least 32 clients

	// between is how long a process runs until the next kill: one that ends sooner
	// after its start is made to wait, as any that crashes again and again. An
	// instance must have served for five seconds, server and gateway for two.
	betweenInstances = 6 * time.Second
	betweenOthers    = 3 * time.Second
)

// lossRows gives how many requests are lost while deployments change, and while
// processes are killed, and the longest that one had to wait. What failed inside
// a killed process has a row of its own.
func lossRows(ctx context.Context, bin string) ([]row, error) {
	f, err := startFleet(ctx, bin)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	var rows []row
	for _, change := range []struct {
		name string
		do   func(n int) error
	}{
		{"rolling updates", func(int) error { return f.update(ctx) }},
		{"scalings", func(n int) error { return f.scale(ctx, 1+2*((n+1)%2)) }},
		{"traffic changes", func(n int) error { return f.shift(ctx, []int{50, 0, 100, 90}[n%4]) }},
	} {
		more, err := f.count(fmt.Sprintf("%d %s", changes, change.name), func(*loss.Load) error {
			return times(ctx, changes, change.name, change.do)
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	if err := f.traffic(ctx, 100); err != nil {
		return nil, err
	}
	if err := f.scale(ctx, 1); err != nil {
		return nil, err
	}
	for _, what := range victims {
		more, err := f.count(fmt.Sprintf("%d kills of the %s", kills, what), func(load *loss.Load) error {
			return times(ctx, kills, "kills of the "+what, func(int) error { return f.killAndWait(ctx, load, what) })
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// killAndWait kills, waits until all is as it was, and lets it be so for a while.
func (f *fleet) killAndWait(ctx context.Context, load *loss.Load, what string) error {
	if err := f.kill(ctx, load, what); err != nil {
		return err
	}
	if err := f.served(ctx); err != nil {
		return err
	}
	pause := betweenOthers
	if what == "shim" || what == "scoring server" || what == "worker" {
		pause = betweenInstances
	}
	return wait(ctx, pause)
}

// count sends requests while it does what it is given, and gives the rows.
func (f *fleet) count(name string, do func(*loss.Load) error) ([]row, error) {
	load := f.load()
	err := do(load)
	r := load.Stop(f.counter)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for n, lost := range r.Lost {
		if n == 5 {
			break
		}
		progress("lost: %s", lost)
	}
	progress("%s: %d requests, %d failed inside what was killed, %d lost, %d run twice, %d run for nothing; p99 %s, longest %s",
		name, r.Sent, r.Inside, len(r.Lost), len(r.Doubled), r.Phantom, r.P99, r.Longest)
	return []row{
		{fmt.Sprintf("%s at %d rps: lost, run twice or for nothing, of %d requests (bar: 0)", name, lossRate, r.Sent),
			float64(len(r.Lost) + len(r.Doubled) + r.Phantom), 0, "requests"},
		{"  failed inside what was killed", float64(r.Inside), 0, "requests"},
		{"  longest answer", float64(r.Longest.Milliseconds()), 0, "ms"},
	}, nil
}

// times does something so many times.
func times(ctx context.Context, n int, what string, do func(n int) error) error {
	for i := range n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := do(i); err != nil {
			return fmt.Errorf("%d of the %s: %w", i+1, what, err)
		}
		if (i+1)%10 == 0 {
			progress("%d of %d %s", i+1, n, what)
		}
	}
	return nil
}

// shift changes the traffic and lets a few requests go by it.
func (f *fleet) shift(ctx context.Context, blue int) error {
	if err := f.traffic(ctx, blue); err != nil {
		return err
	}
	return wait(ctx, time.Second/5)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
