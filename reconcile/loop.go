package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/engine"
)

// Store is what the loop needs of the store.
type Store interface {
	Get(ctx context.Context, key sluice.Key) (sluice.Resource, error)
	List(ctx context.Context, q sluice.Query) (sluice.Page, error)
	Commit(ctx context.Context, c sluice.Change) (int64, error)
	Wait(ctx context.Context, after int64) (int64, error)
}

// Environments makes the Python a script runs in. Prepare is quick when the
// environment is there already, and reports its progress otherwise. Its errors
// are typed causes wherever one is known.
type Environments interface {
	Prepare(ctx context.Context, n Needs, progress func(step, detail string)) (Python, error)
}

// Needs is what the Python of a revision is made from.
type Needs struct {
	Environment *sluice.Environment // nil: what the model says it needs
	Model       *sluice.Model       // nil for none
	Code        string              // digest of the tree
	Lock        string              // what it came to before, to be kept to; "" for the first time
}

// Publisher carries routes to the gateways.
type Publisher interface {
	// PublishAll hands over everything there is, once, before any Publish.
	PublishAll([]sluice.Routes)
	// Publish hands over the newest routes of one endpoint. It does not wait.
	Publish(sluice.Routes)
	// Applied reports whether every gateway that is connected now serves this
	// version of the endpoint's routes, or a newer one.
	Applied(workspace, endpoint string, version int64) bool
}

// Config is what a loop works with. All fields but Now are needed.
type Config struct {
	Store         Store
	Engine        engine.Engine
	Environments  Environments
	Publisher     Publisher
	Runner        string // path of sluice-runner
	InstanceTypes []sluice.InstanceType
	Epoch         int64 // grows with every new owner of the loop
	Logger        *slog.Logger
	Now           func() time.Time // nil for time.Now
}

// Loop is the one reconciler of an installation.
type Loop struct {
	Config
	wake      chan struct{} // one slot: something changed, look again
	prepared  *preparations
	watched   *watches
	published map[sluice.Key]sluice.Routes // by endpoint; the loop's goroutine only
	opened    bool                         // PublishAll has been called; the loop's goroutine only
	refused   map[string]time.Time         // by operation, since when the engine refuses; the loop's goroutine only
	began     time.Time
	stages    *stages

	chronicles map[string]*chronicle // by a deployment's UID; the loop's goroutine only
}

// New gives a loop that does nothing until it is run.
func New(c Config) *Loop {
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &Loop{Config: c, wake: make(chan struct{}, 1), published: map[sluice.Key]sluice.Routes{}, refused: map[string]time.Time{},
		chronicles: map[string]*chronicle{}}
	l.stages = newStages(c.Now, l.Poke)
	l.prepared = newPreparations(l)
	l.watched = newWatches(l)
	return l
}

// Poke asks for another pass soon.
func (l *Loop) Poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// settle bounds how long the world may differ from what the loop believes when
// every notification was lost.
const settle = time.Second

// Run makes passes until the context is done, then stops what it started and
// waits for it. Instances are left running.
func (l *Loop) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.follow(ctx) })
	group.Go(func() error { return l.passes(ctx) })
	err := group.Wait()
	l.watched.stop()
	l.prepared.stop()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// follow turns changes of the store and the engine into wake-ups.
