package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/api"
)

func TestEveryRequestNeedsACredential(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{ws + version, "/sluice/status", "/nothing/here", ws + "/mfeOperationsStatus/x" + version} {
		for _, credential := range []string{"", "Bearer wrong", "Basic dGVzdDp0ZXN0"} {
			got := w.do("GET", path, "", "Authorization", credential)
			if got.status != 401 || got.header.Get("WWW-Authenticate") != "Bearer" || got.errorBody(t).Code != "AuthenticationFailed" {
				t.Errorf("GET %s with %q: status %d, %s", path, credential, got.status, got.body)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := w.do("GET", path, "", "Authorization", ""); got.status != 200 {
			t.Errorf("GET %s without credential: status %d", path, got.status)
		}
	}
}

func TestPaths(t *testing.T) {
	w := newWorld(t)
	w.endpoint("iris")
	for _, tc := range []struct {
		name, method, path string
		status             int
		code               string
	}{
		{"any case", "GET", strings.ToUpper(ws) + "/ONLINEENDPOINTS/IRIS?API-VERSION=2019-01-01", 200, ""},
		{"trailing slash", "GET", ws + "/onlineEndpoints/" + version, 200, ""},
		{"no api-version", "GET", ws, 400, "MissingApiVersionParameter"},
		{"no such workspace", "GET", strings.Replace(ws, "default", "other", 1) + version, 404, "ResourceNotFound"},
		{"no such endpoint", "GET", ws + "/onlineEndpoints/nope" + version, 404, "ResourceNotFound"},
		{"no such path", "GET", ws + "/somethingElse" + version, 404, "ResourceNotFound"},
		{"not built", "GET", ws + "/batchendpoints" + version, 400, "NotBuilt"},
		{"not built, deeper", "PUT", ws + "/computes/c1" + version, 400, "NotBuilt"},
		{"no such method", "POST", ws + "/onlineEndpoints/iris" + version, 405, "MethodNotAllowed"},
		{"dots", "GET", ws + "/onlineEndpoints/%2e%2e" + version, 404, "ResourceNotFound"},
		{"a slash in a name", "GET", ws + "/onlineEndpoints/a%2Fb" + version, 404, "ResourceNotFound"},
		{"bad query", "GET", ws + version + "&a=%zz", 400, "UserError"},
		{"provider", "GET", "/subscriptions/s1/providers/Microsoft.MachineLearningServices?api-version=2019-05-01", 200, ""},
		{"register", "POST", "/subscriptions/s1/providers/Microsoft.MachineLearningServices/register?api-version=2019-05-01", 200, ""},
		{"provider operations", "GET", "/providers/Microsoft.MachineLearningServices/operations" + version, 200, ""},
		{"sizes", "GET", "/subscriptions/s1/providers/Microsoft.MachineLearningServices/locations/local/vmSizes" + version, 200, ""},
		{"workspaces", "GET", "/subscriptions/s1/providers/Microsoft.MachineLearningServices/workspaces" + version, 200, ""},
		{"token", "POST", ws + "/onlineEndpoints/iris/token" + version, 400, "NotBuilt"},
		{"unknown order", "GET", ws + "/onlineEndpoints" + version + "&orderBy=UpdatedAtAsc", 400, "UserError"},
		{"unknown view", "GET", ws + "/models" + version + "&listViewType=Some", 400, "UserError"},
		{"bad token", "GET", ws + "/onlineEndpoints" + version + "&$skip=garbage", 400, "UserError"},
	} {
		got := w.do(tc.method, tc.path, "")
		if got.status != tc.status {
			t.Errorf("%s: status %d, want %d: %s", tc.name, got.status, tc.status, got.body)
			continue
		}
		if tc.code != "" && (got.errorBody(t).Code != tc.code || got.header.Get("x-ms-error-code") != tc.code) {
			t.Errorf("%s: code %q, header %q; want %q", tc.name, got.errorBody(t).Code, got.header.Get("x-ms-error-code"), tc.code)
		}
	}
}

func TestCommonHeaders(t *testing.T) {
	w := newWorld(t)
	got := w.do("GET", ws+version, "", "x-ms-client-request-id", "mine", "x-ms-correlation-request-id", "theirs")
	for name, want := range map[string]string{"x-ms-client-request-id": "mine", "x-ms-correlation-request-id": "theirs",
		"Cache-Control": "no-cache", "Content-Type": "application/json; charset=utf-8"} {
		if got.header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
		}
	}
	if len(got.header.Get("x-ms-request-id")) != 36 {
		t.Errorf("x-ms-request-id is %q", got.header.Get("x-ms-request-id"))
	}
}

// Labels of the path come back in ids, whatever they are.
func TestSubscriptionAndGroupAreLabels(t *testing.T) {
	w := newWorld(t)
	w.endpoint("iris")
	path := strings.NewReplacer("s1", "My Sub", "g1", "my%20group").Replace(ws)
	path = strings.Replace(path, "My Sub", "My%20Sub", 1)
	got := w.do("GET", path+"/onlineEndpoints/iris"+version, "")
	if want := `"id":"/subscriptions/My Sub/resourceGroups/my group/providers/`; !strings.Contains(string(got.body), want) {
		t.Errorf("status %d: %s; want %s", got.status, got.body, want)
	}
}

// brokenStore fails every read of an endpoint.
type brokenStore struct {
	api.Store
	err   error
	panic bool
}

func (b brokenStore) Get(ctx context.Context, key sluice.Key) (sluice.Resource, error) {
	if key.Kind != sluice.KindEndpoint {
		return b.Store.Get(ctx, key)
	}
	if b.panic {
		panic("the roof is on fire")
	}
	return nil, b.err
}

func TestInternalErrorsAreLoggedAndNotShown(t *testing.T) {
	for name, broken := range map[string]brokenStore{
		"error": {err: errors.New("the roof is on fire")},
		"panic": {panic: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *api.Config) { broken.Store = c.Store; c.Store = broken })
			got := w.do("GET", ws+"/onlineEndpoints/iris"+version, "")
			id := got.header.Get("x-ms-request-id")
			if got.status != 500 || strings.Contains(string(got.body), "roof") || !strings.Contains(string(got.body), id) {
				t.Errorf("status %d: %s", got.status, got.body)
			}
			if log := w.log.String(); !strings.Contains(log, "the roof is on fire") || !strings.Contains(log, id) {
				t.Errorf("the log does not tell what happened:\n%s", log)
			}
		})
	}
}

