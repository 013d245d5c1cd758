package api_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// observe writes an event as the reconciler does.
func (w *world) observe(d *sluice.Deployment, seq int64, what sluice.Happening, cause *sluice.Cause) {
	w.t.Helper()
	e := &sluice.DeploymentEvent{Meta: sluice.Meta{Workspace: d.Workspace, Name: d.Name, Version: sluice.EventVersion(d.UID, seq)},
		Endpoint: d.Endpoint, Seq: seq, At: time.Now().UTC(), What: what, Instance: "i1", Message: string(what), Cause: cause}
	if _, err := w.store.Commit(context.Background(), sluice.Change{Actor: sluice.Actor{Name: "sluice"}, Observed: true, Put: []sluice.Resource{e}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stored(endpoint, name string) *sluice.Deployment {
	w.t.Helper()
	r, err := w.store.Get(context.Background(), sluice.DeploymentKey("default", endpoint, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return r.(*sluice.Deployment)
}

func lines(events []arm.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.What+": "+e.Message)
	}
	return out
}

// What was asked for and what was observed is one list, in order.
func TestEventsOfADeployment(t *testing.T) {
	w := newWorld(t)
	w.reconcile(nil)
	w.assets()
	w.endpoint("iris")
	ctx := context.Background()
	w.deploy("iris", "blue", deployment(1))
	d := w.stored("iris", "blue")
	cause := &sluice.Cause{Code: sluice.CauseCrashed, Message: "it crashed", File: "score.py", Line: 3, Evidence: []string{"boom"}}
	w.observe(d, 1, sluice.EventStarted, nil)
	w.observe(d, 2, sluice.EventEnded, cause)
	w.deploy("iris", "blue", deployment(3))
	changed := deployment(3)
	changed.Properties.EnvironmentVariables = map[string]string{"A": "secret"}
	w.deploy("iris", "blue", changed)
	traffic := arm.Shares{"blue": 100}
	if _, _, err := w.client.PatchEndpoint(ctx, "iris", arm.EndpointPatch{Properties: &arm.EndpointPatchProperties{Traffic: &traffic}}); err != nil {
		t.Fatal(err)
	}
	if err := w.client.RegenerateKeys(ctx, "iris", "secondary"); err != nil {
		t.Fatal(err)
	}
	w.endpoint("other")

	got, err := w.client.DeploymentEvents(ctx, "iris", "blue", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Created: created by admin", "Started: Started", "Ended: Ended", "Scaled: scaled from 1 to 3 by admin",
		"Updated: updated (environment_variables) by admin", "TrafficChanged: traffic of the endpoint changed (blue 0 → 100) by admin",
		"KeysChanged: the secondary key of the endpoint replaced by admin"}
	if diff := cmp.Diff(want, lines(got.Value)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(cause, got.Value[2].Cause); diff != "" || got.Value[2].Instance != "i1" {
		t.Errorf("the end is %+v (-want +got):\n%s", got.Value[2], diff)
	}
	if got.Value[0].By != "admin" || !strings.HasPrefix(got.Value[0].Operation, d.UID+".") {
		t.Errorf("the creation is %+v", got.Value[0])
	}

	// Page by page, and from anywhere, it is the same list.
	var paged []arm.Event
	after := int64(0)
	for range 20 {
		raw := w.do("GET", ws+"/onlineEndpoints/iris/deployments/blue/events"+version+"&count=1&after="+jsonOf(t, after), "")
		var page arm.Events
		if err := json.Unmarshal(raw.body, &page); err != nil || raw.status != 200 {
			t.Fatalf("status %d: %s", raw.status, raw.body)
		}
		paged = append(paged, page.Value...)
		after = page.After
		if page.NextLink == "" {
			break
		}
	}
	if diff := cmp.Diff(got.Value, paged); diff != "" || after != got.After {
		t.Errorf("page by page (-whole +pages), ending at %d, not %d:\n%s", after, got.After, diff)
	}
	rest, err := w.client.DeploymentEvents(ctx, "iris", "blue", got.Value[2].Change, 0)
	if err != nil || cmp.Diff(got.Value[3:], rest.Value) != "" {
		t.Errorf("after the third: %v, %v", lines(rest.Value), err)
	}
	none, err := w.client.DeploymentEvents(ctx, "iris", "blue", got.After, 0)
	if err != nil || len(none.Value) != 0 || none.After != got.After {
		t.Errorf("after the last: %+v, %v", none, err)
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A held poll comes back with what happens, not with what does not concern it.
func TestEventsAreWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.reconcile(nil)
	w.assets()
	w.endpoint("iris")
	w.deploy("iris", "blue", deployment(1))
	ctx := context.Background()
	had, err := w.client.DeploymentEvents(ctx, "iris", "blue", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan arm.Events, 1)
	go func() {
		events, err := w.client.DeploymentEvents(ctx, "iris", "blue", had.After, 30*time.Second)
		if err != nil {
			t.Error(err)
		}
		came <- events
	}()
	w.endpoint("other")
	w.observe(w.stored("iris", "blue"), 1, sluice.EventReady, nil)
	if got := <-came; !slices.Equal(lines(got.Value), []string{"Ready: Ready"}) {
		t.Errorf("the held poll gave %v", lines(got.Value))
	}
	over := w.do("GET", ws+"/onlineEndpoints/iris/deployments/blue/events"+version+"&after=999999", "", "Prefer", "wait=1")
	if over.status != 200 || over.header.Get("Preference-Applied") != "wait=1" || string(over.body) != `{"value":[],"after":999999}` {
		t.Errorf("when the time is up: status %d, %s", over.status, over.body)
	}
	// One that waits while its deployment goes is told.
	gone := make(chan error, 1)
	go func() {
		_, err := w.client.DeploymentEvents(ctx, "iris", "blue", 999999, 30*time.Second)
		gone <- err
	}()
	if poller, err := w.client.DeleteDeployment(ctx, "iris", "blue"); err != nil || poller.Wait(ctx, nil) != nil {
		t.Fatal(err)
	}
	if err := <-gone; codeOf(err) != sluice.CodeNotFound {
		t.Errorf("the poll of a deleted deployment ended with %v", err)
	}
}

func TestEventsRefuseNonsense(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	w.do("PUT", ws+"/onlineEndpoints/iris/deployments/blue"+version, body(deployment(1)))
	for path, status := range map[string]int{"blue/events" + version + "&after=-1": 400, "blue/events" + version + "&after=x": 400,
		"blue/events" + version + "&after=99999999999999999999": 400, "green/events" + version: 404, "blue/events" + version + "&count=0": 400} {
		if got := w.do("GET", ws+"/onlineEndpoints/iris/deployments/"+path, ""); got.status != status {
			t.Errorf("%s: status %d, want %d: %s", path, got.status, status, got.body)
		}
	}
	// One that was being created when it was deleted.
	w.do("DELETE", ws+"/onlineEndpoints/iris/deployments/blue"+version, "")
	got, err := w.client.DeploymentEvents(context.Background(), "iris", "blue", 0, 0)
	want := []string{"Created: created by admin",
		"OperationCanceled: the operation that ran (creating) was canceled, and the deployment deleted, by admin", "Deleting: deletion begun by admin"}
	if diff := cmp.Diff(want, lines(got.Value)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
