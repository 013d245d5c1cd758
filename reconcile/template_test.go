package reconcile

import (
	"slices"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

func TestTemplateOfModelWithoutScript(t *testing.T) {
	d := deployment(sluice.StateCreating, "r1", "")
	rev := &sluice.Revision{Meta: sluice.Meta{Workspace: "default", Name: "blue", Version: "r1"}, Endpoint: "iris", Spec: d.Spec}
	model := &sluice.Model{Meta: sluice.Meta{Name: "m", Version: "2"}, Type: sluice.ModelMLflow, Content: sluice.Content{Tree: "sha256:m", Base: "saved"}}
	alone := newWorkload("/runner", d, rev, parts{model: model, env: Python{Bin: "/env/bin"}}).Template
	if want := []string{"/runner", "scoring", "--socket", "${run}/http.sock", "--mlflow"}; !slices.Equal(alone.Command, want) {
		t.Errorf("command %q, want %q", alone.Command, want)
	}
	if want := []engine.File{{Digest: "sha256:m", Path: modelRoot + "/m/2/saved"}}; !slices.Equal(alone.Files, want) {
		t.Errorf("files %v, want %v", alone.Files, want)
	}
	for name, want := range map[string]string{"AZUREML_MODEL_DIR": "${root}" + modelRoot + "/m/2", "MLFLOW_MODEL_FOLDER": "saved", "AML_APP_ROOT": "${run}"} {
		if alone.Env[name] != want {
			t.Errorf("%s is %q, want %q", name, alone.Env[name], want)
		}
	}
	if _, set := alone.Env["AZUREML_ENTRY_SCRIPT"]; set || alone.Dir != "${run}" {
		t.Errorf("a script is named in %v, or the folder %q is not the instance's own", alone.Env, alone.Dir)
	}

	rev.Spec.Code = &sluice.CodeConfiguration{Code: "azureml:c:1", ScoringScript: "score.py"}
	scripted := newWorkload("/runner", d, rev, parts{model: model, code: &sluice.CodeVersion{Content: sluice.Content{Tree: "sha256:c", Base: "src"}}}).Template
	if slices.Contains(scripted.Command, "--mlflow") || scripted.Env["AZUREML_ENTRY_SCRIPT"] != "score.py" || scripted.Env["MLFLOW_MODEL_FOLDER"] != "" ||
		scripted.Dir != "${root}"+appRoot+"/src" || len(scripted.Files) != 2 {
		t.Errorf("with a script: %+v", scripted)
	}
}
