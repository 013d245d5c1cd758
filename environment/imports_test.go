package environment

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// folderOf makes a folder of texts by path.
func folderOf(files map[string]string) Folder {
	return Folder{Paths: sortedKeys(files), Read: func(path string, most int64) ([]byte, error) {
		text, ok := files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		if int64(len(text)) > most {
			return nil, errors.New("too long")
		}
		return []byte(text), nil
	}}
}

func TestImportsOf(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                     nil,
		"import flask":                         {"flask"},
		"import a, b.c as d, e\nimport f":      {"a", "b.c", "e", "f"},
		"from a.b import c, d as e\n":          {"a.b", "a.b.c", "a.b.d"},
		"from a import (b, # one\n c,\n)\nx=1": {"a", "a.b", "a.c"},
		"from a import *; import b":            {"a", "b"},
		"from . import a\nfrom .b import c\nimport d": {"d"},
		"from . import (\n a)\nimport b":              {"b"},
		"try: import a\nexcept ImportError: import b": {"a", "b"},
		"if x:\n\timport a\nelse :\n\n    import b":   {"a", "b"},
		"def f():\r\n    import a\r\n":                {"a"},
		"import a \\\n  , b":                          {"a", "b"},
		"import a.\\\r\nb\n":                          {"a.b"},
		"'''\nimport a\n'''\nimport b":                {"b"},
		"x = \"\"\"\nimport a\n\\\"\"\" \"\"\"":       nil,
		"x = 'it\\'s'; import a":                      {"a"},
		"x = 'broken\nimport a":                       {"a"},
		"# import a\nx = 1 # import b":                nil,
		"x = importlib.import_module('a')":            nil,
		"reimport = import_ = 1\nimportant":           nil,
		"x.import_(a)\nyield from a\n":                nil,
		"f(\nimport\n)\n":                             nil,
		"d = {1: import_a}\nl = [x for x in y]":       nil,
		"import été":                                  {"été"},
		"import":                                      nil,
		"from a":                                      nil,
		"from a import":                               {"a"},
		"\ufeffimport a":                              nil,
		"match x:\n case 1: import a":                 {"a"},
		"async def f():\n  from a import b":           {"a", "a.b"},
		"import a as b, c":                            {"a", "c"},
		"raise X from y\nimport z":                    {"z"},
	} {
		if diff := cmp.Diff(want, importsOf([]byte(text))); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", text, diff)
		}
	}
}

