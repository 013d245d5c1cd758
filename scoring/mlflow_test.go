//go:build unix

package scoring

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-ml/sluice"
)

// Models that the real MLflow saved, served without a script.

const mlflowVersion = "3.17.2"

// mlflowBin gives an environment with MLflow, what the models of the tests are
// made with, and Azure's server.
func mlflowBin(t testing.TB) string {
	t.Helper()
	return environmentBin(t, "mlflow-"+mlflowVersion, "mlflow=="+mlflowVersion, "scikit-learn", "xgboost-cpu", "lightgbm", "onnx", "onnxruntime",
		"azureml-inference-server-http=="+ContractVersion)
}

var savedModels struct {
	once sync.Once
	dir  string
	err  error
}

// savedModel gives the folder of one of the models of testdata/mlflow_models.py,
// which all tests share.
func savedModel(t testing.TB, name string) string {
	t.Helper()
	bin := mlflowBin(t)
	savedModels.once.Do(func() {
		if savedModels.dir, savedModels.err = os.MkdirTemp("", "sluice-models-"); savedModels.err != nil {
			return
		}
		out, err := exec.Command(filepath.Join(bin, "python"), "testdata/mlflow_models.py", savedModels.dir).CombinedOutput()
		if err != nil {
			savedModels.err = fmt.Errorf("saving models: %w\n%s", err, out)
		}
	})
	if savedModels.err != nil {
		t.Fatal(savedModels.err)
	}
	return filepath.Join(savedModels.dir, name)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if savedModels.dir != "" {
		os.RemoveAll(savedModels.dir)
	}
	os.Exit(code)
}

func servesModel(dir string) option {
	return func(s *Settings) { s.MLflow, s.EntryScript, s.ModelDir = true, "", dir }
}

// serveModel starts a server without a script.
func serveModel(t testing.TB, dir string, opts ...option) *running {
	t.Helper()
	return start(t, "", append([]option{interpreter(filepath.Join(mlflowBin(t), "python")), servesModel(dir)}, opts...)...)
}

func jsonTo(path, body string) exchange {
	return exchange{method: "POST", path: path, body: body, headers: [][2]string{{"Content-Type", "application/json"}}}
}

