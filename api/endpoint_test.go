package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/identity"
	"github.com/sluice-ml/sluice/store"
)

func TestEndpointLife(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	first := w.do("PUT", ws+"/onlineEndpoints/Iris"+version, `{"tags":{"a":1},"properties":{"description":"d","properties":{"p":"q"}}}`)
	if first.status != 201 || first.header.Get("Azure-AsyncOperation") == "" || first.header.Get("Retry-After") != "1" {
		t.Fatalf("creation: status %d, headers %v", first.status, first.header)
	}
	if again := w.do("PUT", ws+"/onlineEndpoints/iris"+version, `{}`); again.status != 200 {
		t.Errorf("update: status %d: %s", again.status, again.body)
	}
	e, err := w.client.Endpoint(ctx, "IRIS")
	if err != nil || e.Name != "Iris" || e.Properties.Description != "" || len(e.Tags) != 0 {
		t.Errorf("a PUT replaces: %+v, %v", e, err)
	}
	if uri := e.Properties.Properties[arm.PropertyOperation]; !strings.Contains(uri, "/mfeOperationsStatus/") || !strings.Contains(uri, "api-version=") {
		t.Errorf("the bag's operation is %q", uri)
	}
	if _, _, err := w.client.PutEndpoint(ctx, "iris", arm.OnlineEndpoint{}, arm.IfAbsent); codeOf(err) != sluice.CodeExists {
		t.Errorf("creating what exists: %v", err)
	}
	poller, err := w.client.DeleteEndpoint(ctx, "iris")
	if err != nil || poller.Wait(ctx, nil) != nil {
		t.Errorf("deletion: %v", err)
	}
	if _, err := w.client.DeleteEndpoint(ctx, "iris"); codeOf(err) != sluice.CodeNotFound {
		t.Errorf("deleting what is not there: %v", err)
	}
	if _, err := w.store.Get(ctx, sluice.Key{Workspace: "default", Kind: sluice.KindKeys, Name: "iris"}); codeOf(err) != sluice.CodeNotFound {
		t.Errorf("the keys outlive the endpoint: %v", err)
	}
}

func TestEndpointRefusals(t *testing.T) {
	w := newWorld(t)
	w.endpoint("old")
	for _, tc := range []struct {
		name, path, body string
		want             string // code, then a part of the message
	}{
		{"name", "/onlineEndpoints/9x", `{}`, "UserError: not a valid endpoint name"},
		{"short name", "/onlineEndpoints/ab", `{}`, "UserError: not a valid endpoint name"},
		{"auth", "/onlineEndpoints/new", `{"properties":{"authMode":"aadToken"}}`, "NotBuilt: auth_mode: aad_token"},
		{"unknown auth", "/onlineEndpoints/new", `{"properties":{"authMode":"none"}}`, "UserError: authMode"},
		{"mirror", "/onlineEndpoints/new", `{"properties":{"mirrorTraffic":{"blue":10}}}`, "NotBuilt: mirror_traffic"},
		{"identity", "/onlineEndpoints/new", `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"/x":{}}}}`, "NotBuilt: identity.type"},
		{"compute", "/onlineEndpoints/new", `{"properties":{"compute":"azureml:k"}}`, "NotBuilt: compute"},
		{"private", "/onlineEndpoints/new", `{"properties":{"publicNetworkAccess":"disabled"}}`, "NotBuilt: public_network_access"},
		{"traffic to nothing", "/onlineEndpoints/new", `{"properties":{"traffic":{"blue":100}}}`, "UserError: traffic names deployment blue"},
		{"short key", "/onlineEndpoints/new", `{"properties":{"keys":{"primaryKey":"short"}}}`, "UserError: keys.primaryKey must be 16 to 256"},
		{"identity change", "/onlineEndpoints/old", `{"identity":{"type":"None"}}`, "UserError: identity of an endpoint cannot be changed"},
		{"not JSON", "/onlineEndpoints/new", `{`, "UserError: not the JSON"},
	} {
		got := w.do("PUT", ws+tc.path+version, tc.body)
		code, part, _ := strings.Cut(tc.want, ": ")
		if got.status != 400 || got.errorBody(t).Code != code || !strings.Contains(got.errorBody(t).Message, part) {
			t.Errorf("%s: status %d, %s; want 400 with %s", tc.name, got.status, got.body, tc.want)
		}
	}
	all, err := w.client.Endpoints(context.Background())
	if err != nil || len(all) != 1 {
		t.Errorf("a refused request left something: %d endpoints, %v", len(all), err)
	}
}

