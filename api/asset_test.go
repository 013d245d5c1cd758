package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

func (w *world) putModel(name, v, uri string, hidden bool) error {
	_, err := w.client.PutModel(context.Background(), name, v, arm.ModelVersion{Properties: arm.ModelProperties{
		ModelURI: uri, AssetProperties: arm.AssetProperties{IsAnonymous: hidden}}})
	return err
}

func TestVersionsAreImmutable(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	one, two := w.upload(sluice.KindModel, "model", "a", "one"), w.upload(sluice.KindModel, "model", "a", "two")
	path := ws + "/models/m/versions/1" + version
	put := func(uri, more string) answer {
		return w.do("PUT", path, fmt.Sprintf(`{"properties":{"modelUri":%q%s}}`, uri, more))
	}
	if got := put(one, ""); got.status != 201 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	before, _ := w.store.Latest(ctx)
	if got := put(one, ""); got.status != 200 {
		t.Errorf("the same again: status %d: %s", got.status, got.body)
	}
	if after, _ := w.store.Latest(ctx); after != before {
		t.Error("the same again left a change")
	}
	// Official clients compare code and message as they are.
	if got := put(two, ""); got.status != 400 || got.errorBody(t).Code != "UserError" || got.errorBody(t).Message != "Asset paths cannot be updated." {
		t.Errorf("other content: status %d: %s", got.status, got.body)
	}
	if got := put(one, `,"modelType":"mlflow_model"`); got.status != 400 || !strings.Contains(string(got.body), "cannot be changed") {
		t.Errorf("another type: status %d: %s", got.status, got.body)
	}
	if got := put(one, `,"description":"d","stage":"s","tags":{"a":"b"}`); got.status != 200 {
		t.Errorf("description: status %d: %s", got.status, got.body)
	}
	m, err := w.client.Model(ctx, "M", "1")
	if err != nil || m.Properties.Description != "d" || m.Properties.Stage != "s" || m.Properties.Tags["a"] != "b" || m.Properties.ModelURI != one {
		t.Errorf("model %+v, %v", m, err)
	}
	env := arm.EnvironmentVersion{Properties: arm.EnvironmentProperties{Image: "i", CondaFile: "x"}}
	if _, err := w.client.PutEnvironment(ctx, "e", "1", env); err != nil {
		t.Fatal(err)
	}
	env.Properties.CondaFile = "y"
	if _, err := w.client.PutEnvironment(ctx, "e", "1", env); codeOf(err) != sluice.CodeImmutable {
		t.Errorf("another conda file: %v", err)
	}
}