// invocationsOf are requests for /invocations, by the model they are for.
var invocationsOf = map[string][]string{
	"columns": {
		`{"dataframe_split": {"columns": ["d","f","l","i","b","s","t","y"], "data": [[1, 2.5, 3, 4, true, "x", "2026-01-02T03:04:05", "YWJj"], [1.5, 2, 3, 4, false, "y", null, "YQ=="]]}}`,
		`{"dataframe_split": {"index": [5], "columns": ["s","b","i","l","f","d"], "data": [["x", true, 4, 3, 2, 1]]}}`,
		`{"dataframe_records": [{"d": 1, "f": 2, "l": 3, "i": 4, "b": true, "s": "x", "more": 1}]}`,
		`{"inputs": {"d": [1], "f": [2], "l": [3], "i": [4], "b": [true], "s": ["x"]}}`,
		`{"instances": [{"d": 1, "f": 2, "l": 3, "i": 4, "b": true, "s": "x"}]}`,
		`{"instances": [{"d": 1}, {"d": 1, "f": 2}]}`,
		`{"instances": [{"d": 1, "f": 2, "l": 3, "i": 4, "b": true, "s": "x"}], "signature_name": "x"}`,
		`{"dataframe_split": {"columns": ["d"], "data": [[1]]}}`,
		`{"dataframe_split": {"columns": ["d","f","l","i","b","s"], "data": [["no", 2, 3, 4, true, "x"]]}}`,
		`{"dataframe_split": {"columns": ["d","f","l","i","b","s"], "data": [[1, 2, 3.5, 4, true, "x"]]}}`,
		`{"dataframe_split": {"columns": ["d","f","l","i","b","s"], "data": [[1, 2, null, 4, true, "x"]]}}`,
		`{"dataframe_split": {"columns": ["d","f"], "data": [[1]]}}`, `{"dataframe_split": 1}`, `{"dataframe_records": {"d": 1}}`,
		`{"dataframe_split": {"columns": ["d"], "data": [[1]]}, "inputs": [1]}`,
		`{}`, `[]`, `[1]`, `1`, `null`, `"x"`, `{`, ``, "\xff", `{"data": [1]}`, `{"inputs": NaN}`, `{"inputs": []}`,
		`{"messages": [{"role": "user", "content": "x"}]}`, `{"prompt": "x", "times": 3}`, `{"input": "x"}`,
	},
	"tensor": {
		`{"inputs": [[1, 2], [3, 4.5]]}`, `{"instances": [[1, 2]]}`, `{"inputs": [[1, 2, 3]]}`, `{"inputs": [["a", "b"]]}`, `{"inputs": [[1, 2], [3]]}`,
		`{"inputs": 1}`, `{"inputs": {"a": [[1, 2]]}}`, `{"dataframe_split": {"columns": ["x", "y"], "data": [[1, 2]]}}`,
	},
	"tensors": {
		`{"inputs": {"a": [[1, 2]], "b": ["long text"]}}`, `{"instances": [{"a": [1, 2], "b": "x"}, {"a": [3, 4], "b": "yy"}]}`,
		`{"inputs": {"a": [[1.5, 2]], "b": ["x"]}}`, `{"inputs": {"a": [[1, 2]]}}`, `{"inputs": {"a": [[1, 2]], "b": ["x"], "c": [1]}}`,
	},
	"free": {
		`{"inputs": [1, 2]}`, `{"inputs": {"a": [1], "b": ["x"]}}`, `{"inputs": "x"}`, `{"instances": [1.5]}`, `{"dataframe_records": [{"a": 1, "b": "x"}, {"a": null}]}`,
		`{"dataframe_split": {"columns": ["a"], "data": [[1], ["x"]]}}`, `{"inputs": [1], "params": {"x": 1}}`, `{"inputs": ["nan"]}`,
	},
}

// params that are asked of the model with columns, whose answer depends on them.
var askedParams = []string{`{"answer": "nan"}`, `{"answer": "array"}`, `{"answer": "integers"}`, `{"answer": "frame"}`, `{"answer": "series"}`,
	`{"answer": "datetime"}`, `{"answer": "date"}`, `{"answer": "bytes"}`, `{"answer": "none"}`, `{"answer": "text"}`, `{"answer": "scalar"}`,
	`{"answer": "dict"}`, `{"answer": "odd"}`, `{"answer": "raise"}`, `{"answer": "mlflow"}`, `{"times": 3, "scale": 1}`, `{"times": 3.5}`, `{"times": "x"}`,
	`{"unknown": 1}`, `{}`, `null`, `[]`, `"x"`}

const oneRow = `{"columns": ["d","f","l","i","b","s"], "data": [[1, 2, 3, 4, true, "x"]]}`

// mlflowCorpus gives the requests for one model.
func mlflowCorpus(model string) []exchange {
	var all []exchange
	for _, body := range invocationsOf[model] {
		all = append(all, jsonTo("/invocations", body))
	}
	if model != "columns" {
		return all
	}
	for _, params := range askedParams {
		all = append(all, jsonTo("/invocations", `{"dataframe_split": `+oneRow+`, "params": `+params+`}`))
	}
	csv := "d,f,l,i,b,s\n1,2,3,4,True,x\n"
	for _, kind := range []string{"text/csv", "text/csv; charset=UTF-8", "text/csv;charset=utf-8", "text/csv; charset=latin-1", "text/csv; header=present",
		"text/plain", "application/x-www-form-urlencoded", "TEXT/CSV", "application/json; charset=utf-8", "application/vnd.api+json"} {
		all = append(all, exchange{method: "POST", path: "/invocations", body: csv, headers: [][2]string{{"Content-Type", kind}}})
	}
	for _, body := range []string{"", "d\n1\n", "d,f,l,i,b,s\n1,2,3.5,4,True,x\n", "d,f,l,i,b,s\n1,2,3,4,True,\"x\ny\"\n1,,3,4,False,\n", "\xff"} {
		all = append(all, exchange{method: "POST", path: "/invocations", body: body, headers: [][2]string{{"Content-Type", "text/csv"}}})
	}
	big := strings.Repeat(`[1, 2, 3, 4, true, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],`, 3000)
	all = append(all, jsonTo("/invocations", `{"dataframe_split": {"columns": ["d","f","l","i","b","s"], "data": [`+strings.TrimSuffix(big, ",")+`]}}`),
		exchange{method: "POST", path: "/invocations", body: "x"})
	for _, path := range []string{"/ping", "/health", "/version"} {
		all = append(all, exchange{method: "GET", path: path})
	}
	for _, method := range []string{"GET", "PUT"} {
		all = append(all, exchange{method: method, path: "/invocations"})
	}
	return all
}