func TestTooLargeBody(t *testing.T) {
	w := newWorld(t)
	body := `{"properties":{"description":"` + strings.Repeat("x", 5<<20) + `"}}`
	if got := w.do("PUT", ws+"/onlineEndpoints/iris"+version, body); got.status != 413 {
		t.Errorf("status %d, want 413", got.status)
	}
}

// The gateway compares digests; the keys themselves are in no answer but
// listKeys, in no log, and not readable in the store.
func TestKeysAreSecret(t *testing.T) {
	w := newWorld(t)
	const primary = "my-own-primary-key-0123456789"
	put := w.do("PUT", ws+"/onlineEndpoints/iris"+version, `{"properties":{"keys":{"primaryKey":"`+primary+`"}}}`)
	if put.status != 201 || strings.Contains(string(put.body), primary) || strings.Contains(string(put.body), "keys") {
		t.Errorf("status %d: the answer echoes keys: %s", put.status, put.body)
	}
	ctx := context.Background()
	keys, err := w.client.Keys(ctx, "iris")
	if err != nil || keys.PrimaryKey != primary || len(keys.SecondaryKey) < 32 {
		t.Fatalf("keys %+v, %v", keys, err)
	}
	if err := w.client.RegenerateKeys(ctx, "iris", "primary"); err != nil {
		t.Fatal(err)
	}
	fresh, err := w.client.Keys(ctx, "iris")
	if err != nil || fresh.PrimaryKey == primary || fresh.SecondaryKey != keys.SecondaryKey {
		t.Errorf("after regenerating the primary key: %v", err)
	}
	if got := w.do("POST", ws+"/onlineEndpoints/iris/regenerateKeys"+version, `{"keyType":"SECONDARY","keyValue":"another-own-key-of-mine"}`); got.status != 200 || len(got.body) != 0 {
		t.Errorf("regenerating with a value: status %d, body %s", got.status, got.body)
	}
	e, err := store.Read[*sluice.Endpoint](ctx, w.store, sluice.EndpointKey("default", "iris"))
	want := sluice.KeyDigests{Primary: identity.Digest(fresh.PrimaryKey), Secondary: identity.Digest("another-own-key-of-mine")}
	if err != nil || e.KeyDigests != want {
		t.Errorf("digests %+v, want %+v, %v", e.KeyDigests, want, err)
	}
	row, err := store.Read[*sluice.Keys](ctx, w.store, sluice.Key{Workspace: "default", Kind: sluice.KindKeys, Name: "iris"})
	if err != nil || strings.Contains(string(row.SealedPrimary), fresh.PrimaryKey) {
		t.Errorf("the stored key is readable, %v", err)
	}
	if log := w.log.String(); strings.Contains(log, primary) || strings.Contains(log, fresh.PrimaryKey) || strings.Contains(log, token) {
		t.Error("a secret is in the log")
	}
}

