package reconcile

import (
	"context"
	"fmt"
	"reflect"

	"github.com/sluice-ml/sluice"
)

// self is on whose behalf the loop writes.
var self = sluice.Actor{Name: "sluice"}

// record writes what a pass learned about a deployment: which revision serves,
// how far the operation is, how it ended. It writes nothing when nothing
// changed. What failed, and why, belongs in the history of the deployment: the
// next change forgets it everywhere else.
func (l *Loop) record(ctx context.Context, v view, a actions) error {
	d, op := *v.deployment, v.operation
	change := sluice.Change{Actor: self, Observed: a.done == nil || a.done.cause == nil}
	if a.serving != nil {
		d.Serving = *a.serving
	}
	if op != nil {
		next := *op
		l.stages.take(&next, a.done != nil)
		if a.done != nil {
			l.end(&next, a.done.cause)
			l.opEnded(v, &next)
			d.State, d.Cause, d.Operation = sluice.StateSucceeded, a.done.cause, ""
			if a.done.cause != nil {
				d.State = sluice.StateFailed
			}
		}
		if !reflect.DeepEqual(next, *op) {
			change.Put = append(change.Put, &next)
		}
	}
	d.Trouble = troubleOf(v, l.Now())
	if !reflect.DeepEqual(d, *v.deployment) {
		change.Put = append(change.Put, &d)
	}
	if len(change.Put) == 0 {
		return nil
	}
	settled := l.told(v, &change)
	_, err := l.Store.Commit(ctx, change)
	settled(err)
	if err != nil {
		return fmt.Errorf("recording progress: %w", err)
	}
	if a.done != nil && a.done.cause != nil {
		l.Logger.Info("operation failed", "deployment", d.Endpoint+"/"+d.Name,
			"operation", op.Name, "cause", a.done.cause.Code, "message", a.done.cause.Message)
	}
	return nil
}

func (l *Loop) end(op *sluice.Operation, cause *sluice.Cause) {
	op.Status, op.Cause, op.Ended = sluice.OperationSucceeded, cause, l.Now()
	if cause != nil {
		op.Status = sluice.OperationFailed
	}
	op.Stages = sluice.EndStages(op.Stages, op.Ended)
}

// purge removes the rows of a deployment of which nothing runs any more, and
// ends the operation that deleted it.
func (l *Loop) purge(ctx context.Context, w *world, v view) error {
	d := v.deployment
	change := sluice.Change{Actor: self, Observed: true, Delete: []sluice.Resource{d}}
	if v.scale.Change != 0 {
		change.Delete = append(change.Delete, v.scale)
	}
	revisions, err := l.Store.List(ctx, sluice.Query{Workspace: d.Workspace, Kind: sluice.KindRevision, Name: d.Endpoint + "/" + d.Name})
	if err != nil {
		return fmt.Errorf("listing revisions: %w", err)
	}
	change.Delete = append(change.Delete, revisions.Items...)
	events, err := l.eventRows(ctx, d)
	if err != nil {
		return err
	}
	change.Delete = append(change.Delete, events...)
	if v.operation != nil {
		op := *v.operation
		l.end(&op, nil)
		change.Put = append(change.Put, &op)
	}
	if _, err := l.Store.Commit(ctx, change); err != nil {
		return fmt.Errorf("removing the deleted deployment: %w", err)
	}
	w.purged[d] = true
	return nil
}

// purgeEndpoints removes the rows of deleted endpoints that have no deployment
// left.
func (l *Loop) purgeEndpoints(ctx context.Context, w *world) error {
	for _, e := range w.endpoints {
		if e.State != sluice.StateDeleting || len(w.under(e)) > 0 {
			continue
		}
		if err := l.purgeEndpoint(ctx, e); err != nil {
			return fmt.Errorf("removing the deleted endpoint %s: %w", e.Name, err)
		}
	}
	return nil
}

func (l *Loop) purgeEndpoint(ctx context.Context, e *sluice.Endpoint) error {
	change := sluice.Change{Actor: self, Observed: true, Delete: []sluice.Resource{e}}
	keys, err := read[*sluice.Keys](ctx, l.Store, (&sluice.Keys{Meta: e.Meta}).Key())
	switch {
	case err == nil:
		change.Delete = append(change.Delete, keys)
	case sluice.ErrorCode(err) != sluice.CodeNotFound:
		return err
	}
	if e.Operation != "" {
		op, err := read[*sluice.Operation](ctx, l.Store, sluice.Key{Workspace: e.Workspace, Kind: sluice.KindOperation, Name: e.Operation})
		switch {
		case err == nil:
			l.end(op, nil)
			change.Put = append(change.Put, op)
		case sluice.ErrorCode(err) != sluice.CodeNotFound:
			return err
		}
	}
	_, err = l.Store.Commit(ctx, change)
	return err
}