// Differences from `mlflow models serve` that are permitted.
var permittedOfMLflow = []struct {
	name, reason string
	applies      func(c exchange, original, ours answer) bool
}{
	{"no route", "what is no route of MLflow's is answered in the words of Azure's server, which has these routes as well",
		func(c exchange, original, ours answer) bool {
			return original.Status == ours.Status && original.Status == 405 && ours.Body == `{"message": "`+textMethod+`"}`
		}},
	{"unexpected", "where MLflow's server fails itself it says only `Internal Server Error`; ours answers with Azure's words, and says in the log and as a cause why",
		func(_ exchange, original, ours answer) bool {
			return original.Status == 500 && original.Body == "Internal Server Error" && ours.Status == 500
		}},
	{"no content type", "without a content type MLflow's server fails with 500; ours refuses it as any other that it does not know",
		func(c exchange, original, ours answer) bool {
			return c.header("Content-Type") == "" && original.Status == 500 && ours.Status == 415
		}},
}

// sameOrder has both print sets, which are in MLflow's words, in one order.
const sameOrder = "PYTHONHASHSEED=0"

// stackTrace is where an answer of MLflow's says what called what:
// the calls above the model's are those of another server.
var stackTrace = regexp.MustCompile(`"stack_trace": "(?:[^"\\]|\\.)*"`)