func TestTraffic(t *testing.T) {
	w := newWorld(t)
	w.reconcile(nil)
	w.assets()
	w.endpoint("iris")
	w.deploy("iris", "Blue", deployment(1))
	w.deploy("iris", "green", deployment(1))
	ctx := context.Background()
	traffic := func() map[string]int {
		e, err := w.client.Endpoint(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		return e.Properties.Traffic
	}
	if diff := cmp.Diff(map[string]int{"blue": 0, "green": 0}, traffic()); diff != "" {
		t.Errorf("every deployment is listed (-want +got):\n%s", diff)
	}
	split := arm.Shares{"BLUE": 90, "green": 10}
	if _, _, err := w.client.PatchEndpoint(ctx, "iris", arm.EndpointPatch{Properties: &arm.EndpointPatchProperties{Traffic: &split}}); err != nil {
		t.Fatal(err)
	}
	// A PUT that does not speak of traffic leaves a live endpoint on the air.
	if _, _, err := w.client.PutEndpoint(ctx, "iris", arm.OnlineEndpoint{Properties: arm.EndpointProperties{Description: "new"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"blue": 90, "green": 10}, traffic()); diff != "" {
		t.Errorf("traffic after a PUT without it (-want +got):\n%s", diff)
	}
	for _, bad := range []string{`{"blue":90}`, `{"blue":110,"green":-10}`, `{"red":100}`, `{"blue":100.5}`} {
		if got := w.do("PATCH", ws+"/onlineEndpoints/iris"+version, `{"properties":{"traffic":`+bad+`}}`); got.status != 400 {
			t.Errorf("traffic %s: status %d: %s", bad, got.status, got.body)
		}
	}
	if _, _, err := w.client.PutEndpoint(ctx, "iris", arm.OnlineEndpoint{Properties: arm.EndpointProperties{Traffic: arm.Shares{}}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"blue": 0, "green": 0}, traffic()); diff != "" {
		t.Errorf("traffic after an empty one (-want +got):\n%s", diff)
	}
}

// Pages follow one another whatever is created and deleted meanwhile.
func TestPaging(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	for i := range 23 {
		w.put(&sluice.Endpoint{Meta: sluice.Meta{UID: fmt.Sprint(i), Workspace: "default", Name: fmt.Sprintf("ep%02d", i),
			Tags: map[string]string{"odd": fmt.Sprint(i % 2)}}, AuthMode: sluice.AuthKey, State: sluice.StateSucceeded})
	}
	var names []string
	next := w.server.URL + ws + "/onlineEndpoints" + version + "&count=4&tags=odd%3D1"
	for pages := 0; next != "" && pages < 20; pages++ {
		var page arm.List[arm.OnlineEndpoint]
		got := w.do("GET", next, "")
		if err := json.Unmarshal(got.body, &page); err != nil || got.status != 200 {
			t.Fatalf("page %d: status %d, %v", pages, got.status, err)
		}
		if len(page.Value) > 4 {
			t.Errorf("page %d has %d items, want at most 4", pages, len(page.Value))
		}
		for _, e := range page.Value {
			names = append(names, e.Name)
		}
		if next = page.NextLink; next != "" && (!strings.HasPrefix(next, w.server.URL) || !strings.Contains(next, "api-version=2024-04-01")) {
			t.Errorf("nextLink is %s", next)
		}
		if pages == 0 {
			w.endpoint("aaa")
			if _, err := w.client.DeleteEndpoint(ctx, "ep01"); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"ep01", "ep03", "ep05", "ep07", "ep09", "ep11", "ep13", "ep15", "ep17", "ep19", "ep21"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := w.do("GET", ws+"/onlineEndpoints"+version+"&name=none", ""); string(got.body) != `{"value":[]}` {
		t.Errorf("an empty list is %s", got.body)
	}
}

// What has never been ready takes no live traffic, and what has keeps it.
func TestTrafficNeedsWhatServes(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	path := ws + "/onlineEndpoints/iris" + version
	give := `{"properties":{"traffic":{"blue":100}}}`
	if _, _, err := w.client.PutDeployment(t.Context(), "iris", "blue", deployment(1)); err != nil {
		t.Fatal(err)
	}
	if got := w.do("PATCH", path, give); got.status != 409 || !strings.Contains(string(got.body), "its state is Creating") {
		t.Errorf("while it is created: %d %s", got.status, got.body)
	}
	w.settle("iris", "blue", sluice.StateFailed)
	if got := w.do("PATCH", path, give); got.status != 400 || !strings.Contains(string(got.body), "score.py:3: init() raised ValueError: x") {
		t.Errorf("after it has failed: %d %s", got.status, got.body)
	}
	if got := w.do("PUT", path, give); got.status != 400 {
		t.Errorf("a PUT after it has failed: %d %s", got.status, got.body)
	}
	w.settle("iris", "blue", sluice.StateSucceeded)
	if got := w.do("PATCH", path, give); got.status != 200 {
		t.Errorf("once it serves: %d %s", got.status, got.body)
	}
	w.settle("iris", "blue", sluice.StateFailed) // an update that failed
	if got := w.do("PATCH", path, `{"properties":{"traffic":{"blue":0}}}`); got.status != 200 {
		t.Errorf("taking it away: %d %s", got.status, got.body)
	}
	if got := w.do("PATCH", path, give); got.status != 200 {
		t.Errorf("giving it to what serves although its update failed: %d %s", got.status, got.body)
	}
}
