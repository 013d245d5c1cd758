package collect

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-ml/sluice"
)

// Admit refuses to write what there is no room for, after collecting what
// nothing needs. What names it to a person. What is let in counts as used from
// then on; done is called when it is written, or will not be.
func (c *Collector) Admit(ctx context.Context, what string, bytes int64) (done func(), err error) {
	if err := c.room(ctx, what, bytes, bytes); err != nil {
		return nil, err
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.writing -= bytes
		if c.written += bytes; c.written > recountAfter {
			c.poke()
		}
	}, nil
}

// recountAfter is how much may come in before it is counted what of it stayed.
const recountAfter = 1 << 30

// Check is Admit for what is not written yet.
func (c *Collector) Check(ctx context.Context, what string, bytes int64) error {
	return c.room(ctx, what, bytes, 0)
}

// room sees that there is room for bytes, and takes some of it.
func (c *Collector) room(ctx context.Context, what string, bytes, take int64) error {
	use, ok, err := c.take(ctx, bytes, take)
	if err == nil && !ok {
		if _, err = c.makeRoom(ctx, bytes); err == nil {
			use, ok, err = c.take(ctx, bytes, take)
		}
	}
	if err != nil {
		return fmt.Errorf("looking for room on the disk: %w", err)
	}
	if !ok {
		return c.full(ctx, what, bytes, use)
	}
	return nil
}

// take takes room when the bytes fit, in one step with looking.
func (c *Collector) take(ctx context.Context, bytes, take int64) (use sluice.DiskUse, ok bool, err error) {
	if use, err = c.Use(ctx); err != nil {
		return use, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	use.Artifacts = c.artifacts()
	if use.Size > 0 {
		use.Free -= c.writing // what others are about to write
	}
	if ok = use.Fits(bytes); ok {
		c.writing += take
	}
	return use, ok, nil
}

// makeRoom counts exactly, and collects when that does not help. Of many who
// ask at once, one does both for all.
func (c *Collector) makeRoom(ctx context.Context, bytes int64) (sluice.DiskUse, error) {
	asked := time.Now()
	c.pruning.Lock()
	defer c.pruning.Unlock()
	c.mu.Lock()
	exact := c.counted.at.After(asked)
	c.mu.Unlock()
	if !exact {
		if err := c.count(ctx); err != nil {
			return sluice.DiskUse{}, err
		}
	}
	use, err := c.Use(ctx)
	if err != nil || use.Fits(bytes) || c.collected.After(asked) {
		return use, err
	}
	if _, err := c.prune(ctx, false); err != nil {
		return use, err
	}
	return c.Use(ctx)
}

// full says why there is no room.
func (c *Collector) full(ctx context.Context, what string, bytes int64, use sluice.DiskUse) error {
	cause := &sluice.Cause{Code: sluice.CauseDiskFull, Hint: c.NextStep(ctx)}
	need := ""
	if bytes > 0 {
		need = " takes " + sluice.FormatBytes(bytes) + ", and"
	}
	if use.Budget > 0 && bytes > use.Budget-use.Used() {
		cause.Message = fmt.Sprintf("the disk budget is used up: %s%s models and environments take %s of the %s that disk.budget allows (%s are free on the disk)",
			what, orColon(need), sluice.FormatBytes(use.Used()), sluice.FormatBytes(use.Budget), sluice.FormatBytes(use.Free))
	} else {
		cause.Message = fmt.Sprintf("the disk is full: %s%s %s of %s are free, and %s of that stay reserved",
			what, orColon(need), sluice.FormatBytes(use.Free), sluice.FormatBytes(use.Size), sluice.FormatBytes(sluice.Reserve(use.Size)))
	}
	return cause
}

func orColon(need string) string {
	if need == "" {
		return " does not fit:"
	}
	return need
}

// step is advice, for a while.
type step struct {
	at   time.Time
	text string
}

const (
	stepTime = 3 * time.Second  // how long finding out may take
	stepFor  = 10 * time.Second // how long it holds
)

func (c *Collector) forgetStep() {
	c.mu.Lock()
	c.step = step{}
	c.mu.Unlock()
}

// NextStep says what to do when there is no room, with what `sluice prune`
// would free.
func (c *Collector) NextStep(ctx context.Context) string {
	c.mu.Lock()
	last := c.step
	c.mu.Unlock()
	if last.text != "" && time.Since(last.at) < stepFor {
		return last.text
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	text := "`sluice prune` removes what nothing needs"
	if would, err := c.dry(ctx); err == nil {
		text = stepFrom(would)
	}
	text += "; else delete deployments and model versions, "
	if c.Budget > 0 {
		text += "raise disk.budget in sluice.yml, "
	}
	text += "or free space on that disk"
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step = step{time.Now(), text}
	return text
}

// dry says what a prune would free. It does not wait for one that runs: whoever
// runs it may be the one who asks.
func (c *Collector) dry(ctx context.Context) (sluice.Pruned, error) { return c.prune(ctx, true) }

func stepFrom(would sluice.Pruned) string {
	switch {
	case would.Bytes == 0 && would.LaterBytes > 0:
		return fmt.Sprintf("`sluice prune` would free nothing now, and %s once that has not been used for %s",
			sluice.FormatBytes(would.LaterBytes), graceWords)
	case would.Bytes == 0:
		return "everything is needed: `sluice prune` would free nothing"
	}
	return "`sluice prune` would free " + sluice.FormatBytes(would.Bytes)
}

const graceWords = "an hour and a half"