func TestMLflowContract(t *testing.T) {
	used := map[string]int{}
	for _, model := range []string{"columns", "tensor", "tensors", "free"} {
		t.Run(model, func(t *testing.T) {
			dir := savedModel(t, model)
			original := startMLflow(t, dir)
			ours := serveModel(t, dir, environ(sameOrder))
			for _, c := range mlflowCorpus(model) {
				want, got := ofInvocation(original.exchange(c)), ofInvocation(ours.exchange(c))
				diff := cmp.Diff(want, got)
				if diff == "" {
					continue
				}
				allowed := false
				for _, p := range permittedOfMLflow {
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
	for _, p := range permittedOfMLflow {
		if used[p.name] == 0 {
			t.Errorf("the difference %q is permitted (%s) but does not occur", p.name, p.reason)
		}
	}
}

// ofInvocation keeps of an answer what MLflow's contract is about.
func ofInvocation(a answer) answer {
	body := stackTrace.ReplaceAllString(a.Body, `"stack_trace": "(calls)"`)
	return answer{Status: a.Status, Body: body, Header: map[string][]string{"Content-Type": a.Header["Content-Type"]}}
}

func startMLflow(t testing.TB, model string) *running {
	t.Helper()
	bin, port := mlflowBin(t), freePort(t)
	cmd := exec.Command(filepath.Join(bin, "mlflow"), "models", "serve", "--env-manager", "local", "-m", model, "-p", fmt.Sprint(port))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "PATH="+bin+":"+os.Getenv("PATH"), "MLFLOW_DISABLE_TELEMETRY=true", sameOrder)
	return startPeer(t, cmd, port, "/ping")
}

// What a client may send to /score beyond what Azure's script reads.
func TestMLflowInputs(t *testing.T) {
	for model, bodies := range map[string][][2]string{
		"unnamed": {
			{`[[1, 2], [3, 4]]`, `"frame": ["0", "1"], "types": ["float64", "int64"], "rows": [["1.0", "2"], ["3.0", "4"]]`},
			{`{"columns": ["0", "1"], "data": [[1, 2]]}`, `"frame": ["0", "1"], "types": ["float64", "int64"], "rows": [["1.0", "2"]]`},
			{`{"columns": [0, 1], "index": ["r"], "data": [[1, 2]]}`, `"rows": [["1.0", "2"]], "index": ["r"]`},
		},
		"one": {
			{`[1, 2.5]`, `"frame": ["x"], "types": ["float64"], "rows": [["1.0"], ["2.5"]]`},
			{`[null, "7"]`, `"rows": [["nan"], ["7.0"]]`},
			{`{"x": 3}`, `"rows": [["3.0"]]`},
			{`{"x": [3, 4]}`, `"rows": [["3.0"], ["4.0"]]`},
			{`[{"x": 1}, {"x": 2, "y": "more"}]`, `"frame": ["x"], "types": ["float64"], "rows": [["1.0"], ["2.0"]]`},
			{`[]`, `"frame": ["x"], "types": ["float64"], "rows": []`},
			{`{"x": [1], "y": [1, 2]}`, ""}, {`[["a"]]`, ""}, {`[[1, 2]]`, ""}, {`[[1], [1, 2]]`, ""}, {`true`, ""},
		},
		"binary": {
			{`[{"x": "YWJj", "date": "2026-01-02"}]`, `"rows": [["b'abc'", "2026-01-02 00:00:00"]]`},
			{`[{"x": "?", "date": "2026-01-02"}]`, ""}, {`[{"x": "YWJj", "date": "never"}]`, ""},
		},
	} {
		t.Run(model, func(t *testing.T) {
			r := serveModel(t, savedModel(t, model))
			for _, c := range bodies {
				a := r.send("POST", "/score", `{"input_data": `+c[0]+`}`, "Content-Type", "application/json")
				if c[1] == "" {
					a.wants(t, 500, `{"message": "`+textScript+`"}`)
					continue
				}
				if a.Status != 200 || !strings.Contains(a.Body, c[1]) {
					t.Errorf("%s: got %d %s, want %s", c[0], a.Status, a.Body, c[1])
				}
			}
		})
	}
}

// The answers of the libraries themselves, by both routes.
func TestMLflowFlavors(t *testing.T) {
	text, err := os.ReadFile(savedModel(t, "told.json"))
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		Rows [][]float64    `json:"rows"`
		Told map[string]any `json:"told"`
	}
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	rows, err := json.Marshal(told.Rows)
	if err != nil {
		t.Fatal(err)
	}
	split := `{"columns": ["a", "b"], "data": ` + string(rows) + `}`
	for flavor, want := range told.Told {
		t.Run(flavor, func(t *testing.T) {
			r := serveModel(t, savedModel(t, flavor))
			azure, own := `{"input_data": `+split+`}`, `{"dataframe_split": `+split+`}`
			if flavor == "onnx" {
				azure, own = `{"input_data": {"x": `+string(rows)+`}}`, `{"inputs": {"x": `+string(rows)+`}}`
			}
			for path, body := range map[string]string{"/score": azure, "/invocations": own} {
				a := r.send("POST", path, body, "Content-Type", "application/json")
				var got any
				if err := json.Unmarshal([]byte(a.Body), &got); err != nil || a.Status != 200 {
					t.Fatalf("%s: %d %s", path, a.Status, a.Body)
				}
				if path == "/invocations" {
					got = got.(map[string]any)["predictions"]
				}
				// ONNX answers in 32 bits.
				if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, map[bool]float64{true: 1e-6}[flavor == "onnx"])); diff != "" {
					t.Errorf("%s (-library +ours): %s", path, diff)
				}
			}
		})
	}
}

// What came before the model was loaded is answered by the route it came by.
func TestMLflowWaits(t *testing.T) {
	r := launch(t, "", interpreter(filepath.Join(mlflowBin(t), "python")), servesModel(savedModel(t, "one")))
	if a := r.get("/ping"); a.Status != 503 {
		t.Errorf("before the model is loaded: %d", a.Status)
	}
	for path, key := range map[string]string{"/invocations": `"dataframe_records": [{"x": 1}]`, "/score": `"input_data": [1]`} {
		if a := r.send("POST", path, "{"+key+"}", "Content-Type", "application/json"); a.Status != 200 {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
}

// The methods and the description of Azure's server, for a model: what a script
// that does not take the whole request has.
func TestMLflowMethods(t *testing.T) {
	r := serveModel(t, savedModel(t, "one"))
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"OPTIONS", "/score", 200, ""},
		{"HEAD", "/score", 405, ""},
		{"OPTIONS", "/swagger.json", 200, "HEAD, GET, OPTIONS"},
		{"HEAD", "/swagger.json", 200, ""},
		{"OPTIONS", "/invocations", 405, ""},
		{"HEAD", "/invocations", 405, ""},
	} {
		if a := r.send(c.method, c.path, ""); a.Status != c.status || a.Body != "" && c.status == 200 || a.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %v %q", c.method, c.path, a.Status, a.Header, a.Body)
		}
	}
	var described struct {
		Swagger string         `json:"swagger"`
		Paths   map[string]any `json:"paths"`
	}
	a := r.get("/swagger.json")
	if err := json.Unmarshal([]byte(a.Body), &described); err != nil || a.Status != 200 || described.Swagger != "2.0" || described.Paths["/score"] == nil {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	// A query is no body, however long the body is that comes with it.
	a = r.send("GET", `/score?input_data=[1]`, strings.Repeat(" ", 1<<17))
	if want := r.send("POST", "/score", `{"input_data": [1]}`, "Content-Type", "application/json"); a.Status != 200 || a.Body != want.Body {
		t.Errorf("by query: %d %s, want %s", a.Status, a.Body, want.Body)
	}
}

func TestMLflowTimeLimit(t *testing.T) {
	r := serveModel(t, savedModel(t, "columns"), limit(time.Second))
	for path, key := range map[string]string{"/score": "input_data", "/invocations": "dataframe_split"} {
		r.send("POST", path, `{"`+key+`": `+oneRow+`, "params": {"answer": "sleep"}}`, "Content-Type", "application/json").
			wants(t, 500, `{"message": "Scoring timeout after 1000 ms"}`)
	}
}

// What keeps a model from being served is a cause of its own.
func TestMLflowCauses(t *testing.T) {
	mlflow := filepath.Join(mlflowBin(t), "python")
	folder := func(files map[string]string) string {
		dir := t.TempDir()
		for name, text := range files {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	loads := func(source string) map[string]string {
		return map[string]string{"m/MLmodel": "flavors:\n  python_function:\n    loader_module: own\n    code: code\n", "m/code/own.py": source}
	}
	old := loads("import sklearn\ndef _load_pyfunc(path):\n    raise AttributeError('no such attribute in sklearn.old')\n")
	old["m/requirements.txt"] = "scikit-learn==0.24.2\n"
	for name, c := range map[string]struct {
		python string
		dir    string
		want   sluice.Cause
	}{
		"no MLmodel": {mlflow, folder(map[string]string{"m/model.pkl": ""}),
			sluice.Cause{Code: sluice.CauseModelInvalid, Message: "is no MLflow model: it has no file MLmodel", File: "MLmodel"}},
		"two": {mlflow, folder(map[string]string{"a/MLmodel": "", "b/MLmodel": ""}),
			sluice.Cause{Code: sluice.CauseModelInvalid, Message: "it has 2 files MLmodel"}},
		"no pyfunc": {mlflow, folder(map[string]string{"m/MLmodel": "flavors:\n  spark: {}\n  mleap: {}\n"}),
			sluice.Cause{Code: sluice.CauseModelInvalid, Message: "has no flavour python_function, by which models are served: it has mleap, spark"}},
		"broken": {mlflow, folder(map[string]string{"MLmodel": "flavors: [\n"}),
			sluice.Cause{Code: sluice.CauseModelInvalid, Message: "the model's MLmodel cannot be read"}},
		"no mlflow": {python(t), folder(loads("")),
			sluice.Cause{Code: sluice.CauseImportMissing, Message: "mlflow"}},
		"package": {mlflow, folder(loads("import catboost\n")),
			sluice.Cause{Code: sluice.CauseImportMissing, Message: "catboost", File: "m/code/own.py", Line: 1}},
		"raises": {mlflow, folder(loads("def _load_pyfunc(path):\n    raise ValueError('no')\n")),
			sluice.Cause{Code: sluice.CauseInitRaised, Message: "loading the model raised ValueError: no", File: "m/code/own.py", Line: 2}},
		"version": {mlflow, folder(old),
			sluice.Cause{Code: sluice.CauseModelVersion, Message: "the model was saved by scikit-learn 0.24.2", Line: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			err := fails(t, "", interpreter(c.python), servesModel(c.dir))
			var got *sluice.Cause
			if !errors.As(err, &got) {
				t.Fatalf("no cause: %v", err)
			}
			if got.Code != c.want.Code || !strings.Contains(got.Message, c.want.Message) || c.want.File != "" && got.File != c.want.File || got.Line != c.want.Line {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got.Hint == "" && name != "raises" {
				t.Error("there is no hint")
			}
		})
	}
}

// The causes that the server finds itself are told in words of a model, too.
func TestMLflowWords(t *testing.T) {
	s := Settings{MLflow: true, ModelDir: "/models/iris/1", AppRoot: "/run/i", Timeout: time.Second}
	stack := []stackFrame{{file: "/models/iris/1/m/code/own.py", line: 7, function: "predict"}}
	for _, c := range []struct {
		got  *sluice.Cause
		want string
	}{
		{ending{phase: PhaseInit, signal: syscall.SIGSEGV}.cause(s), "MLmodel: the interpreter was ended by SIGSEGV while the model was loaded"},
		{ending{phase: PhaseImport, code: 4}.cause(s), "MLmodel: the model ended the interpreter with exit code 4 while MLflow was imported"},
		{late(nil, stack, s), "m/code/own.py:7: the model did not finish within SCORING_TIMEOUT_MS, 1000 ms,"},
		{left(time.Second, nil, s), "MLmodel: the model had not finished after 1.0 s, when nobody waited for it any more,"},
		{raised(nil, s), "MLmodel: the model failed"},
		{late(nil, nil, Settings{EntryScript: "score.py", Timeout: time.Second}), "score.py: run() did not finish within SCORING_TIMEOUT_MS, 1000 ms,"},
	} {
		if c.got.Error() != c.want || strings.Contains(c.got.Hint, "make run()") && strings.HasPrefix(c.want, "MLmodel") {
			t.Errorf("got %q (hint %q), want %q", c.got.Error(), c.got.Hint, c.want)
		}
	}
}

func TestMLflowSettings(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--mlflow"}, "--mlflow needs the folder of the model"},
		{[]string{"--mlflow", "--model_dir", dir, "--entry_script", "score.py"}, "goes with neither"},
		{[]string{"--mlflow", "--model_dir", dir, "--config_file", "c.json"}, "goes with neither"},
	} {
		f, err := ParseFlags(c.args)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Resolve(f, nil, dir); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: got %v, want %q", c.args, err, c.says)
		}
	}
	f, err := ParseFlags([]string{"--mlflow", "--model_dir", dir})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Resolve(f, []string{"AZUREML_ENTRY_SCRIPT=inherited.py"}, dir)
	if err != nil || !s.MLflow || s.EntryScript != "" || s.ModelDir != dir {
		t.Errorf("got %+v, %v", s, err)
	}
	// A server of scripts has none of MLflow's routes.
	r := start(t, contractScript)
	for _, path := range []string{"/ping", "/health", "/version", "/invocations"} {
		if a := r.get(path); a.Status != 404 {
			t.Errorf("%s: %d", path, a.Status)
		}
	}
}
