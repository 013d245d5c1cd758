package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

func (s *server) deleteDeployment(w http.ResponseWriter, r *request) error {
	var op *sluice.Operation
	found := true
	err := decide(func() error {
		d, ok, err := find[*sluice.Deployment](r.Context(), s, sluice.DeploymentKey(r.scope.Workspace, r.vars["endpoint"], r.vars["deployment"]))
		if found = ok; err != nil || !ok {
			return err
		}
		op, err = s.removeDeployment(r, d)
		return err
	})
	switch {
	case err != nil:
		return err
	case !found:
		w.WriteHeader(http.StatusNoContent)
	case op == nil:
		// It is going away with its endpoint, which has the operation.
		return sluice.Errorf(sluice.CodeBusy, "deployment %s is being deleted with its endpoint", r.vars["deployment"])
	default:
		r.announce(w, op.Name, true)
		w.WriteHeader(http.StatusAccepted)
	}
	return nil
}

// removeDeployment begins the deletion of a deployment. The endpoint is
// written too, so that it cannot be given traffic at the same time.
func (s *server) removeDeployment(r *request, d *sluice.Deployment) (*sluice.Operation, error) {
	ctx := r.Context()
	if d.State == sluice.StateDeleting {
		return s.runningOperation(ctx, &d.Meta)
	}
	e, err := s.idleEndpoint(r)
	if err != nil {
		return nil, err
	}
	if err := checkNoTraffic(e, d.Name); err != nil {
		return nil, err
	}
	change := sluice.Change{Actor: r.actor}
	if err := s.supersede(ctx, &change, &d.Meta, "the deployment was deleted"); err != nil {
		return nil, err
	}
	d.State, d.Cause = sluice.StateDeleting, nil
	op := s.newOperation(d, sluice.VerbDelete, false)
	change.Put = append(change.Put, e, d, op)
	_, err = s.Store.Commit(ctx, change)
	return op, err
}

// checkNoTraffic refuses to take away a deployment that callers depend on.
func checkNoTraffic(e *sluice.Endpoint, deployment string) error {
	name := strings.ToLower(deployment)
	percent, what := e.Traffic[name], "live traffic"
	if percent == 0 {
		percent, what = e.MirrorTraffic[name], "mirrored traffic"
	}
	if percent == 0 {
		return nil
	}
	split := name + "=0"
	if len(e.Traffic) == 2 {
		for other := range e.Traffic {
			if other != name {
				split += " " + other + "=100"
			}
		}
	}
	return &sluice.Error{Code: sluice.CodeInvalid, Target: "traffic",
		Message: fmt.Sprintf("deployment %s has %d percent of the %s of endpoint %s", deployment, percent, what, e.Name),
		Hint:    fmt.Sprintf("take it away first: sluice online-endpoint update -n %s --traffic %q", e.Name, split)}
}

// defaultTail is how many lines of a log are given when nobody says how many,
// and maxTail the most that are given.
const (
	defaultTail = 5000
	maxTail     = 100_000
)

func (s *server) getLogs(w http.ResponseWriter, r *request) error {
	var ask arm.LogsRequest
	if err := r.decode(&ask); err != nil {
		return err
	}
	ask, err := ask.Canonical()
	if err != nil {
		return err
	}
	tail := defaultTail
	if ask.Tail != nil {
		if tail = int(*ask.Tail); tail < 1 {
			return sluice.Errorf(sluice.CodeInvalid, "tail is %d: it must be at least 1", tail)
		}
	}
	d, err := s.deployment(r)
	if err != nil {
		return err
	}
	container := "inference-server"
	if ask.ContainerType == "StorageInitializer" {
		container = "storage-initializer"
	}
	text, err := s.Logs(r.Context(), d.Workspace, d.Endpoint, d.Name, container, min(tail, maxTail))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, arm.Logs{Content: text})
}

func (s *server) listSKUs(w http.ResponseWriter, r *request) error {
	if _, err := s.deployment(r); err != nil {
		return err
	}
	return answer(w, http.StatusOK, arm.List[arm.SKUResource]{Value: []arm.SKUResource{{
		ResourceType: arm.Provider + "/workspaces/onlineEndpoints/deployments",
		SKU:          arm.SKU{Name: "Default", Tier: "Standard"},
		Capacity:     arm.SKUCapacity{Default: 1, Minimum: 1, Maximum: sluice.MaxInstances, ScaleType: "Manual"},
	}}})
}
