//go:build unix

package scoring

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// schemaScript has a parameter of every type that needs nothing but Python.
const schemaScript = `
import datetime
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType as S

def init():
    pass

@input_schema("whole", S(1))
@input_schema("real", S(1.5), optional=True)
@input_schema("text", S("é"), optional=True)
@input_schema("flag", S(True), optional=True)
@input_schema("data", S(b"bytes"), optional=True)
@input_schema("day", S(datetime.date(2020, 1, 2)), optional=True)
@input_schema("when", S(datetime.datetime(2020, 1, 2, 3, 4, 5)), optional=True)
@input_schema("many", S([1, 2]), optional=True)
@input_schema("nested", S({"a": S(1), "b": {"c": 2.5}, "d": [S("x")]}), optional=True)
@input_schema("unconverted", S("x"), convert_to_provided_type=False, optional=True)
@output_schema(S({"out": 1.5}))
def run(whole, real=2.5, text="d", flag=None, data=b"", day=None, when=None, many=(), nested=None, unconverted=None, free=3, request_headers=None):
    if text == "raise":
        raise ValueError("no")
    return [repr(v) for v in (whole, real, text, flag, data, day, when, many, nested, unconverted, free)] + [request_headers.get("X-A")]
`

func schemaCorpus() []exchange {
	var all []exchange
	json := [][2]string{{"Content-Type", "application/json"}}
	for _, body := range []string{"", "{}", "[]", "null", "1", "nonsense", `{"whole": 1`, "\xff", "{\"whole\": \"\xc3\"}", "\xef\xbb\xbf{}", "{\"whole\": NaN}",
		`{"whole": 1}`, `{"whole": 1, "extra": 2, "free": [1]}`, `{"whole": "x"}`, `{"whole": 1.5}`, `{"whole": 1, "real": 1}`, `{"whole": 1, "real": "x"}`,
		`{"whole": 1, "text": "raise"}`, `{"whole": 1, "text": 5}`, `{"whole": 1, "text": "\ud800"}`, `{"whole": 1, "data": "Ynl0ZXM="}`, `{"whole": 1, "data": "!"}`,
		`{"whole": 1, "day": "2021-02-03", "when": "2021-02-03T04:05:06"}`, `{"whole": 1, "day": "no"}`, `{"whole": 1, "many": [3, 4]}`, `{"whole": 1, "many": 3}`, `{"whole": 1, "many": ["x"]}`,
		`{"whole": 1, "nested": {"a": 2, "b": {"c": 1.5}, "d": ["y"]}}`, `{"whole": 1, "nested": {"a": "x"}}`, `{"whole": 1, "nested": []}`, `{"whole": 1, "flag": false, "unconverted": 7}`, `{"whole": 1, "flag": "x"}`,
		`{"whole": 1, "whole": 2}`, strings.Repeat("[", 2000), strings.Repeat(" ", 70_000) + `{"whole": 1}`} {
		all = append(all, exchange{method: "POST", path: "/score?whole=9", body: body, headers: append([][2]string{{"X-A", "a"}}, json...)},
			exchange{method: "POST", path: "/score", body: body, headers: json, chunked: true})
	}
	for _, kind := range []string{"", "text/plain", "application/json; charset=utf-8", "Application/Json", "application/vnd.api+json", "application/xjson", "text/json",
		"application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json ;x", ";", "application/+json"} {
		c := exchange{method: "POST", path: "/score", body: `{"whole": 1}`}
		if kind != "" {
			c.headers = [][2]string{{"Content-Type", kind}}
		}
		all = append(all, c)
	}
	for _, query := range []string{"", "?whole=1", "?whole=1&whole=2", "?whole=x&real=1.5", "?real=1", "?whole=1&nested={}&many=[1]", "?whole=%ff"} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "POST"} {
			all = append(all, exchange{method: method, path: "/score" + query})
		}
	}
	return append(all, swaggerCorpus()...)
}

func swaggerCorpus() []exchange {
	var all []exchange
	for _, query := range []string{"", "?version=2", "?version=2.0", "?version=3", "?version=3.0", "?version=3.1", "?version=4", "?version=", "?version", "?version=3&version=2",
		"?x=1", "?version=%22%5c%0a%00%c3%a9%f0%9f%98%80", "?version=%ff", "?version=+3", "?Version=3", "?version=3;x=1", "?version=3%2e1", "?version=%zz", "?&version=3", "?%76ersion=3"} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT"} {
			all = append(all, exchange{method: method, path: "/swagger.json" + query})
		}
	}
	return append(all, exchange{method: "GET", path: "/swagger.json", headers: [][2]string{{"x-request-id", strings.Repeat("i", 101)}, {"TraceId", "t"}}},
		exchange{method: "GET", path: "//swagger.json"}, exchange{method: "GET", path: "/swagger.json/"})
}