// TestImports leaves out what the folder has itself, and what is too large to
// be looked into.
func TestImports(t *testing.T) {
	got := Imports(folderOf(map[string]string{
		"score.py":          "import flask, own, pkg.inner, requests\nfrom space import part\n",
		"own.py":            "import psutil",
		"pkg/__init__.py":   "import beside, flask",
		"pkg/beside.py":     "",
		"pkg/deep/x.py":     "import pydantic, pkg",
		"space/part/y.py":   "",
		"notes.txt":         "import nothing",
		"huge.py":           "import gigantic\n" + strings.Repeat("#", maxSource),
		"requests/notes.md": "not a package",
	}))
	if diff := cmp.Diff([]string{"flask", "psutil", "pydantic", "requests"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestImportsAsPython compares with Python's own parser, over its own library.
func TestImportsAsPython(t *testing.T) {
	const program = `
import ast, glob, json, os, sysconfig, warnings
warnings.simplefilter("ignore")
lib, out = sysconfig.get_path("stdlib"), {}
for path in sorted(glob.glob(lib + "/*.py") + glob.glob(lib + "/asyncio/*.py") + glob.glob(lib + "/test/test_[a-i]*.py")):
    with open(path, "rb") as f:
        text = f.read()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        continue
    found = set()
    for n in ast.walk(tree):
        if isinstance(n, ast.Import):
            found.update(a.name for a in n.names)
        elif isinstance(n, ast.ImportFrom) and not n.level:
            found.add(n.module)
            found.update(n.module + "." + a.name for a in n.names if a.name != "*")
    out[path] = sorted(found)
print(json.dumps(out))`
	b := open(t, Config{UV: "off"})
	installed, err := b.pythons.list(t.Context(), func() {})
	if err != nil || len(installed) == 0 {
		t.Fatal(installed, err)
	}
	python := installed[len(installed)-1].Path
	out, err := exec.Command(python, "-I", "-c", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	if len(want) < 100 {
		t.Fatalf("only %d files were read", len(want))
	}
	for path, imports := range want {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := importsOf(text)
		slices.Sort(got)
		if diff := cmp.Diff(imports, slices.Compact(got), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", path, diff)
		}
	}
}

// FuzzImports reads any text: it ends, within its bounds.
func FuzzImports(f *testing.F) {
	for _, text := range []string{"import a\n", "from a import (b,\nc)", "'''", "\"\\", "(((", "import a.b.c as d, e", "from .. import x", "\\", "x = f'{a!r:{b}}'"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		found := importsOf(text)
		if len(found) > 2*maxImports+2 {
			t.Errorf("%d imports", len(found))
		}
		for _, m := range found {
			if m == "" || len(m) > 2*maxModule+2 || strings.ContainsAny(m, " \n\t(),;'\"\\") {
				t.Errorf("%q is no module", m)
			}
		}
	})
}

func TestPlatformPackages(t *testing.T) {
	imports := []string{"flask", "inference_schema.schema_decorators", "mlflow", "numpy", "os", "requests.adapters", "sklearn"}
	for name, c := range map[string]struct {
		spec     Spec
		want     []string
		notices  []string
		excluded string
	}{
		"nothing of the platform": {Spec{Requirements: "scikit-learn", Imports: imports}, []string{"scikit-learn"}, nil, ""},
		"defaults": {Spec{CondaFile: "dependencies: [python=3.11, scikit-learn, {pip: [azureml-defaults==1.60]}]", Imports: imports},
			[]string{"scikit-learn", "flask", "inference-schema", "numpy", "requests"},
			[]string{"azureml-defaults is not installed: Sluice itself does that work (tags: {sluice.platform_packages: install}",
				"flask, inference-schema, numpy, requests are installed because the code imports them: azureml-defaults would have brought them"}, ""},
		"asked for already": {Spec{Requirements: "azureml-inference-server-http\nFlask==2.0\nrequests[socks]", Imports: imports},
			[]string{"Flask==2.0", "requests[socks]", "inference-schema"}, []string{"azureml-inference-server-http is not installed", "inference-schema is installed because the code imports it"}, ""},
		"mlflow":      {Spec{Requirements: "azureml-mlflow", Imports: imports}, []string{"mlflow-skinny"}, []string{"azureml-mlflow is not", "mlflow-skinny is installed"}, ""},
		"mlflow full": {Spec{Requirements: "azureml-mlflow\nmlflow<3", Imports: imports}, []string{"mlflow<3"}, []string{"azureml-mlflow is not"}, ""},
		"no code":     {Spec{Requirements: "azureml-defaults"}, nil, []string{"azureml-defaults is not"}, ""},
		"forced":      {Spec{Requirements: "azureml-defaults\nnumpy", KeepPlatform: true, Imports: imports}, []string{"azureml-defaults", "numpy"}, nil, ""},
		"small ones":  {Spec{Requirements: "inference-schema[numpy-support]\nazureml-ai-monitoring", Imports: imports}, []string{"inference-schema[numpy-support]", "azureml-ai-monitoring"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			plan, notices, err := Parse(c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, plan.Requirements); diff != "" {
				t.Error(diff)
			}
			if len(notices) != len(c.notices) {
				t.Fatalf("notices are %q", notices)
			}
			for i, n := range c.notices {
				if !strings.Contains(notices[i], n) {
					t.Errorf("%q does not say %q", notices[i], n)
				}
			}
		})
	}
}
