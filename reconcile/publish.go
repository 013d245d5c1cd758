package reconcile

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

// routesOf builds what the gateway needs to serve one endpoint. The version is
// left to the caller.
func routesOf(e *sluice.Endpoint, views []view) sluice.Routes {
	r := sluice.Routes{
		Workspace: e.Workspace, Endpoint: e.Name, UID: e.UID,
		AuthMode: e.AuthMode, Keys: e.KeyDigests,
		Gone: e.State == sluice.StateDeleting,
	}
	if r.Gone {
		return r
	}
	for _, v := range views {
		if v.deployment.State != sluice.StateDeleting {
			r.Deployments = append(r.Deployments, targetOf(e, v))
		}
	}
	slices.SortFunc(r.Deployments, func(a, b sluice.Target) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

func targetOf(e *sluice.Endpoint, v view) sluice.Target {
	d := v.deployment
	t := sluice.Target{
		Name:          d.Name,
		Weight:        e.Traffic[strings.ToLower(d.Name)],
		Mirror:        e.MirrorTraffic[strings.ToLower(d.Name)],
		Timeout:       d.Spec.Request.Timeout,
		MaxConcurrent: d.Spec.Request.MaxConcurrent,
		ScoringPath:   "/score",
		Instances:     v.scale.Want,
	}
	ready := 0
	for _, i := range v.instances {
		if !i.ready || !i.live() {
			continue
		}
		draining := i.Phase == engine.Draining
		if !draining {
			ready++
		}
		t.Backends = append(t.Backends, sluice.Backend{ID: i.ID, Address: i.Address, Draining: draining})
	}
	slices.SortFunc(t.Backends, func(a, b sluice.Backend) int { return cmp.Compare(a.ID, b.ID) })
	if ready == 0 {
		t.Note = noteOf(v)
	}
	return t
}

// noteOf says why a deployment has no ready instance.
func noteOf(v view) string {
	d := v.deployment
	if d.State == sluice.StateFailed && d.Cause != nil {
		return fmt.Sprintf("deployment %s failed: %s", d.Name, d.Cause.Message)
	}
	// The newest end of an instance tells most.
	var last *seen
	for n := range v.instances {
		i := &v.instances[n]
		if i.live() && i.phase != "" && i.Phase != engine.Draining {
			return fmt.Sprintf("deployment %s has no ready instance: instance %s is in %s", d.Name, i.ID, i.phase)
		}
		if i.cause != nil && (last == nil || i.Ended.After(last.Ended)) {
			last = i
		}
	}
	if last != nil {
		return fmt.Sprintf("deployment %s has no ready instance: %s", d.Name, last.cause.Message)
	}
	return fmt.Sprintf("deployment %s has no ready instance: its state is %s", d.Name, d.State)
}

// same reports whether two routes differ in nothing but their version.
func same(a, b sluice.Routes) bool {
	a.Version, b.Version = 0, 0
	return reflect.DeepEqual(a, b)
}
