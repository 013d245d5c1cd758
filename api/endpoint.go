package api

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

func (s *server) endpoint(r *request) (*sluice.Endpoint, error) {
	return get[*sluice.Endpoint](r.Context(), s, sluice.EndpointKey(r.scope.Workspace, r.vars["endpoint"]))
}

// deploymentsOf lists the deployments of an endpoint.
func (s *server) deploymentsOf(ctx context.Context, workspace, endpoint string) ([]*sluice.Deployment, error) {
	return listAll[*sluice.Deployment](ctx, s, sluice.Query{Workspace: workspace,
		Kind: sluice.KindDeployment, Prefix: strings.ToLower(endpoint) + "/"})
}

// staying gives the names of the deployments that are not being deleted.
func staying(deployments []*sluice.Deployment) []string {
	var names []string
	for _, d := range deployments {
		if d.State != sluice.StateDeleting {
			names = append(names, d.Name)
		}
	}
	return names
}

func (s *server) wireEndpoint(r *request, e *sluice.Endpoint) (arm.OnlineEndpoint, error) {
	deployments, err := s.deploymentsOf(r.Context(), e.Workspace, e.Name)
	if err != nil {
		return arm.OnlineEndpoint{}, err
	}
	out := arm.EndpointFrom(r.scope, e)
	out.Properties.ScoringURI = s.ScoringURI(e.Workspace, e.Name)
	out.Properties.Properties = r.properties(out.Properties.Properties)
	out.Properties.Properties["azureml.onlineendpointid"] = out.ID
	// Clients show every deployment's share, the zeros too.
	traffic := arm.Shares{}
	for _, name := range staying(deployments) {
		traffic[strings.ToLower(name)] = 0
	}
	maps.Copy(traffic, e.Traffic)
	out.Properties.Traffic = traffic
	return out, nil
}

func (s *server) listEndpoints(w http.ResponseWriter, r *request) error {
	computeType := r.param("computeType")
	keep := func(e *sluice.Endpoint) bool {
		return (computeType == "" || strings.EqualFold(computeType, "Managed")) &&
			matchesAll(r.param("tags"), e.Tags) && matchesAll(r.param("properties"), e.Properties)
	}
	list, err := page(s, r, sluice.Query{Workspace: r.scope.Workspace, Kind: sluice.KindEndpoint, Name: r.param("name")},
		keep, func(e *sluice.Endpoint) (arm.OnlineEndpoint, error) { return s.wireEndpoint(r, e) })
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, list)
}

func (s *server) getEndpoint(w http.ResponseWriter, r *request) error {
	e, err := s.endpoint(r)
	if err != nil {
		return err
	}
	wire, err := s.wireEndpoint(r, e)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wire)
}