func TestVersionsListsAndLabels(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	uri := w.upload(sluice.KindModel, "model", "a", "one")
	for _, v := range []string{"1", "10", "2", "beta"} {
		if err := w.putModel("m", v, uri, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.putModel("hidden", "1", uri, true); err != nil {
		t.Fatal(err)
	}
	names := func(view arm.ListView) (out []string) {
		models, err := w.client.Models(ctx, "m", view)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range models {
			out = append(out, m.Name)
		}
		return out
	}
	if got := names(arm.ActiveOnly); len(got) != 4 {
		t.Errorf("versions %v", got)
	}
	container, err := w.client.Container(ctx, sluice.KindModel, "m")
	if err != nil || container.Properties.LatestVersion != "beta" || container.Properties.NextVersion != "11" {
		t.Errorf("latest is what was created last, next is one over the highest: %+v, %v", container.Properties, err)
	}
	if _, err := w.client.ArchiveModel(ctx, "m", "beta", true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"beta"}, names(arm.ArchivedOnly)); diff != "" {
		t.Errorf("archived (-want +got):\n%s", diff)
	}
	container, _ = w.client.Container(ctx, sluice.KindModel, "m")
	if container.Properties.LatestVersion != "2" {
		t.Errorf("latest without the archived one is %s, want 2", container.Properties.LatestVersion)
	}
	all, err := w.client.Containers(ctx, sluice.KindModel, arm.ActiveOnly)
	if err != nil || len(all) != 1 || all[0].Name != "m" {
		t.Errorf("an anonymous asset is in the list: %+v, %v", all, err)
	}
	if _, err := w.client.ArchiveContainer(ctx, sluice.KindModel, "m", true); err != nil {
		t.Fatal(err)
	}
	all, err = w.client.Containers(ctx, sluice.KindModel, arm.ActiveOnly)
	if err != nil || len(all) != 0 || len(names(arm.ActiveOnly)) != 0 || len(names(arm.ListAll)) != 4 {
		t.Errorf("after archiving all of it: %+v, %v", all, err)
	}
	if _, err := w.client.ArchiveContainer(ctx, sluice.KindModel, "m", false); err != nil || len(names(arm.ActiveOnly)) != 3 {
		t.Errorf("after restoring it: %v", err)
	}
	if next, err := w.client.NextVersion(ctx, sluice.KindModel, "nothing"); err != nil || next != "1" {
		t.Errorf("the next version of nothing is %q, %v", next, err)
	}
}

// How the Python client avoids an upload: by hash, whatever the name.
func TestCodeByHash(t *testing.T) {
	w := newWorld(t)
	uri := w.upload(sluice.KindCode, "src", "a.py", "x = 1")
	if _, err := w.client.PutCode(context.Background(), "c", "1", arm.CodeVersion{Properties: arm.CodeProperties{CodeURI: uri,
		AssetProperties: arm.AssetProperties{IsAnonymous: true, Properties: arm.Strings{"hash_sha256": "abc", "hash_version": "202208"}}}}); err != nil {
		t.Fatal(err)
	}
	for hash, want := range map[string]int{"abc": 1, "other": 0} {
		got := w.do("GET", ws+"/codes/0000-guid/versions"+version+"&hash="+hash+"&hashVersion=202208", "")
		var list arm.List[arm.CodeVersion]
		if err := json.Unmarshal(got.body, &list); err != nil || got.status != 200 || len(list.Value) != want {
			t.Errorf("hash %s: status %d, %d found, want %d: %v", hash, got.status, len(list.Value), want, err)
		}
	}
	if got := w.do("GET", ws+"/codes/0000-guid/versions"+version, ""); got.status != 404 {
		t.Errorf("the versions of nothing: status %d", got.status)
	}
}

func TestDeletingAssets(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	if _, _, err := w.client.PutDeployment(context.Background(), "iris", "blue", deployment(1)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/models/m/versions/1", "/codes/c/versions/1", "/environments/e/versions/1", "/models/m"} {
		got := w.do("DELETE", ws+path+version, "")
		if got.status != 409 || !strings.Contains(string(got.body), "used by deployment blue") {
			t.Errorf("DELETE %s while it is used: status %d: %s", path, got.status, got.body)
		}
	}
	if err := w.putModel("free", "1", w.upload(sluice.KindModel, "m", "a", "b"), false); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		method, path string
		status       int
	}{{"DELETE", "/models/free/versions/1", 200}, {"DELETE", "/models/free/versions/1", 204},
		{"GET", "/models/free", 404}, {"DELETE", "/models/free", 204}} {
		if got := w.do(step.method, ws+step.path+version, ""); got.status != step.status {
			t.Errorf("%s %s: status %d, want %d: %s", step.method, step.path, got.status, step.status, got.body)
		}
	}
}

