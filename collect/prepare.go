package collect

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/environment"
)

// watchEvery is how often the making of an environment is looked at, and
// watchFirst when for the first time: what is there already is never refused.
const (
	watchEvery = 5 * time.Second
	watchFirst = 300 * time.Millisecond
)

// Prepare makes an environment while there is room, and has it noted as handed
// out before anything can collect it.
func (c *Collector) Prepare(ctx context.Context, prepare func(context.Context) (environment.Env, error)) (environment.Env, error) {
	c.preparing.RLock()
	defer c.preparing.RUnlock()
	const attempts = 3
	for range attempts {
		env, err := c.watched(ctx, prepare)
		if err != nil {
			return env, err
		}
		ok, err := c.Environments.Hold(ctx, env.LockHash)
		if ok || err != nil {
			return env, err
		}
	}
	return environment.Env{}, errors.New("the environment was removed each time it had been made")
}

// watched runs prepare and stops it when it goes beyond the room there is.
func (c *Collector) watched(ctx context.Context, prepare func(context.Context) (environment.Env, error)) (environment.Env, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	// Before anything is made: what is there by then does not count as growing.
	before, err := c.Environments.UnderWay(ctx)
	if err != nil && ctx.Err() == nil {
		c.Logger.Error("looking for room on the disk", "error", err.Error())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.watch(ctx, cancel, before)
	}()
	env, err := prepare(ctx)
	cancel(nil)
	<-done
	if err == nil && !env.Reused {
		c.poke()
	}
	return env, c.explain(err)
}

// explain gives an error its next step when it says that the disk is full.
func (c *Collector) explain(err error) error {
	cause, ok := errors.AsType[*sluice.Cause](err)
	if !ok || cause.Code != sluice.CauseDiskFull {
		return err
	}
	with := *cause
	with.Hint = c.NextStep(context.Background())
	return &with
}

func (c *Collector) watch(ctx context.Context, stop context.CancelCauseFunc, before int64) {
	next := time.NewTimer(watchFirst)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		next.Reset(watchEvery)
		full, err := c.look(ctx, before)
		if err != nil && ctx.Err() == nil { // that it cannot be told is no reason to stop
			c.Logger.Error("looking for room on the disk", "error", err.Error())
		}
		if full != nil {
			stop(full)
			return
		}
	}
}

// look gives why what is under way must not go on. Where nothing has grown
// since before, nothing is made: what is there already may be used whatever
// the room is.
func (c *Collector) look(ctx context.Context, before int64) (full, err error) {
	use, grown, err := c.growing(ctx, before)
	if err != nil || !grown || use.Fits(0) {
		return nil, err
	}
	if _, err = c.makeRoom(ctx, use.Environments-c.lastEnvironments()); err != nil {
		return nil, err
	}
	use, grown, err = c.growing(ctx, before)
	if err != nil || !grown || use.Fits(0) {
		return nil, err
	}
	return c.full(ctx, "making the environment", 0, use), nil
}

func (c *Collector) lastEnvironments() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counted.environments
}

// growing is Use with what environments under way take now, and whether that
// is more than before.
func (c *Collector) growing(ctx context.Context, before int64) (use sluice.DiskUse, grown bool, err error) {
	use, err = c.Use(ctx)
	if err != nil || c.Budget == 0 && use.Fits(0) {
		return use, false, err
	}
	underWay, err := c.Environments.UnderWay(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	use.Environments += underWay - c.counted.underWay
	return use, underWay > before, err
}
