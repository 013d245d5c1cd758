package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

const (
	// preparing bounds how many environments are made at once.
	preparing = 2
	// prepareAgain is when an environment that could not be made is tried
	// again although nobody asked: an index comes back, a disk is cleaned.
	prepareAgain = 30 * time.Second
)

// preparations makes revisions ready to run, each once, beside the loop.
type preparations struct {
	loop  *Loop
	slots chan struct{}
	group sync.WaitGroup

	mu         sync.Mutex
	byRevision map[string]*preparation // guarded by mu
}

type preparation struct {
	cancel context.CancelFunc
	done   bool
	// Exactly one of these is set when done.
	workload engine.Workload
	cause    *sluice.Cause
	ended    time.Time
}

func newPreparations(l *Loop) *preparations {
	return &preparations{loop: l, slots: make(chan struct{}, preparing), byRevision: map[string]*preparation{}}
}

// of gives what is known of the revisions a view may need. A failure from
// before the operation that runs now is forgotten, and so is one nobody waits
// for after a while: both are tried again.
func (p *preparations) of(v view) (map[string]engine.Workload, map[string]*sluice.Cause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ready, failed := map[string]engine.Workload{}, map[string]*sluice.Cause{}
	for _, revision := range []string{v.deployment.Revision, v.deployment.Serving} {
		one := p.byRevision[revision]
		switch {
		case one == nil || !one.done:
		case one.cause == nil:
			ready[revision] = one.workload
		case v.operation != nil && one.ended.Before(v.operation.Started),
			v.operation == nil && p.loop.Now().Sub(one.ended) > prepareAgain:
			delete(p.byRevision, revision)
		default:
			failed[revision] = one.cause
		}
	}
	return ready, failed
}

// keep drops, and stops, what no view needs any more.
func (p *preparations) keep(views []view) {
	needed := map[string]bool{}
	for _, v := range views {
		if v.deployment.State != sluice.StateDeleting {
			needed[v.deployment.Revision], needed[v.deployment.Serving] = true, true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for revision, one := range p.byRevision {
		if !needed[revision] {
			one.cancel()
			delete(p.byRevision, revision)
		}
	}
}

// start begins to prepare a revision unless that is under way.
func (p *preparations) start(ctx context.Context, v view, revision string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byRevision[revision] != nil {
		return nil
	}
	d := v.deployment
	rev, err := read[*sluice.Revision](ctx, p.loop.Store, sluice.Key{Workspace: d.Workspace,
		Kind: sluice.KindRevision, Name: d.Endpoint + "/" + d.Name, Version: revision})
	if err != nil {
		return fmt.Errorf("reading revision %s: %w", revision, err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	one := &preparation{cancel: cancel}
	p.byRevision[revision] = one
	operation := d.Operation
	p.group.Go(func() {
		defer cancel()
		workload, err := p.prepare(ctx, d, rev, operation)
		p.mu.Lock()
		one.done, one.workload, one.ended = true, workload, p.loop.Now()
		if err != nil {
			// What was refused of a long file, or a tool's words, may be endless.
			cause := causeOf(err).Clean()
			one.cause = &cause
			if one.cause.Code == sluice.CauseInternal && ctx.Err() == nil {
				p.loop.Logger.Error("preparing revision", "revision", revision, "err", err)
			}
		}
		p.mu.Unlock()
		p.loop.Poke()
	})
	return nil
}

// stop ends what is under way and waits for it.
func (p *preparations) stop() {
	p.mu.Lock()
	for _, one := range p.byRevision {
		one.cancel()
	}
	p.mu.Unlock()
	p.group.Wait()
}

func (p *preparations) prepare(ctx context.Context, d *sluice.Deployment, rev *sluice.Revision, operation string) (engine.Workload, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return engine.Workload{}, ctx.Err()
	}
	found, env, err := p.find(ctx, rev)
	if err != nil {
		return engine.Workload{}, err
	}
	needs := Needs{Environment: env, Model: found.model, Lock: rev.Lock}
	if found.code != nil {
		needs.Code = found.code.Content.Tree
	}
	found.env, err = p.loop.Environments.Prepare(ctx, needs, func(step, detail string) {
		p.loop.stages.enter(operation, sluice.Stage{Name: sluice.StageEnvironment, Step: step, Detail: detail})
	})
	if err != nil {
		return engine.Workload{}, err
	}
	p.loop.stages.leave(operation, sluice.StageEnvironment)
	p.loop.stages.notice(operation, found.env.Notices)
	if err := p.lock(ctx, rev, found.env.Lock); err != nil {
		return engine.Workload{}, err
	}
	return newWorkload(p.loop.Runner, d, rev, found), nil
}

// find looks up what the revision refers to.
func (p *preparations) find(ctx context.Context, rev *sluice.Revision) (found parts, env *sluice.Environment, err error) {
	spec := rev.Spec
	if found.size, err = sluice.FindInstanceType(p.loop.InstanceTypes, spec.InstanceType); err != nil {
		return parts{}, nil, err
	}
	if spec.Code != nil {
		found.code, err = asset[*sluice.CodeVersion](ctx, p.loop.Store, rev.Workspace, sluice.KindCode, spec.Code.Code)
	}
	if err != nil {
		return parts{}, nil, err
	}
	if spec.Model != "" {
		if found.model, err = asset[*sluice.Model](ctx, p.loop.Store, rev.Workspace, sluice.KindModel, spec.Model); err != nil {
			return parts{}, nil, err
		}
	}
	if spec.Code == nil && (found.model == nil || found.model.Type != sluice.ModelMLflow) {
		return parts{}, nil, sluice.Errorf(sluice.CodeNotBuilt, "a deployment without code_configuration and without an MLflow model is not built yet")
	}
	if spec.Environment == "" {
		return found, nil, nil // the model says what it needs
	}
	env, err = asset[*sluice.Environment](ctx, p.loop.Store, rev.Workspace, sluice.KindEnvironment, spec.Environment)
	return found, env, err
}

// asset reads the asset version a reference names.
func asset[T sluice.Resource](ctx context.Context, s Store, workspace string, kind sluice.Kind, reference string) (T, error) {
	var none T
	ref, err := sluice.ParseRef(reference)
	if err != nil {
		return none, err
	}
	return read[T](ctx, s, sluice.Key{Workspace: workspace, Kind: kind, Name: ref.Name, Version: ref.Version})
}

// lock keeps the exact packages with the revision, the first time.
func (p *preparations) lock(ctx context.Context, rev *sluice.Revision, lock string) error {
	if rev.Lock != "" || lock == "" {
		return nil
	}
	next := *rev
	next.Lock = lock
	_, err := p.loop.Store.Commit(ctx, sluice.Change{Actor: self, Observed: true, Put: []sluice.Resource{&next}})
	if sluice.ErrorCode(err) == sluice.CodeStale {
		return nil // the revision is being deleted
	}
	return err
}

// causeOf gives the typed cause of an error, making one where there is none.
func causeOf(err error) *sluice.Cause {
	var cause *sluice.Cause
	if errors.As(err, &cause) {
		return cause
	}
	var e *sluice.Error
	if errors.As(err, &e) {
		if e.Cause != nil {
			return e.Cause
		}
		code := sluice.CauseBadValue
		if e.Code == sluice.CodeNotBuilt {
			code = sluice.CauseNotBuilt
		}
		return &sluice.Cause{Code: code, Message: e.Message, Hint: e.Hint}
	}
	return &sluice.Cause{Code: sluice.CauseInternal, Message: "preparing the environment hit an internal error",
		Hint: "the server's log has the details"}
}
