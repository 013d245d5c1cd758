package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/environment"
)

const (
	// every is how often leftovers are removed and the use is counted, beside
	// when it starts.
	every = time.Hour
	// leftovers is how long an interrupted upload can be continued.
	leftovers = 24 * time.Hour
)

// Artifacts keeps uploaded files.
type Artifacts interface {
	Sweep(ctx context.Context, o artifact.Sweep) (artifact.Swept, error)
	Usage(ctx context.Context) (int64, error)
}

// Environments keeps Python environments.
type Environments interface {
	Prune(ctx context.Context, o environment.Prune) (environment.Pruned, error)
	Hold(ctx context.Context, lockHash string) (bool, error)
	Usage(ctx context.Context) (int64, error)
	UnderWay(ctx context.Context) (int64, error)
}

// Config is what a Collector works with. Only Budget and Warn may be zero.
type Config struct {
	Store        Store
	Artifacts    Artifacts
	Environments Environments
	Engine       engine.Holder
	Dir          string // on the disk that must not fill up
	Budget       int64  // bytes; 0 for no limit
	Warn         int    // percent of the budget
	Logger       *slog.Logger
}

// Collector keeps Sluice within its room. Make one with [New].
type Collector struct {
	Config

	// preparing is held, shared, while an environment is prepared.
	preparing sync.RWMutex
	// pruning lets one prune at a time, and guards collected. It is taken
	// before mu.
	pruning   sync.Mutex
	collected time.Time // the end of the last prune
	// recount asks Run to count again.
	recount chan struct{}

	mu      sync.Mutex // guards what follows
	counted counted
	writing int64 // bytes that were let in and are on their way
	written int64 // bytes that have come in since the count began
	step    step
}

// counted is what the disk held at one moment.
type counted struct {
	at                      time.Time
	artifacts, environments int64
	underWay                int64 // of environments
}

// New makes a collector. It does nothing until Run.
func New(c Config) *Collector {
	return &Collector{Config: c, recount: make(chan struct{}, 1)}
}

// Run counts and collects until the context is done.
func (c *Collector) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for hourly := true; ; {
		if hourly {
			if err := c.removeLeftovers(ctx); err != nil && ctx.Err() == nil {
				c.Logger.Error("removing what interrupted uploads left", "error", err.Error())
			}
		}
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Error("looking after the disk", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			hourly = true
		case <-c.recount:
			hourly = false
		}
	}
}

// round counts, and collects when the room is nearly used up.
func (c *Collector) round(ctx context.Context) error {
	if err := c.count(ctx); err != nil {
		return err
	}
	use, err := c.Use(ctx)
	if err != nil || use.Warning() == "" {
		return err
	}
	if _, err := c.Prune(ctx, false); err != nil {
		return err
	}
	if use, err = c.Use(ctx); err == nil && use.Warning() != "" {
		c.Logger.Warn(use.Warning(), "used", use.Used(), "budget", use.Budget, "free", use.Free)
	}
	return err
}

func (c *Collector) removeLeftovers(ctx context.Context) error {
	swept, err := c.Artifacts.Sweep(ctx, artifact.Sweep{Leftovers: leftovers, OnlyLeftovers: true})
	if swept.Uploads > 0 {
		c.Logger.Info("removed what interrupted uploads left", "uploads", swept.Uploads, "bytes", swept.Bytes)
	}
	return err
}

// poke has the use counted again soon.
func (c *Collector) poke() {
	select {
	case c.recount <- struct{}{}:
	default:
	}
}

// count looks at the disk.
func (c *Collector) count(ctx context.Context) error {
	c.mu.Lock()
	before := c.written
	c.mu.Unlock()
	now := counted{at: time.Now()}
	var err error
	// What is under way is counted first: what is done by then counts once.
	if now.underWay, err = c.Environments.UnderWay(ctx); err != nil {
		return fmt.Errorf("counting what environments under way take: %w", err)
	}
	if now.environments, err = c.Environments.Usage(ctx); err != nil {
		return fmt.Errorf("counting what environments take: %w", err)
	}
	if now.artifacts, err = c.Artifacts.Usage(ctx); err != nil {
		return fmt.Errorf("counting what uploaded files take: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// What came in while we counted may be counted or not: take it for not.
	c.counted, c.written = now, c.written-before
	return nil
}

// Use gives what is used and how much room there is. It counts only when that
// was never done.
func (c *Collector) Use(ctx context.Context) (sluice.DiskUse, error) {
	c.mu.Lock()
	known := !c.counted.at.IsZero()
	c.mu.Unlock()
	if !known {
		if err := c.count(ctx); err != nil {
			return sluice.DiskUse{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	use := sluice.DiskUse{Budget: c.Budget, Warn: c.Warn,
		Artifacts: c.artifacts(), Environments: c.counted.environments}
	if room, ok := disk.At(c.Dir); ok {
		use.Free, use.Size = room.Bytes, room.Size
	}
	return use, nil
}

// artifacts gives what uploaded files take, or are about to. It is called with
// mu held.
func (c *Collector) artifacts() int64 { return c.counted.artifacts + c.written + c.writing }

// Prune removes what nothing needs, or says what it would remove.
func (c *Collector) Prune(ctx context.Context, dryRun bool) (sluice.Pruned, error) {
	c.pruning.Lock()
	defer c.pruning.Unlock()
	return c.prune(ctx, dryRun)
}

// prune is called with pruning held.
func (c *Collector) prune(ctx context.Context, dryRun bool) (sluice.Pruned, error) {
	out := sluice.Pruned{DryRun: dryRun}
	all, err := c.read(ctx)
	if err != nil {
		return out, fmt.Errorf("finding out what is needed: %w", err)
	}
	keep := needs(all)
	swept, err := c.Artifacts.Sweep(ctx, artifact.Sweep{Keep: func(tree string) bool { return keep.trees[tree] }, DryRun: dryRun})
	idle := c.preparing.TryLock()
	pruned, errEnvironments := c.Environments.Prune(ctx, environment.Prune{
		Keep: func(lock string) bool { return keep.locks[lock] }, Idle: idle, DryRun: dryRun})
	if idle {
		c.preparing.Unlock()
	}
	out.Files, out.Uploads = swept.Blobs, swept.Uploads
	out.Environments, out.Logs = pruned.Environments, pruned.Logs
	out.Bytes, out.LaterBytes = swept.Bytes+pruned.Bytes, swept.Later+pruned.Later
	err = errors.Join(err, errEnvironments)
	if !dryRun {
		if out.Bytes > 0 {
			c.Logger.Info("removed what nothing needs", "files", out.Files, "environments", out.Environments, "uploads", out.Uploads, "bytes", out.Bytes)
		}
		c.forgetStep()
		c.collected = time.Now()
		err = errors.Join(err, c.count(ctx))
	}
	return out, err
}
