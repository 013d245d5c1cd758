package reconcile

import (
	"context"
	"fmt"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

// world is everything one pass looks at, read once.
type world struct {
	endpoints []*sluice.Endpoint
	views     []view
	orphans   []string // workloads with live instances that belong to no deployment

	byEndpoint map[sluice.Key][]view
	purged     map[*sluice.Deployment]bool // those whose rows went in this pass
}

// add takes a view in.
func (w *world) add(v view) {
	w.views = append(w.views, v)
	key := sluice.EndpointKey(v.deployment.Workspace, v.deployment.Endpoint).Fold()
	w.byEndpoint[key] = append(w.byEndpoint[key], v)
}

// under gives the views of the deployments that an endpoint still has.
func (w *world) under(e *sluice.Endpoint) []view {
	var out []view
	for _, v := range w.byEndpoint[e.Key().Fold()] {
		if !w.purged[v.deployment] {
			out = append(out, v)
		}
	}
	return out
}

// asked reports whether every instance that could answer has been asked
// whether it is ready.
func (w *world) asked() bool {
	for _, v := range w.views {
		for _, i := range v.instances {
			if i.live() && i.Address != "" && !i.asked {
				return false
			}
		}
	}
	return true
}

func (l *Loop) observe(ctx context.Context) (*world, error) {
	endpoints, err := all[*sluice.Endpoint](ctx, l.Store, sluice.KindEndpoint)
	if err != nil {
		return nil, err
	}
	deployments, err := all[*sluice.Deployment](ctx, l.Store, sluice.KindDeployment)
	if err != nil {
		return nil, err
	}
	scales, err := all[*sluice.Scale](ctx, l.Store, sluice.KindScale)
	if err != nil {
		return nil, err
	}
	instances, err := l.Engine.Instances(ctx, engine.Selector{})
	if err != nil {
		return nil, fmt.Errorf("listing instances: %w", err)
	}
	probes := map[string]sluice.Probe{}
	for _, d := range deployments {
		probes[d.UID] = d.Spec.Readiness
	}
	l.watched.follow(ctx, instances, probes)

	scaleOf := map[sluice.Key]*sluice.Scale{}
	for _, s := range scales {
		scaleOf[s.Key().Fold()] = s
	}
	w := &world{endpoints: endpoints, byEndpoint: map[sluice.Key][]view{}, purged: map[*sluice.Deployment]bool{}}
	byUID := map[string][]seen{}
	for _, i := range instances {
		if uid := i.Labels[LabelUID]; uid != "" {
			byUID[uid] = append(byUID[uid], l.watched.see(ctx, i))
		}
	}
	known := map[string]bool{}
	for _, d := range deployments {
		known[d.UID] = true
		v := view{deployment: d, instances: byUID[d.UID]}
		if v.operation, err = l.operationOf(ctx, d); err != nil {
			return nil, err
		}
		v.scale = scaleOf[(&sluice.Scale{Meta: d.Meta, Endpoint: d.Endpoint}).Key().Fold()]
		if v.scale == nil {
			v.scale = &sluice.Scale{Want: 1}
		}
		v.prepared, v.unpreparable = l.prepared.of(v)
		l.nameLarger(v)
		l.stages.instances(v)
		w.add(v)
	}
	w.orphans = orphans(byUID, known)
	l.prepared.keep(w.views)
	return w, nil
}

// orphans lists the live workloads of deployments that are not known.
func orphans(byUID map[string][]seen, known map[string]bool) []string {
	found := map[string]bool{}
	var out []string
	for uid, instances := range byUID {
		if known[uid] {
			continue
		}
		for _, i := range instances {
			if i.live() && !found[i.Workload] {
				found[i.Workload] = true
				out = append(out, i.Workload)
			}
		}
	}
	return out
}

func (l *Loop) operationOf(ctx context.Context, d *sluice.Deployment) (*sluice.Operation, error) {
	if d.Operation == "" {
		return nil, nil
	}
	op, err := read[*sluice.Operation](ctx, l.Store, sluice.Key{Workspace: d.Workspace, Kind: sluice.KindOperation, Name: d.Operation})
	// One that was canceled meanwhile does not run any more.
	if sluice.ErrorCode(err) == sluice.CodeNotFound || err == nil && op.Done() {
		return nil, nil
	}
	return op, err
}

// all reads every resource of a kind, in all workspaces.
func all[T sluice.Resource](ctx context.Context, s Store, kind sluice.Kind) ([]T, error) {
	var out []T
	q := sluice.Query{Kind: kind, Limit: 1000}
	for {
		page, err := s.List(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("listing each %s: %w", kind, err)
		}
		for _, r := range page.Items {
			if t, ok := r.(T); ok {
				out = append(out, t)
			}
		}
		if page.Next == "" {
			return out, nil
		}
		q.After = page.Next
	}
}

// read reads one resource as what it is.
func read[T sluice.Resource](ctx context.Context, s Store, key sluice.Key) (T, error) {
	var none T
	r, err := s.Get(ctx, key)
	if err != nil {
		return none, err
	}
	t, ok := r.(T)
	if !ok {
		return none, fmt.Errorf("reading %s: the store gave a %T", key, r)
	}
	return t, nil
}
