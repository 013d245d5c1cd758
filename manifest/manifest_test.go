package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

// TestHostile hands over texts that are made to use memory or time without
// end. Each must be refused, with little memory allocated on the way.
func TestHostile(t *testing.T) {
	const size = 1 << 20
	repeat := func(s string) string { return strings.Repeat(s, (size-100)/len(s)) }
	var laughs strings.Builder
	laughs.WriteString("tags: &a0 {x: y}\n")
	for i := range 30 {
		fmt.Fprintf(&laughs, "k%d: &a%d [*a%d, *a%d, *a%d]\n", i, i+1, i, i, i)
	}
	deep := strings.Repeat("k: ", 0)
	for i := range 2000 {
		deep += strings.Repeat(" ", i) + "k:\n"
	}
	long := strings.Repeat("k", 400_000)
	paths := strings.Repeat("{"+strings.Repeat("k", maxKey)+": ", maxDepth-2) + "[" + strings.Repeat("a,", maxTokens/2-200) + "a"
	for name, text := range map[string]string{
		"open lists":       repeat("["),
		"open mappings":    repeat("{a: "),
		"nested entries":   strings.Repeat("- ", 5000),
		"deep blocks":      deep,
		"laughs":           laughs.String(),
		"merge laughs":     strings.ReplaceAll(laughs.String(), "k", "<<: *a0\nk"),
		"itself":           "a: &a [*a]",
		"many keys":        repeat("a: b\n"),
		"many entries":     repeat("- a\n"),
		"flow entries":     "[" + repeat("a,") + "]",
		"quotes":           repeat(`"" `),
		"anchors":          repeat("&a "),
		"tags":             repeat("!!str "),
		"directives":       repeat("%"),
		"documents":        repeat("---\n"),
		"comments":         repeat("#\n"),
		"question marks":   repeat("? "),
		"block scalars":    repeat("a: >-\n"),
		"long key":         "{" + long + ": [" + strings.Repeat("a,", 1000) + "]}",
		"long paths":       paths,
		"too large":        strings.Repeat("x", size+1),
		"NUL":              "name: a\x00b",
		"not UTF-8":        "name: a\xffb",
		"quoted merge":     "a: &a {b: c}\n? <<\n: *a\n",
		"unclosed literal": "a: |9\n" + repeat(" x\n"),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := parse("f.yml", []byte(text))
			runtime.ReadMemStats(&after)
			var c *sluice.Cause
			if !errors.As(err, &c) || c.Code != sluice.CauseYAMLSyntax || c.File != "f.yml" {
				t.Errorf("got %v, want a syntax error of f.yml", err)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 256 {
				t.Errorf("allocated %d MiB", used)
			}
		})
	}
}

// TestLargeButFine reads what is large and no attack.
func TestLargeButFine(t *testing.T) {
	var b strings.Builder
	b.WriteString("name: iris\nenvironment_variables:\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "  VARIABLE_%d: some value\n", i)
	}
	b.WriteString("description: |\n" + strings.Repeat("  a line of text, quite long, of which there are many\n", 15000))
	n, err := parse("f.yml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(n.get("environment_variables").props); got != 2000 {
		t.Errorf("got %d variables, want 2000", got)
	}
}

// words are texts that are easily taken for something else.
var words = []string{"a", "iris model", "true", "NULL", "~", "", " x ", "1", "1.0", "0x1f", "-", "- a", "a: b", "a #b", "#c", "'q'", `"d"`,
	"two\nlines", "tab\t", "\u00e9\U0001F600", "*a", "&a", "!t", "%p", "@h", "`", "{a}", "[b]", "<<", "=", "yes", "2024-01-01", "\x7f", "\u2028", "\ufeffx",
	"a:b", "x:", ":y", "?", "| z", "> z", "\\n", "azureml:m:1", "...", "---", "1e3", ".5", ".inf", "key: [", "trailing\n\n", "\r\n", "0o7", "1_000", "12:30:45"}

