package process

import (
	"context"
	"runtime"

	"github.com/sluice-ml/sluice/engine"
)

func cores() int { return runtime.NumCPU() }

// watchLive has somebody ask whether the copy still lives, and has it killed
// and replaced when the answer is no.
func (e *Engine) watchLive(ctx context.Context, r record) {
	s, err := e.see(r.ID)
	if err != nil || s.instance.Phase != engine.Running {
		return
	}
	why := e.config.Live(ctx, clone(s.instance), r.Live)
	if why == nil || ctx.Err() != nil {
		return
	}
	err = e.update(r.ID, func(r *record) {
		if r.Drained.IsZero() { // else it is ended anyway, and may say so
			r.Hung = why.Error()
		}
	})
	e.log.Warn("an instance hangs", "instance", r.ID, "workload", r.Workload, "because", why)
	if err != nil {
		e.log.Error("recording that an instance hangs", "instance", r.ID, "error", err)
	}
	e.loop.Wake()
}
