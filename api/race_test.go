package api_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/store"
)

// together runs f n times at once.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() { <-start; f(i) })
	}
	close(start)
	all.Wait()
}

// Of several that create one endpoint at once, one creates and the others
// update; of several that insist on creating, one succeeds.
func TestCreatingAtOnce(t *testing.T) {
	w := newWorld(t)
	statuses := make([]int, 4)
	together(len(statuses), func(i int) { statuses[i] = w.do("PUT", ws+"/onlineEndpoints/iris"+version, "{}").status })
	count := map[int]int{}
	for _, s := range statuses {
		count[s]++
	}
	if count[201] != 1 || count[200] != len(statuses)-1 {
		t.Errorf("statuses %v: want one 201 and 200 otherwise", statuses)
	}
	together(len(statuses), func(i int) {
		statuses[i] = w.do("PUT", ws+"/onlineEndpoints/other"+version, "{}", "If-None-Match", "*").status
	})
	count = map[int]int{}
	for _, s := range statuses {
		count[s]++
	}
	if count[201] != 1 || count[409] != len(statuses)-1 {
		t.Errorf("insisting: statuses %v: want one 201 and 409 otherwise", statuses)
	}
}

// No deployment is created under an endpoint that goes away meanwhile, and no
// endpoint with a deployment goes away as if it had none.
func TestNoOrphans(t *testing.T) {
	w := newWorld(t)
	w.assets()
	ctx := context.Background()
	for round := range 10 {
		name := fmt.Sprintf("iris%d", round)
		w.endpoint(name)
		together(2, func(i int) {
			if i == 0 {
				w.do("PUT", ws+"/onlineEndpoints/"+name+"/deployments/blue"+version, body(deployment(1)))
			} else {
				w.do("DELETE", ws+"/onlineEndpoints/"+name+version, "")
			}
		})
		e, err := store.Read[*sluice.Endpoint](ctx, w.store, sluice.EndpointKey("default", name))
		gone := codeOf(err) == sluice.CodeNotFound
		d, err := store.Read[*sluice.Deployment](ctx, w.store, sluice.DeploymentKey("default", name, "blue"))
		switch {
		case gone && err == nil:
			t.Fatalf("round %d: deployment %s has no endpoint", round, d.State)
		case !gone && err == nil && e.State != d.State:
			t.Fatalf("round %d: endpoint %s, deployment %s", round, e.State, d.State)
		}
	}
}

// A deployment never loses its rows while it has traffic.
func TestTrafficAndDeletionAtOnce(t *testing.T) {
	w := newWorld(t)
	w.assets()
	ctx := context.Background()
	for round := range 10 {
		name := fmt.Sprintf("iris%d", round)
		w.endpoint(name)
		if _, _, err := w.client.PutDeployment(ctx, name, "blue", deployment(1)); err != nil {
			t.Fatal(err)
		}
		w.settle(name, "blue", sluice.StateSucceeded)
		together(2, func(i int) {
			if i == 0 {
				split := arm.Shares{"blue": 100}
				w.client.PatchEndpoint(ctx, name, arm.EndpointPatch{Properties: &arm.EndpointPatchProperties{Traffic: &split}})
			} else {
				w.do("DELETE", ws+"/onlineEndpoints/"+name+"/deployments/blue"+version, "")
			}
		})
		e, err1 := store.Read[*sluice.Endpoint](ctx, w.store, sluice.EndpointKey("default", name))
		d, err2 := store.Read[*sluice.Deployment](ctx, w.store, sluice.DeploymentKey("default", name, "blue"))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if e.Traffic["blue"] == 100 && d.State == sluice.StateDeleting {
			t.Fatalf("round %d: a deployment that is being deleted has all the traffic", round)
		}
	}
}