func randomText(r *rand.Rand) string { return words[r.IntN(len(words))] }

func randomTexts(r *rand.Rand) map[string]string {
	out := map[string]string{}
	for range r.IntN(4) {
		out[randomText(r)] = randomText(r)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// randomVariables gives names that an environment variable can have.
func randomVariables(r *rand.Rand) map[string]string {
	out := map[string]string{}
	for name, value := range randomTexts(r) {
		out["V"+strings.ReplaceAll(name, "=", "-")] = value
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func randomDeployment(r *rand.Rand) (*sluice.Deployment, int) {
	d := &sluice.Deployment{Endpoint: "iris"}
	d.Name, d.Description = "blue", randomText(r)
	d.Tags, d.Properties = randomTexts(r), randomTexts(r)
	d.Spec = sluice.Spec{Model: "azureml:m:1.0", Environment: "azureml:e:2", InstanceType: "x" + randomText(r),
		EnvironmentVariables: randomVariables(r), EgressAccess: "enabled", AppInsights: r.IntN(2) == 0,
		Request:  sluice.RequestSettings{Timeout: time.Duration(1+r.IntN(180000)) * time.Millisecond, MaxConcurrent: 1 + r.IntN(9), MaxQueueWait: time.Duration(r.IntN(900)) * time.Millisecond},
		Liveness: sluice.DefaultProbe(), Readiness: sluice.DefaultProbe()}
	if r.IntN(2) == 0 {
		d.Spec.Code = &sluice.CodeConfiguration{Code: "azureml:c:1", ScoringScript: "a/score.py"}
	}
	if r.IntN(2) == 0 {
		d.Spec.DataCollector = &sluice.DataCollector{SamplingRate: float64(r.IntN(101)) / 100, RollingRate: "day",
			Collections: map[string]sluice.Collection{randomText(r): {Enabled: true, DataName: "n", DataVersion: "1", SamplingRate: 0.25}, "c": {ClientID: "x"}}}
	}
	return d, 1 + r.IntN(50)
}

// TestShowIsAccepted checks that what show prints, as YAML and as JSON, reads
// back as the very same object.
func TestShowIsAccepted(t *testing.T) {
	out := Output{ID: "/subscriptions/s/resourceGroups/g/x", Location: "local", ScoringURI: "https://localhost:8443/endpoints/iris/score", OpenAPIURI: "https://x/swagger.json"}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		want, count := randomDeployment(r)
		want.State = sluice.StateFailed
		want.Cause = &sluice.Cause{Code: sluice.CauseInitRaised, Message: randomText(r), File: "score.py", Line: 3, Hint: randomText(r), Evidence: []string{randomText(r)}}
		doc := DeploymentDoc(want, count, out)
		for _, text := range [][]byte{doc.YAML(), jsonOf(t, doc)} {
			got, _, err := ReadDeployment(Input{Text: text})
			if err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, text)
			}
			if diff := cmp.Diff(want.Spec, got.Spec); diff != "" {
				t.Fatalf("seed %d: want -, got +:\n%s\n%s", seed, diff, text)
			}
			if diff := cmp.Diff(want.Meta, got.Meta); diff != "" || got.Endpoint != want.Endpoint || got.Count != count {
				t.Fatalf("seed %d: want -, got +:\n%s\n%s", seed, diff, text)
			}
		}
		based, _, err := ReadDeployment(Input{Base: doc})
		if err != nil || cmp.Diff(want.Spec, based.Spec) != "" {
			t.Fatalf("seed %d: as the current object: %v %s", seed, err, cmp.Diff(want.Spec, based.Spec))
		}
	}
}

func TestShownEndpointIsAccepted(t *testing.T) {
	out := Output{ID: "/subscriptions/s/resourceGroups/g/x", Location: "local", ScoringURI: "https://x/score", Deployments: []string{"Green", "red"}}
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2))
		want := &sluice.Endpoint{AuthMode: sluice.AuthKey, PublicNetworkAccess: "enabled", Traffic: map[string]int{"blue": 90, "green": 10}}
		want.Name, want.Description, want.Tags, want.Properties = "iris", randomText(r), randomTexts(r), randomTexts(r)
		want.MirrorTraffic = map[string]int{}
		if seed%2 == 0 {
			want.Identity = &sluice.Identity{Type: "system_assigned"}
		}
		doc := EndpointDoc(want, out)
		for _, text := range [][]byte{doc.YAML(), jsonOf(t, doc)} {
			got, _, err := ReadEndpoint(Input{Text: text})
			if err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, text)
			}
			if diff := cmp.Diff(want, &got.Endpoint); diff != "" {
				t.Fatalf("seed %d: want -, got +:\n%s\n%s", seed, diff, text)
			}
		}
	}
}

