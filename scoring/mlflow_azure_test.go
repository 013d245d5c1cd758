//go:build unix

package scoring

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What Azure serves a model without a script with: its server, with a script of
// its own that derives the types of inference-schema from the signature. This is
// such a script, of the same rules.
const azureModelScript = `
import os
import mlflow, numpy as np, pandas as pd
from inference_schema.parameter_types.abstract_parameter_type import AbstractParameterType
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema
from mlflow.pyfunc.scoring_server import _get_jsonable_obj

class Anything(AbstractParameterType):
    def __init__(self):
        super().__init__(None)
    def deserialize_input(self, value):
        return value
    def input_to_swagger(self):
        return {"type": "object", "example": {}}

def zeros(spec):
    return np.zeros([1 if n == -1 else n for n in spec.shape], dtype=spec.type)

def types(signature):
    if signature is None:
        return Anything(), Anything()
    schema, params = signature.inputs, signature.params
    if schema.is_tensor_spec() and schema.has_input_names():
        taken = StandardPythonParameterType({s.name: NumpyParameterType(zeros(s), enforce_shape=False) for s in schema.inputs})
    elif schema.is_tensor_spec():
        taken = NumpyParameterType(zeros(schema.inputs[0]), enforce_shape=False)
    else:
        names = schema.input_names()
        frame = pd.DataFrame(columns=names).astype(dict(zip(names, schema.pandas_types())))
        taken = PandasParameterType(frame, enforce_shape=False, orient="split")
    if not params:
        return taken, Anything()
    return taken, StandardPythonParameterType({p.name: p.default for p in params.params})

model = mlflow.pyfunc.load_model(os.environ["AZUREML_MODEL_DIR"])
data_type, params_type = types(model.metadata.signature)

def init():
    pass

@input_schema("input_data", data_type)
@input_schema("params", params_type, optional=True)
def run(input_data, params=None):
    if isinstance(input_data, list):
        input_data = np.asarray(input_data)
    elif isinstance(input_data, dict) and {"columns", "index", "data"} <= set(input_data):
        input_data = pd.DataFrame(input_data["data"], columns=input_data["columns"], index=input_data["index"])
    elif isinstance(input_data, dict):
        input_data = {name: np.asarray(value) for name, value in input_data.items()}
    elif not isinstance(input_data, (np.ndarray, pd.DataFrame)):
        raise ValueError("no input")
    return _get_jsonable_obj(model.predict(input_data, params=params), pandas_orient="records")
`

// azureBodies are bodies of /score, by the model they are for.
var azureBodies = map[string][]string{
	"columns": {
		`{"input_data": ` + oneRow + `}`,
		`{"input_data": {"columns": ["d","f","l","i","b","s"], "index": [3, 4], "data": [[1, 2.5, 3, 4, true, "x"], [1, 2, 3, 4, false, "é"]]}}`,
		`{"input_data": {"columns": ["s","b","i","l","f","d"], "data": [["x", true, 4, 3, 2, 1]]}}`,
		`{"input_data": {"columns": ["d","f","l","i","b","s","more"], "data": [[1, 2, 3, 4, true, "x", 9]]}}`,
		`{"input_data": {"columns": ["d","f","l","i","b","s","t"], "data": [[1, 2, 3, 4, true, "x", "2026-01-02T03:04:05"]]}}`,
		`{"input_data": {"columns": ["d","f","l","i","b","s"], "data": [[null, 2, 3, 4, true, "x"]]}}`,
		`{"input_data": {"columns": ["d","f","l","i","b","s"], "data": [[1, 2, null, 4, true, "x"]]}}`,
		`{"input_data": {"columns": ["d","f","l","i","b","s"], "data": [["no", 2, 3, 4, true, "x"]]}}`,
		`{"input_data": {"columns": ["d","f"], "data": [[1, 2]]}}`,
		`{"input_data": {"columns": ["d","f","l","i","b","s"], "data": [[1, 2]]}}`,
		`{"input_data": {"columns": ["d","f","l","i","b","s"], "data": []}}`,
		`{"input_data": [[1, 2, 3, 4, true, "x"]]}`, `{"input_data": [{"d": 1, "f": 2, "l": 3, "i": 4, "b": true, "s": "x"}]}`,
		`{"input_data": {"d": [1], "f": [2], "l": [3], "i": [4], "b": [true], "s": ["x"]}}`, `{"input_data": {"columns": ["y"], "data": [["YWJj"]]}}`,
		`{"input_data": 1}`, `{"input_data": null}`, `{"input_data": "x"}`, `{"input_data": []}`, `{"input_data": {}}`,
		`{"data": [1]}`, `{}`, `[]`, `1`, `null`, `"x"`, `{`, ``, "\xff", `{"input_data": [1], }`, "\ufeff{}", `{"dataframe_split": ` + oneRow + `}`,
		`{"input_data": ` + oneRow + `, "more": 1}`,
	},
	"tensor": {
		`{"input_data": [[1, 2], [3, 4.5]]}`, `{"input_data": [[1, 2, 3]]}`, `{"input_data": [["a", "b"]]}`, `{"input_data": [[1, 2], [3]]}`, `{"input_data": {"a": 1}}`,
		`{"input_data": []}`, `{"input_data": [[1, 2]], "params": {"answer": "array"}}`, `{"input_data": [[1e400, 2]]}`,
	},
	"tensors": {
		`{"input_data": {"a": [[1, 2]], "b": ["x"]}}`, `{"input_data": {"a": [[1, 2]], "b": ["long"]}}`, `{"input_data": {"a": [[1, 2]]}}`,
		`{"input_data": {"a": [["x", 2]], "b": ["x"]}}`, `{"input_data": [[1, 2]]}`,
	},
	"free": {
		`{"input_data": [1, 2]}`, `{"input_data": [[1.5, 2], [3, 4]]}`, `{"input_data": {"a": [1], "b": ["x"]}}`, `{"input_data": {"columns": ["a"], "index": [0], "data": [["x"]]}}`,
		`{"input_data": {"columns": ["a"], "data": [["x"]]}}`, `{"input_data": 1}`, `{"input_data": [1], "params": {"x": 1}}`, `{"input_data": ["nan"]}`,
	},
}

