package serve

import (
	"context"
	"errors"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/api"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/reconcile"
)

// copies are the instances that an engine has, as the API speaks of them.
type copies struct{ engine engine.Engine }

// Of implements [api.Instances].
func (c copies) Of(ctx context.Context, uid string) ([]arm.Instance, error) {
	list, err := c.engine.Instances(ctx, engine.Selector{Labels: map[string]string{reconcile.LabelUID: uid}})
	if err != nil {
		return nil, err
	}
	out := make([]arm.Instance, len(list))
	for n, i := range list {
		out[n] = arm.Instance{ID: i.ID, Phase: string(i.Phase), Revision: i.Labels[reconcile.LabelRevision],
			Created: i.Created.UTC(), Started: i.Started.UTC(), Ended: i.Ended.UTC()}
	}
	return out, nil
}

// Log implements [api.Instances].
func (c copies) Log(ctx context.Context, instance string, tail int, from string, follow bool) (api.Log, error) {
	log, err := c.engine.Logs(ctx, instance, engine.LogOptions{Tail: tail, From: from, Follow: follow})
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil, sluice.Errorf(sluice.CodeNotFound, "instance %s has no log any more", instance)
	case errors.Is(err, engine.ErrPosition):
		return nil, sluice.Errorf(sluice.CodeInvalid, "%.60q is no position in the log of instance %s", from, instance)
	case err != nil:
		return nil, err
	}
	return log, nil
}
