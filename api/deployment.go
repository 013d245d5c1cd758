package api

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// deployment reads the deployment that a request names. Where there is not even
// its endpoint, that is what does not exist.
func (s *server) deployment(r *request) (*sluice.Deployment, error) {
	d, err := get[*sluice.Deployment](r.Context(), s, sluice.DeploymentKey(r.scope.Workspace, r.vars["endpoint"], r.vars["deployment"]))
	if sluice.ErrorCode(err) == sluice.CodeNotFound {
		if _, above := get[*sluice.Endpoint](r.Context(), s, sluice.EndpointKey(r.scope.Workspace, r.vars["endpoint"])); above != nil {
			return nil, above
		}
	}
	return d, err
}

func scaleKey(d *sluice.Deployment) sluice.Key {
	return sluice.Key{Workspace: d.Workspace, Kind: sluice.KindScale, Name: d.Endpoint + "/" + d.Name}
}

func (s *server) wireDeployment(r *request, d *sluice.Deployment) (arm.OnlineDeployment, error) {
	count := 0
	scale, ok, err := find[*sluice.Scale](r.Context(), s, scaleKey(d))
	if err != nil {
		return arm.OnlineDeployment{}, err
	}
	if ok {
		count = scale.Want
	}
	out := arm.DeploymentFrom(r.scope, d, count)
	out.Properties.Properties = r.properties(out.Properties.Properties)
	return out, nil
}

func (s *server) listDeployments(w http.ResponseWriter, r *request) error {
	e, err := s.endpoint(r)
	if err != nil {
		return err
	}
	list, err := page(s, r, sluice.Query{Workspace: r.scope.Workspace, Kind: sluice.KindDeployment, Prefix: strings.ToLower(e.Name) + "/"},
		func(*sluice.Deployment) bool { return true },
		func(d *sluice.Deployment) (arm.OnlineDeployment, error) { return s.wireDeployment(r, d) })
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, list)
}

func (s *server) getDeployment(w http.ResponseWriter, r *request) error {
	d, err := s.deployment(r)
	if err != nil {
		return err
	}
	wire, err := s.wireDeployment(r, d)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wire)
}

// wish is what a client wants a deployment to be. A count of 0 means "as it
// is", or one for a new deployment.
type wish struct {
	description string
	tags        map[string]string
	properties  map[string]string
	spec        sluice.Spec
	count       int
}

