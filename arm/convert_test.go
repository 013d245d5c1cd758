package arm

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

var testScope = Scope{Subscription: "S", ResourceGroup: "G", Workspace: "w"}

const wsID = "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/w"

// roundTrip sends a wire value over the wire.
func roundTrip[T any](t *testing.T, v T) T {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func testMeta(name, version string) sluice.Meta {
	return sluice.Meta{Name: name, Version: version, Description: "d",
		Tags: map[string]string{"a": "b"}, Properties: map[string]string{"p": "q"},
		Created:  sluice.Stamp{At: time.Unix(1700000000, 0).UTC(), By: "admin"},
		Modified: sluice.Stamp{At: time.Unix(1700000001, 0).UTC(), By: "other"}}
}

func TestEndpointRoundTrip(t *testing.T) {
	want := &sluice.Endpoint{Meta: testMeta("Iris", ""), AuthMode: sluice.AuthAADToken,
		Identity: &sluice.Identity{Type: "user_assigned", UserAssigned: []string{"/a", "/b"}},
		Traffic:  map[string]int{"blue": 90, "green": 10}, MirrorTraffic: map[string]int{},
		PublicNetworkAccess: "disabled", Compute: "azureml:k8s", State: sluice.StateFailed,
		Cause: &sluice.Cause{Code: sluice.CauseInternal, Message: "m", Hint: "h"}}
	wire := roundTrip(t, EndpointFrom(testScope, want))
	if wire.ID != wsID+"/onlineEndpoints/Iris" {
		t.Errorf("id is %s", wire.ID)
	}
	got, err := wire.Domain()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDeploymentRoundTrip(t *testing.T) {
	want := &sluice.Deployment{Meta: testMeta("blue", ""), State: sluice.StateSucceeded, Spec: sluice.Spec{
		Model: "azureml:m:1", ModelMountPath: "/models", Environment: "azureml:e@latest",
		Code:                 &sluice.CodeConfiguration{Code: "azureml:c:2", ScoringScript: "a/score.py"},
		EnvironmentVariables: map[string]string{"X": "1"}, InstanceType: "Standard_DS3_v2",
		Request: sluice.RequestSettings{Timeout: 7500 * time.Millisecond, MaxConcurrent: 4, MaxQueueWait: 0},
		Liveness: sluice.Probe{InitialDelay: time.Minute, Period: 20 * time.Second, Timeout: 3 * time.Second,
			SuccessThreshold: 1, FailureThreshold: 5},
		Readiness: sluice.DefaultProbe(), AppInsights: true, EgressAccess: "disabled",
		DataCollector: &sluice.DataCollector{SamplingRate: 0.5, RollingRate: "day", CaptureHeaders: []string{"X-A"},
			Collections: map[string]sluice.Collection{"request": {Enabled: true, SamplingRate: 0.25, ClientID: "c",
				DataName: "dn", DataPath: "azureml://datastores/x/paths/y", DataVersion: "3"}}},
	}}
	wire := DeploymentFrom(testScope, want, 3)
	if got := wire.Properties.Properties[PropertyNotBuilt]; got != "app_insights_enabled,data_collector" {
		t.Errorf("not-built mark is %q", got)
	}
	wire = roundTrip(t, wire)
	if wire.Properties.EnvironmentID != wsID+"/environments/e/labels/latest" || wire.Properties.Model != wsID+"/models/m/versions/1" {
		t.Errorf("ids: %s, %s", wire.Properties.EnvironmentID, wire.Properties.Model)
	}
	got, count, err := wire.Domain()
	if err != nil || count != 3 {
		t.Fatalf("count %d, %v", count, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDeploymentDefaults(t *testing.T) {
	got, count, err := OnlineDeployment{}.Domain()
	if err != nil || count != 0 {
		t.Fatalf("count %d, %v", count, err)
	}
	want := sluice.Spec{Request: sluice.DefaultRequestSettings(), Liveness: sluice.DefaultProbe(),
		Readiness: sluice.DefaultProbe(), EgressAccess: "enabled"}
	if diff := cmp.Diff(want, got.Spec); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEnumsInAnyCase(t *testing.T) {
	for _, tc := range []struct {
		auth string
		want sluice.AuthMode
	}{{"", "key"}, {"key", "key"}, {"KEY", "key"}, {"aadToken", "aad_token"}, {"aad_token", "aad_token"}, {"AMLTOKEN", "aml_token"}} {
		e, err := OnlineEndpoint{Properties: EndpointProperties{AuthMode: tc.auth}}.Domain()
		if err != nil || e.AuthMode != tc.want {
			t.Errorf("authMode %q: %v, %v; want %q", tc.auth, e, err, tc.want)
		}
	}
	if _, err := (OnlineEndpoint{Properties: EndpointProperties{AuthMode: "kee"}}).Domain(); sluice.ErrorCode(err) != sluice.CodeInvalid {
		t.Errorf("authMode kee: %v", err)
	}
	for _, tc := range []struct{ in, want string }{{"systemAssigned", "system_assigned"}, {"USERASSIGNED", "user_assigned"}} {
		i, err := (&Identity{Type: tc.in}).Domain()
		if err != nil || i.Type != tc.want {
			t.Errorf("identity %q: %v, %v", tc.in, i, err)
		}
	}
}

func TestNotBuiltIsRefusedByName(t *testing.T) {
	second := Duration(time.Second)
	for name, p := range map[string]DeploymentProperties{
		"kubernetes":         {EndpointComputeType: "Kubernetes"},
		"target_utilization": {ScaleSettings: &ScaleSettings{ScaleType: "targetUtilization"}},
		"startup probe":      {StartupProbe: &Probe{Period: &second}},
	} {
		if _, _, err := (OnlineDeployment{Properties: p}).Domain(); sluice.ErrorCode(err) != sluice.CodeNotBuilt {
			t.Errorf("%s: %v, want a not-built error", name, err)
		}
	}
}

func TestAssetRoundTrips(t *testing.T) {
	content := sluice.Content{Tree: sluice.DigestBytes([]byte("x")), Base: "mo del%/"[:7]}
	model := &sluice.Model{Meta: testMeta("m", "3"), Type: sluice.ModelMLflow, Stage: "s", Hidden: true, Archived: true,
		Flavors: map[string]map[string]string{"sklearn": {"v": "1"}}, Content: content}
	wire := roundTrip(t, ModelFrom(testScope, model, "https://h:1"))
	got, err := wire.Domain()
	if err != nil {
		t.Fatal(err)
	}
	host, ws, back, err := ParseTreeURI(got.Content.URI)
	if err != nil || host != "h:1" || ws != "w" || back != content {
		t.Errorf("ParseTreeURI(%q) = %q, %q, %+v, %v; want %+v", got.Content.URI, host, ws, back, err, content)
	}
	got.Content = content
	if diff := cmp.Diff(model, got); diff != "" {
		t.Errorf("model (-want +got):\n%s", diff)
	}
	env := &sluice.Environment{Meta: testMeta("e", "1"), Image: "i", CondaFile: "c", OSType: "linux",
		Build:     &sluice.BuildContext{ContextURI: "u", DockerfilePath: "D"},
		Inference: &sluice.InferenceConfig{Liveness: sluice.Route{Path: "/l", Port: 1}, Scoring: sluice.Route{Path: "/s", Port: 2}}}
	gotEnv, err := roundTrip(t, EnvironmentFrom(testScope, env)).Domain()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(env, gotEnv); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

// A single file has no folder around it, and so no base.
func TestTreeURIWithoutBase(t *testing.T) {
	want := sluice.Content{Tree: sluice.DigestBytes(nil)}
	_, _, got, err := ParseTreeURI(TreeURI("https://h", "w", want))
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestTreeURIRefusals(t *testing.T) {
	digest := sluice.DigestBytes(nil)
	for _, uri := range []string{"", "file:///x", "https://h/artifacts/w/trees", "https://h/artifacts/w/trees/sha256:00/x",
		"https://h/artifacts/w/trees/" + digest + "/..", "https://h/artifacts/w/trees/" + digest + "/a%2Fb",
		"https://h/artifacts/w/trees/" + digest + "/a%00b", "https://h/artifacts/w/trees/" + digest + "/a?sig=1",
		"azureml://datastores/x/paths/y", "/artifacts/w/trees/" + digest + "/x", "https://h/artifacts/w/trees/" + digest + "/%ff"} {
		if _, _, c, err := ParseTreeURI(uri); err == nil {
			t.Errorf("ParseTreeURI(%q) = %+v, want an error", uri, c)
		}
	}
}

func TestErrorsSurviveTheWire(t *testing.T) {
	for _, e := range []*sluice.Error{
		{Code: sluice.CodeInvalid, Message: "m", Hint: "h", Target: "t"},
		{Code: sluice.CodeImmutable, Message: "Asset paths cannot be updated."},
		{Code: sluice.CodeBusy, Message: "busy", Hint: "wait", Cause: &sluice.Cause{Code: sluice.CauseBusy, Message: "busy", Hint: "wait"}},
		{Code: sluice.CodeNotBuilt, Message: "x is not built yet"},
		{Code: sluice.CodeExists, Message: "there"},
		{Code: sluice.CodeStale, Message: "stale"},
		{Code: sluice.CodeTooLarge, Message: "large"},
		{Code: sluice.CodeForbidden, Message: "no"},
	} {
		status, detail := ErrorFrom(e)
		if status < 400 || status > 499 {
			t.Errorf("%s has status %d", e.Code, status)
		}
		detail = roundTrip(t, detail)
		if diff := cmp.Diff(e, detail.Domain(status)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", e.Code, diff)
		}
	}
}

func TestOperationCarriesItsCause(t *testing.T) {
	cause := &sluice.Cause{Code: sluice.CauseInitRaised, Message: "init() raised ValueError", File: "score.py", Line: 7,
		Hint: "fix it", Evidence: []string{"Traceback", "ValueError"}, Instance: "i1"}
	op := roundTrip(t, OperationFrom(testScope, &sluice.Operation{Meta: sluice.Meta{Name: "op"}, Status: sluice.OperationFailed, Cause: cause,
		Target: sluice.DeploymentKey("w", "ep", "blue"), Started: time.Unix(1, 0), Ended: time.Unix(2, 0),
		Stages: []sluice.Stage{{Name: "instance", Step: "init", Started: time.Unix(1, 0).UTC(), Ended: time.Unix(2, 0).UTC()}}}, "/x"))
	if op.Properties.Target != wsID+"/onlineEndpoints/ep/deployments/blue" || op.Error.Code != "ResourceNotReady" || len(op.Properties.Stages) != 1 {
		t.Errorf("operation: %+v", op)
	}
	e, ok := op.Err().(*sluice.Error)
	if !ok || e.Hint != "fix it" {
		t.Fatalf("error is %#v", op.Err())
	}
	if diff := cmp.Diff(cause, e.Cause); diff != "" {
		t.Errorf("cause (-want +got):\n%s", diff)
	}
}
