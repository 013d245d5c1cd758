package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/bench/loss"
)

const (
	soakTime = 10 * time.Minute // unless SOAK_TIME says otherwise
	soakRate = 100              // requests a second
)

// soak changes and kills at random, both at once, for as long as it is told to,
// under load, and fails when a request is lost, when what was asked for does not
// come about, or when all does not come to rest. The seed of what it does is
// printed, and taken from SOAK_SEED.
func soak(ctx context.Context, bin string) ([]row, error) {
	seed, within := uint64(time.Now().UnixNano()), soakTime
	if text := os.Getenv("SOAK_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("SOAK_SEED: %w", err)
		}
		seed = n
	}
	if text := os.Getenv("SOAK_TIME"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("SOAK_TIME: %w", err)
		}
		within = d
	}
	progress("seed %d for %s: SOAK_SEED=%d SOAK_TIME=%s make soak repeats it", seed, within, seed, within)
	f, err := startFleet(ctx, bin)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	f.counter.Reset()
	load := loss.Send(loss.Config{URL: f.uri, Key: f.key, TLS: f.tls, Rate: soakRate})
	ctx, cancel := context.WithTimeout(ctx, within+5*time.Minute)
	defer cancel()
	end := time.Now().Add(within)
	var both sync.WaitGroup
	var made, killed int
	var changeErr, killErr error
	both.Go(func() { made, changeErr = f.changeAtRandom(ctx, rand.New(rand.NewPCG(seed, 1)), end) })
	both.Go(func() { killed, killErr = f.killAtRandom(ctx, load, rand.New(rand.NewPCG(seed, 2)), end) })
	both.Wait()
	err = errors.Join(changeErr, killErr, f.served(ctx))
	r := load.Stop(f.counter)
	for n, lost := range r.Lost {
		if n < 10 {
			progress("lost: %s", lost)
		}
	}
	if err = errors.Join(err, r.Err()); err != nil {
		return nil, fmt.Errorf("seed %d, after %d changes and %d kills: %w", seed, made, killed, err)
	}
	return []row{
		{fmt.Sprintf("soak of %s: lost, of %d requests", within, r.Sent), float64(len(r.Lost)), 0, "requests"},
		{"  changes", float64(made), 0, ""}, {"  kills", float64(killed), 0, ""},
		{"  failed inside what was killed", float64(r.Inside), 0, "requests"},
		{"  longest answer", float64(r.Longest.Milliseconds()), 0, "ms"},
	}, nil
}

// changeAtRandom asks for one change after the other. A server that is away is
// asked again; a change that fails because what it started was killed is no
// fault; anything else is.
func (f *fleet) changeAtRandom(ctx context.Context, r *rand.Rand, end time.Time) (made int, err error) {
	kinds := []struct {
		name string
		do   func() error
	}{
		{"update", func() error { return f.update(ctx) }},
		{"scale", func() error { return f.scale(ctx, 1+r.IntN(3)) }},
		{"update and scale", func() error {
			capacity := arm.Int(1 + r.IntN(3))
			f.like.SKU = &arm.SKU{Name: "Default", Capacity: &capacity}
			return f.update(ctx)
		}},
		{"traffic", func() error { return f.traffic(ctx, 10*r.IntN(11)) }},
		{"key", func() error { return f.client.RegenerateKeys(ctx, fleetEndpoint, "Secondary") }},
		{"create and delete", func() error { return f.passing(ctx) }},
	}
	for time.Now().Before(end) && ctx.Err() == nil {
		kind := kinds[r.IntN(len(kinds))]
		began := time.Now()
		for {
			err := kind.do()
			if err == nil || excused(err) {
				break
			}
			if sluice.ErrorCode(err) != sluice.CodeUnavailable && sluice.ErrorCode(err) != sluice.CodeBusy || time.Since(began) > time.Minute {
				return made, fmt.Errorf("change %d, %s: %w", made, kind.name, err)
			}
			if err := wait(ctx, 100*time.Millisecond); err != nil {
				return made, err
			}
		}
		made++
		if err := wait(ctx, time.Duration(r.IntN(500))*time.Millisecond); err != nil {
			return made, err
		}
	}
	return made, ctx.Err()
}

// excused reports whether a change failed because what it had started was killed.
func excused(err error) bool {
	var cause *sluice.Cause
	var e *sluice.Error
	if errors.As(err, &e) {
		cause = e.Cause
	}
	return cause != nil && (cause.Code == sluice.CauseCrashed || cause.Code == sluice.CauseInstanceExited)
}

// passing is a deployment that comes and goes.
func (f *fleet) passing(ctx context.Context) error {
	like := f.like
	like.ID, like.Name = "", "passing"
	_, poller, err := f.client.PutDeployment(ctx, fleetEndpoint, "passing", like)
	if err == nil {
		err = poller.Wait(ctx, nil)
	}
	if err != nil && !excused(err) {
		return err
	}
	gone, err := f.client.DeleteDeployment(ctx, fleetEndpoint, "passing")
	if sluice.ErrorCode(err) == sluice.CodeNotFound {
		return nil
	}
	if err != nil || gone == nil {
		return err
	}
	return gone.Wait(ctx, nil)
}

// killAtRandom kills one process after the other. Those of instances are let live
// long enough to be started again at once.
func (f *fleet) killAtRandom(ctx context.Context, load *loss.Load, r *rand.Rand, end time.Time) (killed int, err error) {
	for time.Now().Before(end) && ctx.Err() == nil {
		if err := wait(ctx, 2*time.Second+time.Duration(r.IntN(6000))*time.Millisecond); err != nil {
			return killed, err
		}
		what := victims[r.IntN(len(victims))]
		err := f.kill(ctx, load, what)
		if errors.Is(err, errNoVictim) {
			continue // it was being replaced just now
		}
		if err != nil {
			return killed, fmt.Errorf("kill %d, of the %s: %w", killed, what, err)
		}
		killed++
	}
	return killed, ctx.Err()
}