func azureModelCorpus(model string) []exchange {
	var all []exchange
	for _, body := range azureBodies[model] {
		all = append(all, jsonTo("/score", body))
	}
	if model != "columns" {
		return all
	}
	for _, params := range askedParams {
		all = append(all, jsonTo("/score", `{"input_data": `+oneRow+`, "params": `+params+`}`))
	}
	for _, kind := range []string{"", "text/plain", "text/csv", "application/x-www-form-urlencoded", "application/json; charset=utf-8", "application/json;x=y",
		"APPLICATION/JSON", "application/vnd.api+json", " application/json", "application/jsonx", "text/json"} {
		c := exchange{method: "POST", path: "/score", body: `{"input_data": ` + oneRow + `}`}
		if kind != "" {
			c.headers = [][2]string{{"Content-Type", kind}}
		}
		all = append(all, c)
	}
	for _, query := range []string{"", "?a=1", "?input_data=1", `?input_data=%7B%22columns%22:[%22d%22,%22f%22,%22l%22,%22i%22,%22b%22,%22s%22],%22data%22:[[1,2,3,4,true,%22x%22]]%7D`} {
		all = append(all, exchange{method: "GET", path: "/score" + query})
	}
	for _, method := range []string{"OPTIONS", "HEAD", "PUT"} {
		all = append(all, exchange{method: method, path: "/score"})
	}
	many := strings.TrimSuffix(strings.Repeat(`[1, 2, 3, 4, true, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],`, 3000), ",")
	return append(all, jsonTo("/score", `{"input_data": {"columns": ["d","f","l","i","b","s"], "data": [`+many+`]}}`), exchange{method: "GET", path: "/"})
}

// Differences from Azure's server with its script that are permitted.
var permittedOfAzureModel = []struct {
	name, reason string
	applies      func(c exchange, original, ours answer) bool
}{
	{"more", "what Azure's script fails to read, or its server to send, is read and sent here: rows as lists or objects, binary columns, frames without an index, dates and bytes in answers",
		func(_ exchange, original, ours answer) bool { return original.Status == 500 && ours.Status == 200 }},
	{"no index", "a frame of a model without a signature is one for Azure's script only with an index, which is optional elsewhere",
		func(c exchange, original, ours answer) bool {
			return c.body == `{"input_data": {"columns": ["a"], "data": [["x"]]}}` && strings.HasPrefix(ours.Body, `[{"frame": ["a"]`)
		}},
	{"one letter", "Azure's script cuts every text of a tensor down to its first letter, which is a fault of its example of one",
		func(c exchange, original, ours answer) bool {
			return strings.Contains(c.body, "long") && original.Status == 200 && ours.Status == 200
		}},
}

func TestAzureModelContract(t *testing.T) {
	used := map[string]int{}
	for _, model := range []string{"columns", "tensor", "tensors", "free"} {
		t.Run(model, func(t *testing.T) {
			dir := savedModel(t, model)
			original := startAzureModel(t, dir)
			ours := serveModel(t, dir)
			for _, c := range azureModelCorpus(model) {
				want, got := original.exchange(c), ours.exchange(c)
				diff := cmp.Diff(normal(c, want), normal(c, got))
				if diff == "" {
					continue
				}
				allowed := false
				for _, p := range permittedOfAzureModel {
					if p.applies(c, want, got) {
						used[p.name]++
						allowed = true
						break
					}
				}
				if !allowed {
					t.Errorf("%s (-original +ours):\n%.1500s", c, diff)
				}
			}
		})
	}
	for _, p := range permittedOfAzureModel {
		if used[p.name] == 0 {
			t.Errorf("the difference %q is permitted (%s) but does not occur", p.name, p.reason)
		}
	}
}

func startAzureModel(t testing.TB, model string) *running {
	t.Helper()
	bin, port, dir := mlflowBin(t), freePort(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "score.py"), []byte(azureModelScript), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "azmlinfsrv"), "--entry_script", "score.py", "--model_dir", model, "--port", fmt.Sprint(port))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "AML_APP_ROOT="+dir)
	return startPeer(t, cmd, port, "/")
}
