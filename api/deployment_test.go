package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/store"
)

var blue = sluice.DeploymentKey("default", "iris", "blue")

// rows reads what a deployment consists of.
func (w *world) rows(key sluice.Key) (*sluice.Deployment, *sluice.Scale, []*sluice.Revision) {
	w.t.Helper()
	ctx := context.Background()
	d, err1 := store.Read[*sluice.Deployment](ctx, w.store, key)
	s, err2 := store.Read[*sluice.Scale](ctx, w.store, sluice.Key{Workspace: key.Workspace, Kind: sluice.KindScale, Name: key.Name})
	r, err3 := store.ReadAll[*sluice.Revision](ctx, w.store, sluice.Query{Workspace: key.Workspace, Kind: sluice.KindRevision, Name: key.Name})
	if err := errors.Join(err1, err2, err3); err != nil {
		w.t.Fatal(err)
	}
	return d, s, r
}

// lastOperation reads the operation that an answer announced.
func (w *world) lastOperation(a answer) *sluice.Operation {
	w.t.Helper()
	u := a.header.Get("Azure-AsyncOperation")
	name, _, _ := strings.Cut(u[strings.LastIndex(u, "/")+1:], "?")
	op, err := store.Read[*sluice.Operation](context.Background(), w.store, sluice.Key{Workspace: "default", Kind: sluice.KindOperation, Name: name})
	if err != nil {
		w.t.Fatalf("operation %s: %v", u, err)
	}
	return op
}