func TestShownAssetsAreAccepted(t *testing.T) {
	created := sluice.Stamp{At: time.Unix(1700000000, 0), By: "admin"}
	m := &sluice.Model{Type: sluice.ModelMLflow, Stage: "x", Flavors: map[string]map[string]string{"f": {"a": "1"}, "g": nil},
		Content: sluice.Content{URI: "https://localhost:7443/artifacts/default/trees/sha256:0/model"}}
	m.Name, m.Version, m.Tags = "iris", "1.0", map[string]string{"a": "b"}
	shown := *m
	shown.Created, shown.Modified = created, created
	gotModel, _, err := ReadModel(Input{Text: ModelDoc(&shown, Output{ID: "x"}).YAML()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*m, gotModel.Model); diff != "" || gotModel.Local != nil {
		t.Errorf("want -, got +:\n%s", diff)
	}

	e, _, err := ReadEnvironment(Input{Text: []byte("name: e\nversion: 3\nimage: i\nconda_file:\n  dependencies: [python=3.11, 1.10, {pip: [a, 'b #c']}, ~]\n  channels: {}\n")})
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := ReadEnvironment(Input{Text: EnvironmentDoc(&e.Environment, Output{ID: "x"}).YAML()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.Environment, again.Environment); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestCondaFileIsNormal checks that a file, the same content inline and the
// same text give the same environment.
func TestCondaFileIsNormal(t *testing.T) {
	dir := t.TempDir()
	const conda = "# c\nname: n\nchannels: [defaults]\ndependencies:\n  - python=3.11\n  - numpy=1.26.4 # pinned\n"
	if err := os.WriteFile(filepath.Join(dir, "conda.yml"), []byte(conda), 0o644); err != nil {
		t.Fatal(err)
	}
	read := func(conda string) string {
		t.Helper()
		e, _, err := ReadEnvironment(Input{File: filepath.Join(dir, "env.yml"), Text: []byte("name: e\nimage: i\nconda_file: " + conda)})
		if err != nil {
			t.Fatal(err)
		}
		return e.CondaFile
	}
	want := "channels:\n- defaults\ndependencies:\n- python=3.11\n- numpy=1.26.4\nname: \"n\"\n"
	for _, form := range []string{"conda.yml", "{dependencies: [python=3.11, numpy=1.26.4], name: n, channels: [defaults]}",
		"|\n" + "  " + strings.ReplaceAll(strings.TrimSpace(conda), "\n", "\n  ")} {
		if got := read(form); got != want {
			t.Errorf("%s: got %q, want %q", form, got, want)
		}
	}
}

// TestExample reads what the README runs.
func TestExample(t *testing.T) {
	e, w, err := ReadEndpoint(Input{File: "../examples/iris/endpoint.yml"})
	if err != nil || len(w) != 0 || e.Name != "iris" {
		t.Fatalf("got %+v, %v, %v", e, w, err)
	}
	d, w, err := ReadDeployment(Input{File: "../examples/iris/blue-deployment.yml"})
	if err != nil || len(w) != 0 {
		t.Fatalf("got %v, %v", w, err)
	}
	if d.Code.Base != "onlinescoring" || d.Model.Local.Base != "iris.joblib" || d.Model.Content.Base != "" || !strings.Contains(d.Environment.CondaFile, "scikit-learn=") {
		t.Errorf("got %+v", d)
	}
}

// TestRefusalsHoldTheDefaults keeps the table in step with the domain.
func TestRefusalsHoldTheDefaults(t *testing.T) {
	d := &sluice.Deployment{Endpoint: "iris", Spec: sluice.Spec{InstanceType: "x", Request: sluice.DefaultRequestSettings(),
		Liveness: sluice.DefaultProbe(), Readiness: sluice.DefaultProbe(), EgressAccess: "enabled"}}
	d.Name = "blue"
	if _, _, err := ReadDeployment(Input{Base: DeploymentDoc(d, 1, Output{})}); err != nil {
		t.Error(err)
	}
	d.Spec.Liveness.FailureThreshold++
	_, _, err := ReadDeployment(Input{Base: DeploymentDoc(d, 1, Output{})})
	if sluice.ErrorCode(err) != sluice.CodeNotBuilt {
		t.Errorf("got %v, want not built", err)
	}
}

// TestCausesAreErrors checks how the causes look through the errors package.
func TestCausesAreErrors(t *testing.T) {
	mixed := Causes{{Code: sluice.CauseNotBuilt, Message: "a", Hint: "h"}, {Code: sluice.CauseBadValue, Message: "b", File: "f", Line: 2}}
	var e *sluice.Error
	if !errors.As(fmt.Errorf("reading: %w", mixed), &e) || e.Code != sluice.CodeInvalid || e.Hint != "h" {
		t.Errorf("got %+v", e)
	}
	if got, want := mixed.Error(), "a\nf:2: b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var c *sluice.Cause
	if !errors.As(error(mixed), &c) || c.Message != "a" {
		t.Errorf("got %+v", c)
	}
}

func TestDocKeepsOrder(t *testing.T) {
	doc := Doc{{"b", 1}, {"a", Doc{{"z", "<&>"}, {"y", nil}}}, {"m", map[string]string{"k": "v"}}, {"l", []any{true, 0.5}}}
	if got, want := string(jsonOf(t, doc)), `{"b":1,"a":{"z":"<&>","y":null},"m":{"k":"v"},"l":[true,0.5]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want := "b: 1\na:\n  z: \"<&>\"\n  \"y\": null\nm:\n  k: v\nl:\n- true\n- 0.5\n"
	if got := string(doc.YAML()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	through, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(through); got != want {
		t.Errorf("through the encoder: got %s, want %s", got, want)
	}
	wantMap := map[string]any{"b": 1.0, "a": map[string]any{"z": "<&>", "y": nil}, "m": map[string]any{"k": "v"}, "l": []any{true, 0.5}}
	if diff := cmp.Diff(wantMap, doc.Map()); diff != "" {
		t.Error(diff)
	}
	if doc.Get("b") != 1 || doc.Get("nope") != nil {
		t.Error("Get does not find fields by name")
	}
}

// jsonOf encodes without escaping for HTML, as the CLI prints.
func jsonOf(t *testing.T, doc Doc) []byte {
	t.Helper()
	b, err := doc.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var compact strings.Builder
	enc := json.NewEncoder(&compact)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(json.RawMessage(b)); err != nil {
		t.Fatal(err)
	}
	return []byte(strings.TrimSpace(compact.String()))
}

// TestLineEnds reads files as Windows editors write them.
func TestLineEnds(t *testing.T) {
	n, err := parse("f.yml", []byte("\xef\xbb\xbfname: iris\r\ntags:\r\n  a: b\r\ndescription: |\r\n  x\r\n  y\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := n.get("name").text; got != "iris" {
		t.Errorf("name is %q", got)
	}
	if got := n.find("tags.a"); got == nil || got.text != "b" || got.at.line != 3 || got.at.col != 6 {
		t.Errorf("tags.a is %+v", got)
	}
	if got := n.get("description").text; got != "x\ny\n" {
		t.Errorf("description is %q", got)
	}
}