func (s *server) putEndpoint(w http.ResponseWriter, r *request) error {
	if err := sluice.CheckName("endpoint", r.vars["endpoint"]); err != nil {
		return err
	}
	var wire arm.OnlineEndpoint
	if err := r.decode(&wire); err != nil {
		return err
	}
	want, err := wire.Domain()
	if err != nil {
		return err
	}
	delete(want.Properties, lastOperation)
	delete(want.Properties, "azureml.onlineendpointid")
	if err := refuseEndpoint(want); err != nil {
		return err
	}
	if err := checkKeys(wire.Properties.Keys); err != nil {
		return err
	}
	var e *sluice.Endpoint
	var op *sluice.Operation
	var status int
	err = decide(func() error {
		status = http.StatusOK
		current, exists, err := find[*sluice.Endpoint](r.Context(), s, sluice.EndpointKey(r.scope.Workspace, r.vars["endpoint"]))
		switch {
		case err != nil:
			return err
		case exists && r.mustBeNew():
			return alreadyThere("endpoint", current.Name)
		case exists:
			e, op, err = s.updateEndpoint(r, current, want, wire)
		default:
			status = http.StatusCreated
			e, op, err = s.createEndpoint(r, want, wire.Properties.Keys)
			// Somebody else created it meanwhile: look again.
			if sluice.ErrorCode(err) == sluice.CodeExists {
				err = sluice.Errorf(sluice.CodeStale, "endpoint %s was just created by somebody else: %w", want.Name, err)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.answerEndpoint(w, r, status, e, op)
}

func (s *server) answerEndpoint(w http.ResponseWriter, r *request, status int, e *sluice.Endpoint, op *sluice.Operation) error {
	wire, err := s.wireEndpoint(r, e)
	if err != nil {
		return err
	}
	r.announce(w, op.Name, false)
	return answer(w, status, wire)
}

// mustBeNew reports whether the client asks for a PUT to create only.
func (r *request) mustBeNew() bool { return strings.TrimSpace(r.Header.Get("If-None-Match")) == "*" }

func alreadyThere(what, name string) error {
	return sluice.Errorf(sluice.CodeExists, "%s %s exists already", what, name).
		WithHint("change it with `sluice online-%s update`, or delete it first", what)
}

func (s *server) createEndpoint(r *request, want *sluice.Endpoint, keys *arm.EndpointAuthKeys) (*sluice.Endpoint, *sluice.Operation, error) {
	e := *want
	e.Meta = sluice.Meta{UID: newUID(), Workspace: r.scope.Workspace, Name: r.vars["endpoint"],
		Description: want.Description, Tags: want.Tags, Properties: maps.Clone(want.Properties)}
	e.State, e.Cause = sluice.StateSucceeded, nil
	if err := sluice.CheckTraffic(e.Traffic, e.MirrorTraffic, nil); err != nil {
		return nil, nil, err
	}
	row := &sluice.Keys{Meta: sluice.Meta{UID: newUID(), Workspace: e.Workspace, Name: e.Name}}
	if keys == nil {
		keys = &arm.EndpointAuthKeys{}
	}
	for which, given := range map[string]string{"Primary": keys.PrimaryKey, "Secondary": keys.SecondaryKey} {
		if err := s.setKey(&e, row, which, given); err != nil {
			return nil, nil, err
		}
	}
	op := s.newOperation(&e, sluice.VerbCreate, true)
	_, err := s.Store.Commit(r.Context(), sluice.Change{Actor: r.actor, Put: []sluice.Resource{&e, row, op}})
	return &e, op, err
}

func (s *server) updateEndpoint(r *request, e, want *sluice.Endpoint, wire arm.OnlineEndpoint) (*sluice.Endpoint, *sluice.Operation, error) {
	if wire.Identity != nil {
		if err := sameIdentity(e.Identity, want.Identity); err != nil {
			return nil, nil, err
		}
	}
	e.Description, e.Tags, e.Properties = want.Description, want.Tags, maps.Clone(want.Properties)
	e.AuthMode, e.PublicNetworkAccess, e.Compute = want.AuthMode, want.PublicNetworkAccess, want.Compute
	// Leaving these out must not take a live endpoint off the air.
	if want.Traffic != nil {
		e.Traffic = want.Traffic
	}
	if want.MirrorTraffic != nil {
		e.MirrorTraffic = want.MirrorTraffic
	}
	var more []sluice.Resource
	if k := wire.Properties.Keys; k != nil && (k.PrimaryKey != "" || k.SecondaryKey != "") {
		row, err := s.replaceKeys(r, e, map[string]string{"Primary": k.PrimaryKey, "Secondary": k.SecondaryKey})
		if err != nil {
			return nil, nil, err
		}
		more = append(more, row)
	}
	op, err := s.commitEndpoint(r, e, more...)
	return e, op, err
}

// commitEndpoint checks a changed endpoint and writes it, with an operation
// that is over at once because an endpoint owns no compute.
func (s *server) commitEndpoint(r *request, e *sluice.Endpoint, more ...sluice.Resource) (*sluice.Operation, error) {
	if err := s.checkIdle(r.Context(), "endpoint", &e.Meta, e.State, "sluice online-endpoint show -n "+e.Name); err != nil {
		return nil, err
	}
	deployments, err := s.deploymentsOf(r.Context(), e.Workspace, e.Name)
	if err != nil {
		return nil, err
	}
	if err := sluice.CheckTraffic(e.Traffic, e.MirrorTraffic, staying(deployments)); err != nil {
		return nil, err
	}
	had, err := s.endpoint(r)
	if sluice.ErrorCode(err) == sluice.CodeNotFound {
		// Somebody else deleted it since: look again.
		err = sluice.Errorf(sluice.CodeStale, "endpoint %s was just deleted by somebody else: %w", e.Name, err)
	}
	if err != nil {
		return nil, err
	}
	for _, d := range deployments {
		if name := strings.ToLower(d.Name); e.Traffic[name] > had.Traffic[name] {
			if err := d.CheckServes(); err != nil {
				return nil, err
			}
		}
	}
	e.State, e.Cause = sluice.StateSucceeded, nil
	op := s.newOperation(e, sluice.VerbUpdate, true)
	_, err = s.Store.Commit(r.Context(), sluice.Change{Actor: r.actor, Put: append([]sluice.Resource{e, op}, more...)})
	return op, err
}

func (s *server) patchEndpoint(w http.ResponseWriter, r *request) error {
	var patch arm.EndpointPatch
	if err := r.decode(&patch); err != nil {
		return err
	}
	var e *sluice.Endpoint
	var op *sluice.Operation
	err := decide(func() error {
		var err error
		if e, err = s.endpoint(r); err != nil {
			return err
		}
		if err := applyEndpointPatch(e, patch); err != nil {
			return err
		}
		op, err = s.commitEndpoint(r, e)
		return err
	})
	if err != nil {
		return err
	}
	return s.answerEndpoint(w, r, http.StatusOK, e, op)
}

func applyEndpointPatch(e *sluice.Endpoint, patch arm.EndpointPatch) error {
	if patch.Tags != nil {
		e.Tags = *patch.Tags
	}
	if patch.Identity != nil {
		identity, err := patch.Identity.Domain()
		if err != nil {
			return err
		}
		if err := sameIdentity(e.Identity, identity); err != nil {
			return err
		}
	}
	p := patch.Properties
	if p == nil {
		return nil
	}
	if p.Description != nil {
		e.Description = *p.Description
	}
	if p.Properties != nil {
		e.Properties = userProperties(*p.Properties)
	}
	if p.Traffic != nil {
		e.Traffic = sluice.NormalTraffic(*p.Traffic)
	}
	if p.MirrorTraffic != nil {
		e.MirrorTraffic = sluice.NormalTraffic(*p.MirrorTraffic)
	}
	return refuseEndpoint(e)
}

// userProperties leaves out what only the server may say.
func userProperties(p arm.Strings) map[string]string {
	out := map[string]string{}
	for k, v := range p {
		switch k {
		case lastOperation, arm.PropertyOperation, arm.PropertyNotBuilt, "azureml.onlineendpointid":
		default:
			out[k] = v
		}
	}
	return out
}

func sameIdentity(have, want *sluice.Identity) error {
	if reflect.DeepEqual(have, want) {
		return nil
	}
	e := immutable("the identity of an endpoint cannot be changed after it was created",
		"delete the endpoint and create it with the other identity, or create another endpoint")
	e.Target = "identity"
	return e
}

func (s *server) deleteEndpoint(w http.ResponseWriter, r *request) error {
	var op *sluice.Operation
	found := true
	err := decide(func() error {
		e, ok, err := find[*sluice.Endpoint](r.Context(), s, sluice.EndpointKey(r.scope.Workspace, r.vars["endpoint"]))
		if found = ok; err != nil || !ok {
			return err
		}
		op, err = s.removeEndpoint(r, e)
		return err
	})
	switch {
	case err != nil:
		return err
	case !found:
		w.WriteHeader(http.StatusNoContent)
	case op == nil:
		w.WriteHeader(http.StatusOK)
	default:
		r.announce(w, op.Name, true)
		w.WriteHeader(http.StatusAccepted)
	}
	return nil
}

// removeEndpoint deletes an endpoint without deployments at once, and begins
// the deletion of one with some. The operation is nil in the first case.
func (s *server) removeEndpoint(r *request, e *sluice.Endpoint) (*sluice.Operation, error) {
	ctx := r.Context()
	if e.State == sluice.StateDeleting {
		return s.runningOperation(ctx, &e.Meta)
	}
	deployments, err := s.deploymentsOf(ctx, e.Workspace, e.Name)
	if err != nil {
		return nil, err
	}
	change := sluice.Change{Actor: r.actor}
	if len(deployments) == 0 {
		change.Delete = append(change.Delete, e)
		keys, ok, err := find[*sluice.Keys](ctx, s, keysKey(e))
		if err != nil {
			return nil, err
		}
		if ok {
			change.Delete = append(change.Delete, keys)
		}
		_, err = s.Store.Commit(ctx, change)
		return nil, err
	}
	e.State, e.Cause = sluice.StateDeleting, nil
	op := s.newOperation(e, sluice.VerbDelete, false)
	change.Put = append(change.Put, e, op)
	for _, d := range deployments {
		if d.State == sluice.StateDeleting {
			continue
		}
		if err := s.supersede(ctx, &change, &d.Meta, "the endpoint was deleted"); err != nil {
			return nil, err
		}
		d.State, d.Cause = sluice.StateDeleting, nil
		change.Put = append(change.Put, d)
	}
	_, err = s.Store.Commit(ctx, change)
	return op, err
}

// supersede cancels the operation that a resource is in the midst of, as part
// of the change.
func (s *server) supersede(ctx context.Context, change *sluice.Change, m *sluice.Meta, why string) error {
	running, err := s.runningOperation(ctx, m)
	if err != nil || running == nil {
		return err
	}
	s.cancel(running, why)
	change.Put = append(change.Put, running)
	return nil
}