func body(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestCreateWritesEverythingAtOnce(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	before, err := w.store.Latest(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := deployment(2)
	want.Properties.AppInsightsEnabled = true
	want.Properties.EnvironmentID = ws + "/environments/E/labels/latest"
	got := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/Blue"+version, body(want))
	if got.status != 201 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	d, scale, revisions := w.rows(blue)
	op := w.lastOperation(got)
	for what, change := range map[string]int64{"deployment": d.Change, "scale": scale.Change, "revision": revisions[0].Change, "operation": op.Change} {
		if change != before+1 {
			t.Errorf("%s has change %d, want all in %d", what, change, before+1)
		}
	}
	if d.State != sluice.StateCreating || d.Revision != d.UID+"-1" || d.Serving != "" || scale.Want != 2 || scale.By != "admin" {
		t.Errorf("deployment %+v, scale %+v", d, scale)
	}
	if op.Status != sluice.OperationInProgress || op.TargetUID != d.UID || op.Verb != sluice.VerbCreate || !strings.HasPrefix(op.Name, d.UID+".") {
		t.Errorf("operation %+v", op)
	}
	spec := d.Spec
	if spec.Model != "azureml:m:1" || spec.Environment != "azureml:e:1" || spec.Code.Code != "azureml:c:1" || spec.InstanceType != "Standard_DS3_v2" {
		t.Errorf("references are not resolved: %+v", spec)
	}
	if diff := cmp.Diff(d.Spec, revisions[0].Spec); diff != "" {
		t.Errorf("the revision differs from the deployment (-deployment +revision):\n%s", diff)
	}
	if warning := got.header.Get(arm.HeaderWarning); !strings.Contains(warning, "app_insights_enabled") {
		t.Errorf("warning is %q", warning)
	}
	var wire arm.OnlineDeployment
	if err := json.Unmarshal(got.body, &wire); err != nil || wire.Properties.Properties[arm.PropertyNotBuilt] != "app_insights_enabled" || int(*wire.SKU.Capacity) != 2 {
		t.Errorf("answer %s, %v", got.body, err)
	}
	if _, ok := wire.Properties.Properties["sluice.operation"]; ok {
		t.Error("our own mark is shown")
	}
}

func TestBusy(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	created := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/blue"+version, body(deployment(1)))
	op := w.lastOperation(created)
	for _, method := range []string{"PUT", "PATCH"} {
		got := w.do(method, ws+"/onlineEndpoints/iris/deployments/blue"+version, body(deployment(2)))
		detail := got.errorBody(t)
		if got.status != 409 || detail.Code != "Conflict" || !strings.Contains(detail.Message, op.Name) || !strings.Contains(detail.Message, "Creating") {
			t.Errorf("%s while creating: status %d: %s", method, got.status, got.body)
		}
	}
}

func TestUpdates(t *testing.T) {
	w := newWorld(t)
	w.reconcile(nil)
	w.assets()
	w.endpoint("iris")
	w.deploy("iris", "blue", deployment(1))
	path := ws + "/onlineEndpoints/iris/deployments/blue" + version
	slow := deployment(3)
	timeout := arm.Duration(9 * time.Second)
	slow.Properties.RequestSettings = &arm.RequestSettings{RequestTimeout: &timeout}
	tagged := slow
	tagged.Tags = arm.Strings{"a": "b"}
	for _, tc := range []struct {
		name, method, body string
		status             int
		verb               sluice.Verb
		done               bool
		revision, count    int
	}{
		{"the same again", "PUT", body(deployment(1)), 200, sluice.VerbUpdate, true, 1, 1},
		{"count by PATCH", "PATCH", `{"sku":{"capacity":2}}`, 202, sluice.VerbScale, false, 1, 2},
		{"count by PUT", "PUT", body(deployment(4)), 200, sluice.VerbScale, false, 1, 4},
		{"spec and count", "PUT", body(slow), 200, sluice.VerbUpdate, false, 2, 3},
		{"tags only", "PUT", body(tagged), 200, sluice.VerbUpdate, true, 2, 3},
		{"tags by PATCH", "PATCH", `{"tags":{"c":"d"}}`, 200, sluice.VerbUpdate, true, 2, 3},
		{"back again", "PUT", body(deployment(3)), 200, sluice.VerbUpdate, false, 3, 3},
	} {
		got := w.do(tc.method, path, tc.body)
		if got.status != tc.status {
			t.Fatalf("%s: status %d, want %d: %s", tc.name, got.status, tc.status, got.body)
		}
		var wire arm.OnlineDeployment
		if err := json.Unmarshal(got.body, &wire); err != nil {
			t.Fatal(err)
		}
		if transitional := sluice.State(wire.Properties.ProvisioningState).Transitional(); transitional == tc.done {
			t.Errorf("%s: state %s, want done %t", tc.name, wire.Properties.ProvisioningState, tc.done)
		}
		if err := w.client.Follow(got.header.Get("Azure-AsyncOperation")).Wait(context.Background(), nil); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		op := w.lastOperation(got)
		d, scale, revisions := w.rows(blue)
		if op.Verb != tc.verb || len(revisions) != tc.revision || d.Revision != fmt.Sprintf("%s-%d", d.UID, tc.revision) || scale.Want != tc.count {
			t.Errorf("%s: verb %s, revision %s of %d, count %d", tc.name, op.Verb, d.Revision, len(revisions), scale.Want)
		}
	}
}

// Asking again for what failed means trying again, without a new revision.
func TestRetryAfterFailure(t *testing.T) {
	w := newWorld(t)
	tries := 0
	cause := &sluice.Cause{Code: sluice.CauseInitRaised, Message: "init() raised ValueError: no", File: "score.py", Line: 3, Hint: "mend it"}
	w.reconcile(func(*sluice.Deployment) *sluice.Cause {
		if tries++; tries <= 2 { // it is asked twice per operation
			return cause
		}
		return nil
	})
	w.assets()
	w.endpoint("iris")
	ctx := context.Background()
	_, poller, err := w.client.PutDeployment(ctx, "iris", "blue", deployment(1))
	if err != nil {
		t.Fatal(err)
	}
	var stages int
	err = poller.Wait(ctx, func(o arm.Operation) { stages = max(stages, len(o.Properties.Stages)) })
	e, ok := errors.AsType[*sluice.Error](err)
	if !ok || !cmp.Equal(e.Cause, cause) || e.Hint != "mend it" || stages == 0 {
		t.Fatalf("error %#v after %d stages", err, stages)
	}
	shown, err := w.client.Deployment(ctx, "iris", "blue")
	if err != nil {
		t.Fatal(err)
	}
	if back, _, err := shown.Domain(); err != nil || !cmp.Equal(back.Cause, cause) || back.State != sluice.StateFailed {
		t.Errorf("show says %+v, %v", back, err)
	}
	w.deploy("iris", "blue", deployment(1))
	if d, _, revisions := w.rows(blue); d.State != sluice.StateSucceeded || d.Cause != nil || len(revisions) != 1 {
		t.Errorf("after trying again: %s, cause %v, %d revisions", d.State, d.Cause, len(revisions))
	}
}

func TestDeploymentRefusals(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	second, tenth := arm.Duration(time.Second), arm.Duration(time.Second/10)
	change := func(f func(*arm.DeploymentProperties)) string {
		d := deployment(1)
		f(&d.Properties)
		return body(d)
	}
	for _, tc := range []struct {
		name, body, want string // code: part of message | part of hint
	}{
		{"count 0", body(deployment(0)), "UserError: instance_count is 0"},
		{"count 51", body(deployment(51)), "UserError: instance_count is 51"},
		{"liveness", change(func(p *arm.DeploymentProperties) { p.LivenessProbe = &arm.Probe{Period: &second} }), "NotBuilt: liveness_probe"},
		{"readiness", change(func(p *arm.DeploymentProperties) { p.ReadinessProbe = &arm.Probe{Timeout: &tenth} }), "UserError: readiness_probe.timeout must be at least 1 second"},
		{"mount path", change(func(p *arm.DeploymentProperties) { p.ModelMountPath = "/m" }), "NotBuilt: model_mount_path"},
		{"egress", change(func(p *arm.DeploymentProperties) { p.EgressPublicNetworkAccess = "disabled" }), "NotBuilt: egress_public_network_access"},
		{"no code, no model", change(func(p *arm.DeploymentProperties) { p.CodeConfiguration, p.Model = nil, "" }), "NotBuilt: without a model (own containers)"},
		{"no code", change(func(p *arm.DeploymentProperties) { p.CodeConfiguration = nil }), "UserError: is no mlflow_model, which is served without a script|type: mlflow_model"},
		{"secret reference", change(func(p *arm.DeploymentProperties) {
			p.EnvironmentVariables = arm.Strings{"KEY": "${{azureml://connections/c/credentials/k}}"}
		}), "NotBuilt: environment variable KEY"},
		{"kubernetes", change(func(p *arm.DeploymentProperties) { p.EndpointComputeType = "kubernetes" }), "NotBuilt: type: Kubernetes"},
		{"scaling", change(func(p *arm.DeploymentProperties) {
			p.ScaleSettings = &arm.ScaleSettings{ScaleType: "targetUtilization"}
		}), "NotBuilt: scale_settings"},
		{"instance type", change(func(p *arm.DeploymentProperties) { p.InstanceType = "Standard_DS3_v3" }), "UserError: Standard_DS3_v3|Standard_DS3_v2"},
		{"no instance type", change(func(p *arm.DeploymentProperties) { p.InstanceType = "" }), "UserError: no instance_type"},
		{"timeout", change(func(p *arm.DeploymentProperties) {
			long := arm.Duration(time.Hour)
			p.RequestSettings = &arm.RequestSettings{RequestTimeout: &long}
		}), "UserError: request_timeout_ms"},
		{"script path", change(func(p *arm.DeploymentProperties) { p.CodeConfiguration.ScoringScript = "../score.py" }), "UserError: must not leave the code folder"},
		{"no such script", change(func(p *arm.DeploymentProperties) { p.CodeConfiguration.ScoringScript = "scroe.py" }), "UserError: scoring_script scroe.py is not a file in the code folder src: it does not exist|did you mean score.py?"},
		{"script elsewhere", change(func(p *arm.DeploymentProperties) { p.CodeConfiguration.ScoringScript = "src/score.py" }), "UserError: scoring_script src/score.py is not a file in the code folder src|did you mean score.py?"},
		{"no such model", change(func(p *arm.DeploymentProperties) { p.Model = "azureml:zebra:1" }), "UserError: model azureml:zebra:1 does not exist|sluice model create"},
		{"misspelt model", change(func(p *arm.DeploymentProperties) { p.Model = "azureml:n:1" }), "UserError: model azureml:n:1 does not exist|did you mean m?"},
		{"no such version", change(func(p *arm.DeploymentProperties) { p.Model = "azureml:m:7" }), "UserError: model azureml:m:7 does not exist|there is version 1"},
		{"no such label", change(func(p *arm.DeploymentProperties) { p.EnvironmentID = "azureml:e@newest" }), "UserError: azureml:e@newest does not exist|the only label is latest"},
		{"no version", change(func(p *arm.DeploymentProperties) { p.Model = "azureml:m" }), "UserError: names no version|azureml:m@latest"},
		{"no reference", change(func(p *arm.DeploymentProperties) { p.Model = "m:1" }), "UserError: is not a reference"},
		{"no environment", change(func(p *arm.DeploymentProperties) { p.EnvironmentID = "" }), "UserError: no environment"},
		{"registry environment", change(func(p *arm.DeploymentProperties) {
			p.EnvironmentID = "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"
		}), "UserError: is not known here"},
		{"registry model", change(func(p *arm.DeploymentProperties) { p.Model = "azureml://registries/r/models/m/versions/1" }), "NotBuilt: of a registry"},
		{"sampling rate", change(func(p *arm.DeploymentProperties) {
			rate := 1.5
			p.DataCollector = &arm.DataCollector{SamplingRate: &rate}
		}), "UserError: samplingRate"},
	} {
		got := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/blue"+version, tc.body)
		code, rest, _ := strings.Cut(tc.want, ": ")
		message, hint, _ := strings.Cut(rest, "|")
		detail := got.errorBody(t)
		if got.status != 400 || detail.Code != code || !strings.Contains(detail.Message, message) || !strings.Contains(string(got.body), hint) {
			t.Errorf("%s: status %d, %s; want 400 with %s", tc.name, got.status, got.body, tc.want)
		}
	}
	if _, err := w.client.PutModel(context.Background(), "flow", "1", arm.ModelVersion{Properties: arm.ModelProperties{ModelType: "mlflow_model",
		ModelURI: w.upload(sluice.KindModel, "model", "MLmodel", "flavors: {}\n")}}); err != nil {
		t.Fatal(err)
	}
	flow := change(func(p *arm.DeploymentProperties) { p.Model, p.EnvironmentID = "azureml:flow:1", "" })
	if got := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/flow"+version, flow); got.status != 201 {
		t.Errorf("an MLflow model brings its environment: status %d, %s", got.status, got.body)
	}
	alone := change(func(p *arm.DeploymentProperties) {
		p.Model, p.EnvironmentID, p.CodeConfiguration = "azureml:flow:1", "", nil
	})
	if got := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/alone"+version, alone); got.status != 201 {
		t.Errorf("an MLflow model is served without a script: status %d, %s", got.status, got.body)
	}
	if _, err := w.client.PutModel(context.Background(), "triton", "1", arm.ModelVersion{Properties: arm.ModelProperties{ModelType: "triton_model",
		ModelURI: w.upload(sluice.KindModel, "model", "config.pbtxt", "")}}); err != nil {
		t.Fatal(err)
	}
	triton := change(func(p *arm.DeploymentProperties) { p.Model, p.CodeConfiguration = "azureml:triton:1", nil })
	if got := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/triton"+version, triton); got.status != 400 || got.errorBody(t).Code != "NotBuilt" {
		t.Errorf("a Triton model without a script: status %d, %s", got.status, got.body)
	}
	atDefault := change(func(p *arm.DeploymentProperties) { p.ModelMountPath = "/var/azureml-app/azureml-models" })
	if got := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/green"+version, atDefault); got.status != 201 {
		t.Errorf("the default of model_mount_path: status %d, %s", got.status, got.body)
	}
	if got := w.do("PUT", ws+"/onlineEndpoints/none/deployments/blue"+version, body(deployment(1))); got.status != 404 {
		t.Errorf("under no endpoint: status %d", got.status)
	}
	if _, err := w.client.Deployment(context.Background(), "iris", "blue"); codeOf(err) != sluice.CodeNotFound {
		t.Errorf("a refused request left something: %v", err)
	}
}

