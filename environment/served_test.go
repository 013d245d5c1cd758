package environment

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

const servable = "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n  sklearn: {code: null}\nmlflow_version: 3.17.2\n" +
	"signature:\n  inputs: '[{\"type\": \"double\", \"name\": \"a\"},\n    {\"type\": \"double\", \"name\": \"b\"}]'\n"

func TestServerOfModel(t *testing.T) {
	skinny := []string{"mlflow-skinny==3.17.2", "pandas"}
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"itself":              {map[string]string{"MLmodel": servable}, skinny},
		"below":               {map[string]string{"model/MLmodel": servable}, skinny},
		"before 3":            {map[string]string{"MLmodel": strings.Replace(servable, "3.17.2", "2.9.1", 1)}, []string{"mlflow==2.9.1", "pandas"}},
		"no release":          {map[string]string{"MLmodel": strings.Replace(servable, "3.17.2", "3.0.1.dev0", 1)}, []string{"mlflow-skinny", "pandas"}},
		"hostile":             {map[string]string{"MLmodel": strings.Replace(servable, "3.17.2", "'3 --index-url x'", 1)}, []string{"mlflow-skinny", "pandas"}},
		"left to MLflow":      {map[string]string{"MLmodel": "a: &a [b]\nflavors: *a\n"}, []string{"mlflow-skinny", "pandas"}},
		"more than is looked": {map[string]string{"MLmodel": "flavors: {}\n#" + strings.Repeat("x", maxSpecBytes)}, []string{"mlflow-skinny", "pandas"}},
	} {
		got, err := ServerOfModel(folderOf(c.files))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, c := range map[string]struct{ mlmodel, says string }{
		"no flavour":   {"flavors: {}\n", "it names no flavour"},
		"empty":        {"", "it names no flavour"},
		"other":        {"flavors:\n  spark: {}\n  mleap: {}\n", "it has spark, mleap"},
		"for terminal": {"flavors: {\"\\e[31mred\": {}}\n", "it has "},
	} {
		_, err := ServerOfModel(folderOf(map[string]string{"MLmodel": c.mlmodel}))
		var cause *sluice.Cause
		if e := (*sluice.Error)(nil); errors.As(err, &e) {
			cause = e.Cause
		}
		if cause == nil || cause.Code != sluice.CauseModelInvalid || !strings.Contains(cause.Message, c.says) || cause.Hint == "" || strings.Contains(cause.Message, "\x1b") {
			t.Errorf("%s: got %+v, want %q", name, err, c.says)
		}
	}
	_, err := ServerOfModel(folderOf(map[string]string{"model.pkl": ""}))
	if e := (*sluice.Error)(nil); !errors.As(err, &e) || e.Cause == nil || e.Cause.Code != sluice.CauseModelInvalid {
		t.Errorf("no MLmodel: %v", err)
	}
}

func TestServerIsInstalledUnlessAskedFor(t *testing.T) {
	server := []string{"mlflow-skinny==3.17.2", "pandas"}
	for requirements, want := range map[string][]string{
		"scikit-learn":                  {"scikit-learn", "mlflow-skinny==3.17.2", "pandas"},
		"MLflow==2.1\nscipy":            {"MLflow==2.1", "scipy"},
		"mlflow-skinny==2.1":            {"mlflow-skinny==2.1", "pandas"},
		"mlflow_skinny==2.1\npandas==2": {"mlflow_skinny==2.1", "pandas==2"},
		"pandas==2":                     {"pandas==2", "mlflow-skinny==3.17.2"},
	} {
		plan, notices, err := Parse(Spec{Requirements: requirements, Server: server})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(plan.Requirements, want) {
			t.Errorf("%q: got %q, want %q", requirements, plan.Requirements, want)
		}
		if added := len(want) > strings.Count(requirements, "\n")+1; added != (len(notices) > 0) {
			t.Errorf("%q: notices %q", requirements, notices)
		}
	}
	whole := []string{"mlflow==2.9.1", "pandas"}
	plan, _, err := Parse(Spec{Requirements: "mlflow-skinny", Server: whole})
	if err != nil || !slices.Equal(plan.Requirements, []string{"mlflow-skinny", "pandas"}) {
		t.Errorf("skinny asked for: %q, %v", plan.Requirements, err)
	}
}

// FuzzServerOfModel reads the MLmodel of any model.
func FuzzServerOfModel(f *testing.F) {
	f.Add(servable)
	f.Add("flavors: [python_function]")
	f.Add("flavors:\n  ? python_function\n  : x\nmlflow_version: |\n 3.1\n")
	f.Fuzz(func(t *testing.T, text string) {
		packages, err := ServerOfModel(folderOf(map[string]string{"MLmodel": text}))
		if err == nil && (len(packages) != 2 || !slices.Contains([]string{"mlflow", "mlflow-skinny"}, requirementName(packages[0]))) {
			t.Errorf("got %q", packages)
		}
	})
}
