package probe

import (
	"context"
	"fmt"
	"time"
)

// Watch asks again and again, as the settings say, until the verdict is
// failing, and gives the reason as an error. It returns nil when ctx is done.
// began is from when the initial delay is counted.
func (p *Prober) Watch(ctx context.Context, address, path string, began time.Time, set Settings) error {
	set = set.withDefaults()
	state := Begin(began)
	timer := time.NewTimer(time.Until(state.Due(set)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		answer := p.Check(ctx, address, Question{Path: path, Timeout: set.Timeout})
		if ctx.Err() != nil {
			return nil
		}
		state = state.Next(answer, time.Now(), set)
		if state.Verdict == Failing {
			return fmt.Errorf("GET %s failed %d times in a row, at last it %s", path, state.Failures, answer)
		}
		timer.Reset(time.Until(state.Due(set)))
	}
}
