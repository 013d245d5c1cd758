package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-ml/sluice"
)

// notice adds to the chronicle of a deployment what its view implies, and to the
// view what only the chronicle knows: which instances were ready before this
// server was there. Nothing
// is written here: events go with what is written anyway, so that they cost a
// start no change of their own, and else with [Loop.writeDown].
func (l *Loop) notice(ctx context.Context, v view) error {
	if v.deployment.State == sluice.StateDeleting {
		return nil
	}
	c, err := l.chronicle(ctx, v.deployment)
	if err != nil {
		return err
	}
	for n := range v.instances {
		i := &v.instances[n]
		i.everReady = i.everReady || c.ready[i.ID]
	}
	for _, e := range c.implied(v, l.Now()) {
		c.append(v.deployment, e)
	}
	return nil
}

// append numbers an event and adds it.
func (c *chronicle) append(d *sluice.Deployment, e *sluice.DeploymentEvent) {
	e.Seq = c.next()
	e.Meta = sluice.Meta{Workspace: d.Workspace, Name: d.Name, Version: sluice.EventVersion(d.UID, e.Seq)}
	e.Endpoint = d.Endpoint
	c.add(e)
}

// chronicle gives what has been told of a deployment; the first time it is
// read from the store.
func (l *Loop) chronicle(ctx context.Context, d *sluice.Deployment) (*chronicle, error) {
	if c := l.chronicles[d.UID]; c != nil {
		return c, nil
	}
	rows, err := l.eventRows(ctx, d)
	if err != nil {
		return nil, err
	}
	var events []*sluice.DeploymentEvent
	for _, row := range rows {
		if e, ok := row.(*sluice.DeploymentEvent); ok {
			events = append(events, e)
		}
	}
	slices.SortFunc(events, func(a, b *sluice.DeploymentEvent) int { return int(a.Seq - b.Seq) })
	c := newChronicle(events)
	l.chronicles[d.UID] = c
	return c, nil
}

func (l *Loop) eventRows(ctx context.Context, d *sluice.Deployment) ([]sluice.Resource, error) {
	page, err := l.Store.List(ctx, sluice.Query{Workspace: d.Workspace, Kind: sluice.KindDeploymentEvent, Name: d.Endpoint + "/" + d.Name})
	if err != nil {
		return nil, fmt.Errorf("listing events: %w", err)
	}
	return page.Items, nil
}

// opEnded tells how an operation ended.
func (l *Loop) opEnded(v view, op *sluice.Operation) {
	c := l.chronicles[v.deployment.UID]
	if c == nil {
		return // it could not be read: the operation says it all the same
	}
	e := &sluice.DeploymentEvent{At: kept(op.Ended), What: sluice.EventOperationDone,
		Operation: op.Name, Verb: op.Verb, Revision: v.deployment.Revision, Cause: op.Cause,
		Message: fmt.Sprintf("the %s succeeded after %s", op.Verb, took(op.Ended.Sub(op.Started)))}
	if op.Cause != nil {
		e.What, e.Message = sluice.EventOperationFailed, fmt.Sprintf("the %s failed: %s", op.Verb, op.Cause.Error())
	}
	c.append(v.deployment, e)
}

// told adds to a change what of the deployment's events is not written yet, and
// takes away those that are too old for it. The function it gives must be
// called with what became of the change.
func (l *Loop) told(v view, change *sluice.Change) (settle func(error)) {
	uid := v.deployment.UID
	c := l.chronicles[uid]
	if c == nil || len(c.unwritten()) == 0 {
		return func(error) {}
	}
	over := c.overflow(v.subjects())
	c.forget(over)
	for _, e := range over {
		if e.Change != 0 {
			change.Delete = append(change.Delete, e)
		}
	}
	for _, e := range c.unwritten() {
		e.Floor = c.floor
		change.Put = append(change.Put, e)
	}
	return func(err error) {
		if err != nil {
			// Whatever was written of it and by whom: the store knows.
			delete(l.chronicles, uid)
		}
	}
}

// writeDown writes the events that nothing else carried. While an operation
// runs they wait a little for what it will write, to hold it up by nothing.
func (l *Loop) writeDown(ctx context.Context, v view) error {
	c := l.chronicles[v.deployment.UID]
	if c == nil {
		return nil
	}
	waiting := c.unwritten()
	if len(waiting) == 0 || v.operation != nil && l.Now().Sub(waiting[0].At) < settle {
		return nil
	}
	change := sluice.Change{Actor: self, Observed: true}
	settled := l.told(v, &change)
	_, err := l.Store.Commit(ctx, change)
	settled(err)
	if err != nil {
		return fmt.Errorf("writing events: %w", err)
	}
	return nil
}

// tell writes down what a pass saw happen, and forgets deployments that are no
// more.
func (l *Loop) tell(ctx context.Context, w *world) error {
	var errs []error
	known := map[string]bool{}
	for _, v := range w.views {
		if w.purged[v.deployment] || v.deployment.State == sluice.StateDeleting {
			continue
		}
		known[v.deployment.UID] = true
		if err := l.writeDown(ctx, v); err != nil {
			errs = append(errs, err)
		}
	}
	for uid := range l.chronicles {
		if !known[uid] {
			delete(l.chronicles, uid)
		}
	}
	return errors.Join(errs...)
}
