package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-ml/sluice"
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
	Prepare(ctx context.Context, env *sluice.Environment, progress func(step, detail string)) (Python, error)
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
	began     time.Time
	stages    *stages
}

// New gives a loop that does nothing until it is run.
func New(c Config) *Loop {
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &Loop{Config: c, wake: make(chan struct{}, 1), published: map[sluice.Key]sluice.Routes{}}
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
	if a.prepare != "" {
		if err := l.prepared.start(ctx, v, a.prepare); err != nil {
			return err
		}
	}
	for _, e := range a.ensure {
		if err := l.Engine.Ensure(ctx, l.Epoch, e.workload, e.replicas); err != nil {
			return fmt.Errorf("ensuring %d of workload %s: %w", e.replicas, e.workload.ID, err)
		}
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
