package arm

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func TestDecodeIsTolerant(t *testing.T) {
	var got struct {
		Tags    Strings `json:"tags"`
		Count   Int     `json:"count"`
		Traffic Shares  `json:"traffic"`
	}
	text := `{"TAGS": {"a": 1, "b": true, "c": null, "d": "x,}",}, "Count": "3", "unknown": [1, 2,],
		"traffic": {"blue": "90", "green": 10.0}, }`
	if err := Decode(strings.NewReader(text), 1000, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Strings{"a": "1", "b": "true", "d": "x,}"}, got.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if got.Count != 3 || got.Traffic["blue"] != 90 || got.Traffic["green"] != 10 {
		t.Errorf("numbers: %+v", got)
	}
}

func TestDecodeRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		limit      int64
		want       sluice.Code
	}{
		{"too large", `{"a":"bbbbbbbbbbbbbbbbbbbb"}`, 10, sluice.CodeTooLarge},
		{"not JSON", `{"a"`, 100, sluice.CodeInvalid},
		{"two values", `{} {}`, 100, sluice.CodeInvalid},
		{"fraction of an instance", `{"sku":{"capacity":1.5}}`, 100, sluice.CodeInvalid},
		{"huge number", `{"sku":{"capacity":1e300}}`, 100, sluice.CodeInvalid},
		{"a map as a tag", `{"tags":{"a":{}}}`, 100, sluice.CodeInvalid},
		{"wrong type", `{"properties":[]}`, 100, sluice.CodeInvalid},
		{"wrong duration", `{"properties":{"requestSettings":{"requestTimeout":"5"}}}`, 100, sluice.CodeInvalid},
	} {
		var d OnlineDeployment
		if got := sluice.ErrorCode(Decode(strings.NewReader(tc.text), tc.limit, &d)); got != tc.want {
			t.Errorf("%s: code %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestEmptyBodyChangesNothing(t *testing.T) {
	d := DeploymentPatch{Tags: &Strings{"a": "b"}}
	if err := Decode(strings.NewReader(" \n"), 10, &d); err != nil || (*d.Tags)["a"] != "b" {
		t.Errorf("after an empty body: %+v, %v", d, err)
	}
}

func TestMapsAreNeverNull(t *testing.T) {
	for name, v := range map[string]any{"endpoint": EndpointFrom(Scope{}, &sluice.Endpoint{}),
		"deployment": DeploymentFrom(Scope{}, &sluice.Deployment{}, 1), "model": ModelFrom(Scope{}, &sluice.Model{}, "https://x")} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "null") {
			t.Errorf("%s has a null: %s", name, b)
		}
	}
}

// Whatever comes, reading it and turning it into the domain does not panic,
// and what the domain says can be read again and means the same.
func FuzzDeployment(f *testing.F) {
	f.Add([]byte(`{"sku":{"capacity":"2"},"tags":{"a":1},"properties":{"endpointComputeType":"managed","model":"azureml:m:1",
		"environmentId":"azureml:e@latest","codeConfiguration":{"codeId":"azureml:c:1","scoringScript":"score.py"},
		"requestSettings":{"requestTimeout":"PT3S"},"livenessProbe":{"initialDelay":"PT1S","failureThreshold":3},
		"dataCollector":{"collections":{"request":{"dataCollectionMode":"Enabled","dataId":"azureml:d:1"}},"rollingRate":"Hour"}}}`))
	f.Add([]byte(`{"properties":{"scaleSettings":{"scaleType":"TargetUtilization"}}}`))
	f.Add([]byte(`{"properties":null,"sku":null,}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var w OnlineDeployment
		if Decode(strings.NewReader(string(body)), 1<<20, &w) != nil {
			return
		}
		d, count, err := w.Domain()
		if err != nil {
			return
		}
		d.Endpoint = "ep"
		b, err := json.Marshal(DeploymentFrom(Scope{"s", "g", "w"}, d, count))
		if err != nil {
			t.Fatal(err)
		}
		var again OnlineDeployment
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatalf("our own answer cannot be read: %v\n%s", err, b)
		}
		d2, count2, err := again.Domain()
		if err != nil || count2 != count {
			t.Fatalf("read again: count %d then %d, %v", count, count2, err)
		}
		// Registry references and the like pass through as they are.
		if diff := cmp.Diff(d.Spec.Request, d2.Spec.Request); diff != "" {
			t.Fatalf("request settings change on the way (-first +second):\n%s", diff)
		}
	})
}