func TestContractSchema(t *testing.T) {
	service := []string{"SERVICE_NAME=a service", "SERVICE_VERSION=7", "SERVICE_PATH_PREFIX=/some/prefix/"}
	original := startOriginal(t, schemaScript, service...)
	ours := startWith(t, schemaScript, service, interpreter(filepath.Join(originalBin(t), "python")))
	compareWith(t, original, ours, schemaCorpus(), nil)
}

// TestContractSwagger is about descriptions without schemas, of only some
// versions, and of the user's own.
func TestContractSwagger(t *testing.T) {
	const mixed = `
from inference_schema.schema_decorators import input_schema
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType as S
def init(): pass
@input_schema("a", S([1, "x", 2.5]))
def run(a): return a
`
	const plain = "def init(): pass\ndef run(data): return 1\n"
	for _, c := range []struct {
		name, script string
		files        map[string]string
	}{
		{"plain", plain, nil},
		{"mixed list", mixed, nil},
		{"swagger.json", plain, map[string]string{"swagger.json": "{\"own\": [1.0, 1e5, \"é\", \"\\u00e9\"],\n \"z\": 1, \"a\": 2}", "swagger2.json": `{"two": 2}`}},
		{"each version", mixed, map[string]string{"swagger.json": "{}", "swagger2.json": `{"two": 2}`, "swagger3.json": `[3]`, "swagger3.1.json": `{"three": 3.1}`}},
		{"empty files", plain, map[string]string{"swagger3.json": `null`, "swagger3.1.json": `0`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			original := startOriginal(t, c.script, "AML_APP_ROOT="+dir)
			ours := start(t, c.script, interpreter(filepath.Join(originalBin(t), "python")), func(s *Settings) { s.AppRoot = dir })
			compareWith(t, original, ours, swaggerCorpus(), nil)
		})
	}
}

// framesScript has parameters of the types that need numpy and pandas.
const framesScript = `
import numpy as np, pandas as pd
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType as N
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType as P

frame = pd.DataFrame({"i": [1, 2], "f": [1.5, 2.5], "s": ["a", "b"], "b": [True, False], "t": pd.to_datetime(["2020-01-02", "2020-01-03"])})
def init():
    pass

@input_schema("array", N(np.array([[1.5, 2.5]])), optional=True)
@input_schema("whole", N(np.array([1, 2], dtype="int32"), enforce_shape=False), optional=True)
@input_schema("records", N(np.array([(1, "a")], dtype=[("n", "i8"), ("t", "U5")])), optional=True)
@input_schema("frame", P(frame), optional=True)
@input_schema("split", P(frame, orient="split", enforce_shape=False), optional=True)
@input_schema("loose", P(frame[["i"]], enforce_column_type=False), optional=True)
@output_schema(N(np.array([1.5])))
def run(array=None, whole=None, records=None, frame=None, split=None, loose=None):
    return [[type(v).__name__, str(getattr(v, "dtype", "")), v.tolist() if hasattr(v, "tolist") else str(v.dtypes.to_dict()) + v.to_json() if v is not None else None]
            for v in (array, whole, records, frame, split, loose)]
`

// TestContractFrames is contract C with arrays and data frames.
func TestContractFrames(t *testing.T) {
	bin := environmentBin(t, "azmlinfsrv-"+ContractVersion+"-pandas", "azureml-inference-server-http=="+ContractVersion, "numpy==1.26.4", "pandas==2.2.3")
	original := startOriginalIn(t, bin, framesScript)
	ours := start(t, framesScript, interpreter(filepath.Join(bin, "python")))
	all := swaggerCorpus()
	for _, body := range []string{`{}`, `{"array": [[1, 2], [3, 4]]}`, `{"array": [[1]]}`, `{"array": 1}`, `{"array": [["x", "y"]]}`, `{"array": []}`,
		`{"whole": [[1], [2]]}`, `{"whole": [1.9]}`, `{"records": [[1, "abc"]]}`, `{"records": [{"n": 1, "t": "x"}]}`,
		`{"frame": [{"i": 1, "f": 2, "s": "x", "b": false, "t": "2021-02-03"}]}`, `{"frame": [{"i": 1}]}`, `{"frame": [{"i": "x", "f": 2, "s": "x", "b": false, "t": "2021-02-03"}]}`, `{"frame": "x"}`, `{"frame": []}`,
		`{"frame": [{"i": 1, "f": 2, "s": "x", "b": false, "t": "2021-02-03", "more": 1}]}`,
		`{"split": {"columns": ["i", "f", "s", "b", "t"], "index": [0], "data": [[1, 2.5, "x", true, "2020-01-02"]]}}`, `{"split": {"data": [[1]]}}`, `{"loose": [{"i": "x"}]}`, `{"loose": [{"j": 1}]}`} {
		all = append(all, exchange{method: "POST", path: "/score", body: body, headers: [][2]string{{"Content-Type", "application/json"}}})
	}
	compareWith(t, original, ours, all, nil)
}