func TestAssetRefusals(t *testing.T) {
	w := newWorld(t)
	uri := w.upload(sluice.KindModel, "model", "a", "one")
	for _, tc := range []struct{ name, path, body, want string }{
		{"bad name", "/models/-m/versions/1", `{}`, "UserError: not a valid model name"},
		{"bad version", "/models/m/versions/a%20b", `{}`, "UserError: not a valid model version"},
		{"no uri", "/models/m/versions/1", `{}`, "UserError: modelUri is missing"},
		{"datastore", "/models/m/versions/1", `{"properties":{"modelUri":"azureml://datastores/workspaceblobstore/paths/x"}}`, "NotBuilt: content that is not uploaded"},
		{"other server", "/models/m/versions/1", body(map[string]any{"properties": map[string]string{"modelUri": strings.Replace(uri, "127.0.0.1", "evil.example", 1)}}), "NotBuilt: content that is not uploaded"},
		{"other workspace", "/models/m/versions/1", body(map[string]any{"properties": map[string]string{"modelUri": strings.Replace(uri, "/default/", "/other/", 1)}}), "UserError: another workspace"},
		{"no such tree", "/codes/m/versions/1", body(map[string]any{"properties": map[string]string{"codeUri": w.server.URL + "/artifacts/default/trees/" + sluice.DigestBytes([]byte("?")) + "/x"}}), "UserError: not here"},
		{"model type", "/models/m/versions/1", body(map[string]any{"properties": map[string]string{"modelUri": uri, "modelType": "onnx"}}), "UserError: modelType"},
		{"empty environment", "/environments/e/versions/1", `{}`, "UserError: neither image nor conda_file"},
		{"build context", "/environments/e/versions/1", `{"properties":{"build":{"contextUri":"https://x/"}}}`, "NotBuilt: build context"},
		{"windows", "/environments/e/versions/1", `{"properties":{"image":"i","osType":"Windows"}}`, "NotBuilt: os_type"},
		{"tag", "/environments/e/versions/1", `{"properties":{"image":"i","tags":{"sluice.platform_packages":"yes"}}}`, "UserError: install or leave_out"},
		{"shown password", "/environments/e/versions/1", `{"properties":{"condaFile":"dependencies: [{pip: [--index-url https://****@host/simple]}]"}}`, "UserError: how a password is shown"},
		{"both", "/environments/e/versions/1", `{"properties":{"image":"i","build":{"contextUri":"https://x/"}}}`, "UserError: not both"},
	} {
		got := w.do("PUT", ws+tc.path+version, tc.body)
		code, part, _ := strings.Cut(tc.want, ": ")
		if got.status != 400 || got.errorBody(t).Code != code || !strings.Contains(got.errorBody(t).Message, part) {
			t.Errorf("%s: status %d, %s; want 400 with %s", tc.name, got.status, got.body, tc.want)
		}
	}
}

// The password of a package index is taken as it is written, and shown nowhere.
// What is shown may be sent back.
func TestIndexPasswordIsNotShown(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	conda := "dependencies: [{pip: [--index-url https://me:hush-hush@index.example/simple, below]}]\n"
	put := func(conda string, tags arm.Strings) (arm.EnvironmentVersion, error) {
		return w.client.PutEnvironment(ctx, "e", "1", arm.EnvironmentVersion{Properties: arm.EnvironmentProperties{CondaFile: conda,
			AssetProperties: arm.AssetProperties{Tags: tags}}})
	}
	answer, err := put(conda, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := w.do("GET", ws+"/environments/e/versions"+version, "")
	one, err := w.client.Environment(ctx, "e", "1")
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"the answer": answer.Properties.CondaFile, "the list": string(all.body), "the version": one.Properties.CondaFile} {
		if strings.Contains(text, "hush") || !strings.Contains(text, "****@index.example") {
			t.Errorf("%s shows %s", what, text)
		}
	}
	for _, again := range []string{conda, one.Properties.CondaFile} {
		if _, err := put(again, arm.Strings{"team": "a"}); err != nil {
			t.Errorf("the same again: %v", err)
		}
	}
	stored, err := w.store.Get(ctx, sluice.Key{Workspace: "default", Kind: sluice.KindEnvironment, Name: "e", Version: "1"})
	if err != nil || stored.(*sluice.Environment).CondaFile != conda {
		t.Errorf("stored is %+v, %v", stored, err)
	}
	if _, err := put(strings.Replace(conda, "below", "above", 1), nil); sluice.ErrorCode(err) != sluice.CodeImmutable {
		t.Errorf("another file: %v", err)
	}
	if _, err := put(conda, arm.Strings{sluice.TagSourceBuilds: "allow"}); sluice.ErrorCode(err) != sluice.CodeImmutable {
		t.Errorf("made another way: %v", err)
	}
}

// An environment may describe an own container; only a deployment of it is not
// built yet.
func TestOwnContainerIsRefusedAtDeployment(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	ctx := context.Background()
	if _, err := w.client.PutEnvironment(ctx, "own", "1", arm.EnvironmentVersion{Properties: arm.EnvironmentProperties{Image: "i",
		InferenceConfig: &arm.InferenceConfig{ScoringRoute: &arm.Route{Path: "/score", Port: 80}}}}); err != nil {
		t.Fatal(err)
	}
	d := deployment(1)
	d.Properties.EnvironmentID = "azureml:own:1"
	_, _, err := w.client.PutDeployment(ctx, "iris", "blue", d)
	if e, ok := errors.AsType[*sluice.Error](err); !ok || e.Code != sluice.CodeNotBuilt || !strings.Contains(e.Message, "inference_config") {
		t.Errorf("error %v", err)
	}
}
