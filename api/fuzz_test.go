package api_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// bodies are the routes that take one. Whatever comes, the answer is never the
// server's fault.
var bodies = []struct{ method, path string }{
	{"PUT", ws + "/onlineEndpoints/fuzz"},
	{"PATCH", ws + "/onlineEndpoints/iris"},
	{"POST", ws + "/onlineEndpoints/iris/regenerateKeys"},
	{"PUT", ws + "/onlineEndpoints/iris/deployments/fuzz"},
	{"PATCH", ws + "/onlineEndpoints/iris/deployments/blue"},
	{"POST", ws + "/onlineEndpoints/iris/deployments/blue/getLogs"},
	{"PUT", ws + "/models/fuzz/versions/1"},
	{"PUT", ws + "/codes/fuzz/versions/1"},
	{"PUT", ws + "/environments/fuzz/versions/1"},
	{"PUT", ws + "/models/fuzz"},
	{"POST", ws + "/models/fuzz/versions/1/startPendingUpload"},
	{"upload", "missing"},
	{"upload", "commit"},
}

func FuzzBodies(f *testing.F) {
	for i := range bodies {
		f.Add(i, []byte(`{"tags":{"a":1},"properties":{"authMode":"key","traffic":{"blue":100}}}`))
		f.Add(i, []byte(body(deployment(1))))
	}
	f.Add(2, []byte(`{"keyType":"Secondary","keyValue":"0123456789abcdef"}`))
	f.Add(4, []byte(`{"sku":{"capacity":"3"},"tags":null}`))
	f.Add(5, []byte(`{"tail":1e9}`))
	f.Add(6, []byte(`{"properties":{"modelUri":"https://x/artifacts/default/trees/sha256:00/a","flavors":{"a":null}}}`))
	f.Add(8, []byte(`{"properties":{"image":"i","condaFile":"\u0000","tags":{"":""}}}`))
	f.Add(11, []byte(`{"files":[{"path":"a","size":-1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}`))
	f.Add(0, []byte(`null`))
	f.Add(3, []byte(`[[[[[[`))

	w := newWorld(f)
	w.assets()
	w.endpoint("iris")
	w.do("PUT", ws+"/onlineEndpoints/iris/deployments/blue"+version, body(deployment(1)))
	upload := w.pending()
	f.Fuzz(func(t *testing.T, which int, text []byte) {
		if which < 0 {
			which = -(which + 1)
		}
		route := bodies[which%len(bodies)]
		path := route.path + version
		if route.method == "upload" {
			route.method, path = "POST", upload.JoinPath(route.path).String()
		}
		got := w.in(t).do(route.method, path, string(text))
		if got.status >= 500 {
			t.Fatalf("%s %s with %q: status %d: %s\n%s", route.method, path, text, got.status, got.body, w.log)
		}
		if got.status >= 400 && !strings.Contains(string(got.body), `"error":`) {
			t.Fatalf("%s %s with %q: status %d without an error body", route.method, path, text, got.status)
		}
	})
}

// FuzzPaths sends any path with any query.
func FuzzPaths(f *testing.F) {
	for _, path := range []string{ws + version, ws + "/onlineEndpoints" + version + "&count=1&$skip=abc", "/", "//", "/%00", "/healthz?",
		ws + "/models/m/versions" + version + "&listViewType=all&tags=a%3Db&$orderBy=createdtime+desc",
		ws + "/codes/x/versions" + version + "&hash=%ff&hashVersion=", ws + "/onlineEndpoints/iris/history" + version} {
		f.Add(path)
	}
	w := newWorld(f)
	w.assets()
	w.endpoint("iris")
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return // net/http refuses it before it gets to us
		}
		req := httptest.NewRequest("GET", "/", nil)
		req.URL = u
		req.Header.Set("Authorization", "Bearer "+token)
		answer := httptest.NewRecorder()
		w.server.Config.Handler.ServeHTTP(answer, req)
		if answer.Code >= 500 {
			t.Fatalf("GET %q: status %d: %s\n%s", path, answer.Code, answer.Body, w.log)
		}
	})
}