func (l *Loop) follow(ctx context.Context) error {
	var notify <-chan struct{}
	if n, ok := l.Engine.(engine.Notifier); ok {
		notify = n.Notify()
	}
	changes := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		after := int64(0)
		for {
			latest, err := l.Store.Wait(ctx, after)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				l.Logger.Error("waiting for changes", "err", err)
				if err := pause(ctx, settle); err != nil {
					return err
				}
				continue
			}
			after = latest
			select {
			case changes <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	group.Go(func() error {
		for {
			select {
			case <-changes:
			case <-notify:
			case <-ctx.Done():
				return ctx.Err()
			}
			l.Poke()
		}
	})
	return group.Wait()
}

func (l *Loop) passes(ctx context.Context) error {
	l.began = l.Now()
	ticker := time.NewTicker(settle)
	defer ticker.Stop()
	for {
		if err := l.pass(ctx); err != nil && ctx.Err() == nil {
			l.Logger.Error("reconciling", "err", err)
		}
		select {
		case <-l.wake:
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pass looks at everything once and acts on what differs. Routes go out before
// anything is stopped, so that no gateway learns of it too late.
func (l *Loop) pass(ctx context.Context) error {
	w, err := l.observe(ctx)
	if err != nil {
		return err
	}
	l.publish(w)
	var errs []error
	for _, v := range w.views {
		if err := l.notice(ctx, v); err != nil {
			errs = append(errs, err)
		}
		if err := l.act(ctx, w, v, plan(v, l.Now())); err != nil {
			errs = append(errs, fmt.Errorf("deployment %s/%s: %w", v.deployment.Endpoint, v.deployment.Name, err))
		}
	}
	for _, id := range w.orphans {
		if err := l.Engine.Remove(ctx, l.Epoch, id); err != nil {
			errs = append(errs, fmt.Errorf("removing workload %s, which nothing owns: %w", id, err))
		}
	}
	if err := l.purgeEndpoints(ctx, w); err != nil {
		errs = append(errs, err)
	}
	if err := l.tell(ctx, w); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// firstLook bounds how long the first routes wait for instances to be asked.
const firstLook = 3 * time.Second

// publish hands over the routes that changed, and says of endpoints that are
// no more that they are gone.
//
// After a start nothing is published until every running instance has been
// asked whether it is ready: until then a gateway knows better than we do.
func (l *Loop) publish(w *world) {
	if !l.opened && !w.asked() && l.Now().Sub(l.began) < firstLook {
		return
	}
	current := map[sluice.Key]bool{}
	var changed []sluice.Routes
	for _, e := range w.endpoints {
		key := e.Key().Fold()
		current[key] = true
		r := routesOf(e, w.under(e))
		last, known := l.published[key]
		if known && same(last, r) {
			continue
		}
		r.Version = max(last.Version+1, l.Now().UnixMicro())
		l.published[key] = r
		changed = append(changed, r)
	}
	for key, last := range l.published {
		if current[key] {
			continue
		}
		delete(l.published, key)
		if !last.Gone {
			last.Gone, last.Deployments, last.Version = true, nil, max(last.Version+1, l.Now().UnixMicro())
			changed = append(changed, last)
		}
	}
	if !l.opened {
		l.opened = true
		l.Publisher.PublishAll(changed)
		return
	}
	for _, r := range changed {
		l.Publisher.Publish(r)
	}
}

// act carries out what was planned for one deployment. Everything in it may be
// repeated, so an error only means that the next pass tries again.
func (l *Loop) act(ctx context.Context, w *world, v view, a actions) error {
	for _, revision := range a.prepare {
		if err := l.prepared.start(ctx, v, revision); err != nil {
			return err
		}
	}
	for _, e := range a.ensure {
		if err := l.Engine.Ensure(ctx, l.Epoch, e.workload, e.replicas); err != nil {
			return l.refusedBy(ctx, v, fmt.Errorf("ensuring %d of workload %s: %w", e.replicas, e.workload.ID, err))
		}
	}
	if v.operation != nil {
		delete(l.refused, v.operation.Name)
	}
	for _, id := range a.remove {
		if err := l.Engine.Remove(ctx, l.Epoch, id); err != nil {
			return fmt.Errorf("removing workload %s: %w", id, err)
		}
	}
	if a.purge {
		return l.purge(ctx, w, v)
	}
	if a.done != nil && a.done.cause == nil && !l.routed(v) {
		// A gateway has yet to hear of it: the operation must not be called
		// done before a request would be answered.
		return nil
	}
	return l.record(ctx, v, a)
}

// refusedFor is how long an engine may refuse a workload until that is taken for
// its last word.
const refusedFor = 30 * time.Second

// refusedBy gives the engine's error back, which means that the next pass tries
// again. An operation that cannot come to its end that way is ended by it.
func (l *Loop) refusedBy(ctx context.Context, v view, err error) error {
	if v.operation == nil || ctx.Err() != nil || errors.Is(err, engine.ErrStale) {
		return err
	}
	name := v.operation.Name
	since, known := l.refused[name]
	switch {
	case !known:
		l.refused[name] = l.Now()
	case l.Now().Sub(since) >= refusedFor:
		delete(l.refused, name)
		cause := refusal(err).Clean()
		return errors.Join(err, l.record(ctx, v, v.fail(&cause)))
	}
	return err
}

// refusal gives the cause that an engine's refusal comes to.
func refusal(err error) sluice.Cause {
	dir := ""
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		dir = filepath.Dir(at.Path)
	}
	if explained, ok := errors.AsType[*sluice.Cause](disk.Explain("what is to run", dir, err)); ok {
		return *explained
	}
	return sluice.Cause{Code: sluice.CauseEngine, Message: "the engine cannot run it: " + err.Error(),
		Hint: "the server's log has the details"}
}

// routed reports whether the gateways serve the endpoint as last published.
func (l *Loop) routed(v view) bool {
	d := v.deployment
	r, ok := l.published[sluice.EndpointKey(d.Workspace, d.Endpoint).Fold()]
	return ok && l.Publisher.Applied(d.Workspace, d.Endpoint, r.Version)
}

// pause waits, or gives the context's error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