func (s *server) putDeployment(w http.ResponseWriter, r *request) error {
	if err := sluice.CheckName("deployment", r.vars["deployment"]); err != nil {
		return err
	}
	var wire arm.OnlineDeployment
	if err := r.decode(&wire); err != nil {
		return err
	}
	want, err := s.readWish(r, wire)
	if err != nil {
		return err
	}
	var d *sluice.Deployment
	var op *sluice.Operation
	var status int
	err = decide(func() error {
		status = http.StatusOK
		e, err := s.idleEndpoint(r)
		if err != nil {
			return err
		}
		current, exists, err := find[*sluice.Deployment](r.Context(), s, sluice.DeploymentKey(e.Workspace, e.Name, r.vars["deployment"]))
		switch {
		case err != nil:
			return err
		case exists && r.mustBeNew():
			return alreadyThere("deployment", current.Name)
		case exists:
			d = current
			op, err = s.updateDeployment(r, d, want)
		default:
			status = http.StatusCreated
			d, op, err = s.createDeployment(r, e, want)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.answerDeployment(w, r, status, d, op)
}

func (s *server) answerDeployment(w http.ResponseWriter, r *request, status int, d *sluice.Deployment, op *sluice.Operation) error {
	wire, err := s.wireDeployment(r, d)
	if err != nil {
		return err
	}
	if short := s.short(r.Context(), d.Spec.InstanceType); short != "" {
		w.Header().Add(arm.HeaderWarning, "instance_type "+d.Spec.InstanceType+" has "+short+": an instance gets what is there")
	}
	for name := range strings.SplitSeq(wire.Properties.Properties[arm.PropertyNotBuilt], ",") {
		if name != "" {
			w.Header().Add(arm.HeaderWarning, name+" is accepted but not built yet: nothing is collected")
		}
	}
	r.announce(w, op.Name, status == http.StatusAccepted)
	return answer(w, status, wire)
}

// readWish checks a request as far as the values alone and the assets allow.
// Its references are resolved to versions that exist.
func (s *server) readWish(r *request, wire arm.OnlineDeployment) (wish, error) {
	d, count, err := wire.Domain()
	if err != nil {
		return wish{}, err
	}
	if wire.SKU != nil && wire.SKU.Capacity != nil {
		if err := sluice.CheckCount(count); err != nil {
			return wish{}, err
		}
	}
	if err := refuseDeployment(&d.Spec); err != nil {
		return wish{}, err
	}
	if err := d.Spec.Check(); err != nil {
		return wish{}, err
	}
	size, err := sluice.FindInstanceType(s.InstanceTypes, d.Spec.InstanceType)
	if err != nil {
		return wish{}, err
	}
	d.Spec.InstanceType = size.Name
	if err := s.checkCapacity(r.Context(), size); err != nil {
		return wish{}, err
	}
	if err := s.resolveReferences(r, &d.Spec); err != nil {
		return wish{}, err
	}
	return wish{description: d.Description, tags: d.Tags, properties: userProperties(d.Properties),
		spec: d.Spec, count: count}, nil
}

// checkCapacity refuses an instance type that is larger than the machine, where
// that is wanted.
func (s *server) checkCapacity(ctx context.Context, size sluice.InstanceType) error {
	if s.Capacity == nil || !s.StrictCapacity {
		return nil
	}
	machine, err := s.Capacity(ctx)
	if err != nil {
		return err
	}
	return sluice.CheckCapacity(s.InstanceTypes, size, machine)
}

// short says what the machine lacks to be of an instance type.
func (s *server) short(ctx context.Context, name string) string {
	size, err := sluice.FindInstanceType(s.InstanceTypes, name)
	if s.Capacity == nil || err != nil {
		return ""
	}
	machine, err := s.Capacity(ctx)
	if err != nil {
		s.Logger.Warn("asking what the machine has", "err", err)
		return ""
	}
	return size.Short(machine)
}

// idleEndpoint gives the endpoint under which a deployment is to change.
func (s *server) idleEndpoint(r *request) (*sluice.Endpoint, error) {
	e, err := s.endpoint(r)
	if err != nil {
		return nil, err
	}
	return e, s.checkIdle(r.Context(), "endpoint", &e.Meta, e.State, "sluice online-endpoint show -n "+e.Name)
}

// createDeployment also writes the endpoint, so that a deployment is never
// created under an endpoint that is deleted at the same time.
func (s *server) createDeployment(r *request, e *sluice.Endpoint, want wish) (*sluice.Deployment, *sluice.Operation, error) {
	siblings, err := s.deploymentsOf(r.Context(), e.Workspace, e.Name)
	if err != nil {
		return nil, nil, err
	}
	if len(siblings) >= sluice.MaxDeployments {
		message := "endpoint " + e.Name + " has " + strconv.Itoa(len(siblings)) + " deployments, and that is the most it may have"
		return nil, nil, &sluice.Error{Code: sluice.CodeInvalid, Message: message, Hint: "delete one it no longer needs",
			Cause: &sluice.Cause{Code: sluice.CauseQuota, Message: message, Hint: "delete one it no longer needs"}}
	}
	d := &sluice.Deployment{
		Meta: sluice.Meta{UID: newUID(), Workspace: e.Workspace, Name: r.vars["deployment"],
			Description: want.description, Tags: want.tags, Properties: maps.Clone(want.properties)},
		Endpoint: e.Name, Spec: want.spec, State: sluice.StateCreating,
	}
	d.Revision = d.UID + "-1"
	op := s.newOperation(d, sluice.VerbCreate, false)
	_, err = s.Store.Commit(r.Context(), sluice.Change{Actor: r.actor,
		Put: []sluice.Resource{e, d, newRevision(d), newScale(d, max(want.count, 1), r.actor.Name), op}})
	if sluice.ErrorCode(err) == sluice.CodeExists {
		// Somebody else created it meanwhile: look again.
		err = sluice.Errorf(sluice.CodeStale, "deployment %s was just created by somebody else: %w", d.Name, err)
	}
	return d, op, err
}

func newRevision(d *sluice.Deployment) *sluice.Revision {
	return &sluice.Revision{Endpoint: d.Endpoint, Spec: d.Spec,
		Meta: sluice.Meta{UID: newUID(), Workspace: d.Workspace, Name: d.Name, Version: d.Revision}}
}

func newScale(d *sluice.Deployment, count int, by string) *sluice.Scale {
	return &sluice.Scale{Endpoint: d.Endpoint, Want: count, Min: count, Max: count, By: by,
		Meta: sluice.Meta{UID: newUID(), Workspace: d.Workspace, Name: d.Name}}
}

// step is what an update amounts to.
type step struct {
	verb     sluice.Verb
	state    sluice.State
	revision bool // the spec changed
	scale    bool // the count changed
	done     bool // nothing has to run differently
}

// planUpdate decides what an update amounts to. Asking again for what failed
// means trying again; repeat says whether the request can mean that.
func planUpdate(d *sluice.Deployment, have int, spec sluice.Spec, count int, repeat bool) step {
	p := step{verb: sluice.VerbUpdate, state: sluice.StateUpdating,
		revision: !sameSpec(d.Spec, spec), scale: count != 0 && count != have}
	retry := repeat && (d.State == sluice.StateFailed || d.State == sluice.StateCanceled)
	switch {
	case p.revision || retry:
	case p.scale:
		p.verb, p.state = sluice.VerbScale, sluice.StateScaling
	default:
		p.done, p.state = true, d.State
	}
	return p
}

// sameSpec compares as stored, where nil and empty are one.
func sameSpec(a, b sluice.Spec) bool {
	left, errA := json.Marshal(a)
	right, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(left, right)
}

func (s *server) updateDeployment(r *request, d *sluice.Deployment, want wish) (*sluice.Operation, error) {
	return s.change(r, d, want, true)
}

// change brings a deployment to what is wanted of it, in one commit.
func (s *server) change(r *request, d *sluice.Deployment, want wish, repeat bool) (*sluice.Operation, error) {
	if err := s.checkIdle(r.Context(), "deployment", &d.Meta, d.State,
		"sluice online-deployment events -e "+d.Endpoint+" -n "+d.Name+" --follow"); err != nil {
		return nil, err
	}
	scale, err := get[*sluice.Scale](r.Context(), s, scaleKey(d))
	if err != nil {
		return nil, err
	}
	plan := planUpdate(d, scale.Want, want.spec, want.count, repeat)
	d.Description, d.Tags, d.Properties = want.description, want.tags, maps.Clone(want.properties)
	put := []sluice.Resource{d}
	if plan.revision {
		d.Spec = want.spec
		d.Revision = nextRevision(d)
		put = append(put, newRevision(d))
	}
	if plan.scale {
		scale.Want, scale.Min, scale.Max, scale.By = want.count, want.count, want.count, r.actor.Name
		put = append(put, scale)
	}
	if d.State = plan.state; !plan.done {
		d.Cause = nil
	}
	op := s.newOperation(d, plan.verb, plan.done)
	op.ScaleFirst = plan.scale && plan.verb == sluice.VerbUpdate
	_, err = s.Store.Commit(r.Context(), sluice.Change{Actor: r.actor, Put: append(put, op)})
	return op, err
}

// nextRevision counts on from the revision a deployment has.
func nextRevision(d *sluice.Deployment) string {
	n, err := strconv.Atoi(strings.TrimPrefix(d.Revision, d.UID+"-"))
	if err != nil {
		// Not one of ours; whatever it is, this one is new.
		return d.UID + "-" + randomHex(4)
	}
	return d.UID + "-" + strconv.Itoa(n+1)
}

func (s *server) patchDeployment(w http.ResponseWriter, r *request) error {
	var patch arm.DeploymentPatch
	if err := r.decode(&patch); err != nil {
		return err
	}
	var d *sluice.Deployment
	var op *sluice.Operation
	err := decide(func() error {
		if _, err := s.idleEndpoint(r); err != nil {
			return err
		}
		var err error
		if d, err = s.deployment(r); err != nil {
			return err
		}
		want, err := patched(d, patch)
		if err != nil {
			return err
		}
		op, err = s.change(r, d, want, false)
		return err
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if !op.Done() {
		status = http.StatusAccepted
	}
	return s.answerDeployment(w, r, status, d, op)
}

func patched(d *sluice.Deployment, patch arm.DeploymentPatch) (wish, error) {
	want := wish{description: d.Description, tags: d.Tags, properties: d.Properties, spec: d.Spec}
	if patch.Tags != nil {
		want.tags = *patch.Tags
	}
	if patch.SKU != nil && patch.SKU.Capacity != nil {
		want.count = int(*patch.SKU.Capacity)
		if err := sluice.CheckCount(want.count); err != nil {
			return want, err
		}
	}
	if p := patch.Properties; p != nil {
		if p.Description != nil {
			want.description = *p.Description
		}
		if p.Properties != nil {
			want.properties = userProperties(*p.Properties)
		}
	}
	return want, nil
}