func TestRegistryAliases(t *testing.T) {
	w := newAliasWorld(t)
	w.assets()
	w.endpoint("iris")
	d := deployment(1)
	d.Properties.EnvironmentID = "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"
	for _, name := range []string{"blue", "green"} { // the second finds what the first made
		if _, _, err := w.client.PutDeployment(context.Background(), "iris", name, d); err != nil {
			t.Fatal(err)
		}
	}
	stored, _, _ := w.rows(blue)
	ref, err := sluice.ParseRef(stored.Spec.Environment)
	if err != nil || ref.Registry != "" {
		t.Fatalf("environment is stored as %q, %v", stored.Spec.Environment, err)
	}
	e, err := w.client.Environment(context.Background(), ref.Name, ref.Version)
	if err != nil || e.Properties.CondaFile != "dependencies: [scikit-learn]" || !e.Properties.IsAnonymous {
		t.Errorf("it stands for %+v, %v", e, err)
	}
}

func TestDeleteRefusedWithLiveTraffic(t *testing.T) {
	w := newWorld(t)
	w.reconcile(nil)
	w.assets()
	w.endpoint("iris")
	w.deploy("iris", "blue", deployment(1))
	w.deploy("iris", "green", deployment(1))
	ctx := context.Background()
	set := func(split arm.Shares) {
		t.Helper()
		if _, _, err := w.client.PatchEndpoint(ctx, "iris", arm.EndpointPatch{Properties: &arm.EndpointPatchProperties{Traffic: &split}}); err != nil {
			t.Fatal(err)
		}
	}
	set(arm.Shares{"blue": 90, "green": 10})
	_, err := w.client.DeleteDeployment(ctx, "iris", "blue")
	e, ok := errors.AsType[*sluice.Error](err)
	if !ok || !strings.Contains(e.Message, "90 percent") || !strings.Contains(e.Hint, `--traffic "blue=0 green=100"`) {
		t.Fatalf("error %#v", err)
	}
	set(arm.Shares{"green": 100})
	poller, err := w.client.DeleteDeployment(ctx, "iris", "blue")
	if err == nil {
		err = poller.Wait(ctx, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.DeleteDeployment(ctx, "iris", "blue"); codeOf(err) != sluice.CodeNotFound {
		t.Errorf("deleting what is gone: %v", err)
	}
	split := arm.Shares{"blue": 100}
	if _, _, err := w.client.PatchEndpoint(ctx, "iris", arm.EndpointPatch{Properties: &arm.EndpointPatchProperties{Traffic: &split}}); err == nil {
		t.Error("a deployment that is gone was given traffic")
	}
}

// Deleting wins over whatever runs: the former operation is canceled, and
// deleting again gives the same operation.
func TestDeleteEndpointTakesItsDeployments(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	creating := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/blue"+version, body(deployment(1)))
	first := w.do("DELETE", ws+"/onlineEndpoints/iris"+version, "")
	if first.status != 202 || first.header.Get("Location") == "" || first.header.Get("Azure-AsyncOperation") == "" {
		t.Fatalf("status %d, headers %v", first.status, first.header)
	}
	if op := w.lastOperation(creating); op.Status != sluice.OperationCanceled || op.Ended.IsZero() {
		t.Errorf("the former operation is %+v", op)
	}
	if d, _, _ := w.rows(blue); d.State != sluice.StateDeleting {
		t.Errorf("the deployment is %s", d.State)
	}
	again := w.do("DELETE", ws+"/onlineEndpoints/iris"+version, "")
	if again.status != 202 || again.header.Get("Azure-AsyncOperation") != first.header.Get("Azure-AsyncOperation") {
		t.Errorf("again: status %d, operation %s, want that of the first time", again.status, again.header.Get("Azure-AsyncOperation"))
	}
	for _, tc := range []struct{ method, path, body string }{
		{"PUT", "/onlineEndpoints/iris", "{}"}, {"PATCH", "/onlineEndpoints/iris", "{}"},
		{"PUT", "/onlineEndpoints/iris/deployments/green", body(deployment(1))},
		{"PATCH", "/onlineEndpoints/iris/deployments/blue", `{"sku":{"capacity":2}}`},
		{"DELETE", "/onlineEndpoints/iris/deployments/blue", ""},
		{"POST", "/onlineEndpoints/iris/regenerateKeys", `{"keyType":"Primary"}`},
	} {
		if got := w.do(tc.method, ws+tc.path+version, tc.body); got.status != 409 {
			t.Errorf("%s %s while it goes: status %d: %s", tc.method, tc.path, got.status, got.body)
		}
	}
	if got := w.do("GET", first.header.Get("Location"), ""); got.status != 202 {
		t.Errorf("its result while it goes: status %d", got.status)
	}
	w.reconcile(nil)
	if err := w.client.Follow(first.header.Get("Azure-AsyncOperation")).Wait(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if got := w.do("GET", first.header.Get("Location"), ""); got.status != 204 {
		t.Errorf("its result: status %d", got.status)
	}
	if got := w.do("GET", ws+"/onlineEndpoints/iris"+version, ""); got.status != 404 {
		t.Errorf("the endpoint afterwards: status %d", got.status)
	}
}

func TestMostDeployments(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	for i := range sluice.MaxDeployments {
		if _, _, err := w.client.PutDeployment(context.Background(), "iris", fmt.Sprintf("dep%d", i), deployment(1)); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := w.client.PutDeployment(context.Background(), "iris", "onemore", deployment(1))
	if e, ok := errors.AsType[*sluice.Error](err); !ok || e.Cause == nil || e.Cause.Code != sluice.CauseQuota {
		t.Errorf("deployment %d: %v", sluice.MaxDeployments+1, err)
	}
}

func TestHistory(t *testing.T) {
	w := newWorld(t)
	w.reconcile(nil)
	w.assets()
	w.endpoint("iris")
	w.deploy("iris", "blue", deployment(1))
	w.deploy("iris", "blue", deployment(2))
	var got struct {
		Value []struct {
			Verb  string
			Actor sluice.Actor
		}
	}
	raw := w.do("GET", ws+"/onlineEndpoints/iris/deployments/blue/history"+version, "")
	if err := json.Unmarshal(raw.body, &got); err != nil || len(got.Value) != 2 || got.Value[1].Verb != "create" ||
		got.Value[0].Actor.Name != "admin" || got.Value[0].Actor.From == "" || got.Value[0].Actor.Client != "sluice" {
		t.Errorf("history %s, %v", raw.body, err)
	}
}