func TestNotReady(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.Ready = func(context.Context) error { return errors.New("no store") } })
	if got := w.do("GET", "/readyz", "", "Authorization", ""); got.status != http.StatusServiceUnavailable || strings.Contains(string(got.body), "store") {
		t.Errorf("readyz: status %d, %s", got.status, got.body)
	}
	if got := w.do("GET", "/healthz", "", "Authorization", ""); got.status != 200 {
		t.Errorf("healthz: status %d", got.status)
	}
}

// What only this machine can reach is no use to who came by another name.
func TestAddressesAreThoseTheClientCanReach(t *testing.T) {
	for _, tc := range []struct{ public, host, want string }{
		{"https://localhost:7443", "box.example:7443", "https://box.example:7443/"},
		{"https://127.0.0.1:7443", "[::1]:9", "https://[::1]:9/"},
		{"https://sluice.example", "box.example:7443", "https://sluice.example/"},
	} {
		w := newWorld(t, func(c *api.Config) { c.PublicURL = tc.public })
		req, err := http.NewRequest("PUT", w.server.URL+ws+"/onlineEndpoints/iris"+version, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tc.host
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := w.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Azure-AsyncOperation"); !strings.HasPrefix(got, tc.want) {
			t.Errorf("public %s, asked for %s: operation at %s, want %s…", tc.public, tc.host, got, tc.want)
		}
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t, func(c *api.Config) {
		c.Status = func(context.Context) any { return map[string]int{"instances": 3} }
	})
	var got map[string]int
	if err := w.client.Status(context.Background(), &got); err != nil || got["instances"] != 3 {
		t.Errorf("status %v, %v", got, err)
	}
}
