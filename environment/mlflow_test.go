package environment

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func TestSpecOfModel(t *testing.T) {
	mlmodel := map[string]string{"MLmodel": "flavors: {}\n", "model.pkl": "x"}
	with := func(more map[string]string) map[string]string {
		files := maps.Clone(mlmodel)
		maps.Copy(files, more)
		return files
	}
	all := with(map[string]string{
		"python_env.yaml":  "python: 3.11.7\nbuild_dependencies:\n- pip==23.3\n- setuptools==68\ndependencies:\n- -r requirements.txt\n",
		"conda.yaml":       "dependencies: [python=3.9, scipy]\n",
		"requirements.txt": "-c constraints.txt\nmlflow==2.9.2\nscikit-learn==1.3.2 # pinned\n",
		"constraints.txt":  "numpy<2\n",
	})
	below := map[string]string{}
	for name, text := range all {
		below["model/"+name] = text
	}
	python := Spec{Python: "3.11.7", Requirements: "mlflow==2.9.2\nscikit-learn==1.3.2 # pinned\n\n", Constraints: []string{"numpy<2", ""}}
	for name, c := range map[string]struct {
		files map[string]string
		want  Spec
		from  string
	}{
		"all three": {all, python, "python_env.yaml, requirements.txt, constraints.txt"},
		"below":     {below, python, "python_env.yaml, requirements.txt, constraints.txt"},
		"conda":     {with(map[string]string{"conda.yaml": "dependencies: [python=3.9, scipy]\n"}), Spec{CondaFile: "dependencies: [python=3.9, scipy]\n"}, "conda.yaml"},
		"requirements": {with(map[string]string{"requirements.txt": "--requirement=sub/more.txt\r\nscipy", "sub/more.txt": "-r 'most.txt'", "sub/most.txt": "joblib"}),
			Spec{Requirements: "joblib\nscipy\n"}, "requirements.txt, sub/more.txt, sub/most.txt"},
		"python alone": {with(map[string]string{"python_env.yaml": "python: \"3.10\"\ndependencies:\n"}), Spec{Python: "3.10"}, "python_env.yaml"},
		"empty":        {with(map[string]string{"python_env.yaml": "# nothing\n"}), Spec{}, "python_env.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, from, err := SpecOfModel(folderOf(c.files))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, spec); diff != "" {
				t.Error(diff)
			}
			if from != c.from {
				t.Errorf("from %s, want %s", from, c.from)
			}
			if _, _, err := Parse(spec); err != nil {
				t.Error(err)
			}
		})
	}
	for name, c := range map[string]struct {
		files map[string]string
		says  string
	}{
		"no model":        {map[string]string{"conda.yaml": ""}, "no file MLmodel"},
		"two models":      {map[string]string{"a/MLmodel": "", "b/MLmodel": ""}, "no file MLmodel"},
		"nothing":         {mlmodel, "none of python_env.yaml"},
		"missing include": {with(map[string]string{"requirements.txt": "-r other.txt"}), "no file other.txt"},
		"outside":         {with(map[string]string{"requirements.txt": "-r ../../etc/passwd"}), "no file ../../etc/passwd"},
		"loop":            {with(map[string]string{"requirements.txt": "-r requirements.txt"}), "more than 20 files"},
		"not a mapping":   {with(map[string]string{"python_env.yaml": "[3.11]"}), "not a mapping"},
		"not a list":      {with(map[string]string{"python_env.yaml": "dependencies: {a: b}"}), "not a list"},
		"not YAML":        {with(map[string]string{"python_env.yaml": "a: [b"}), "cannot be read"},
		"aliases":         {with(map[string]string{"python_env.yaml": "a: &a [b]\nc: *a"}), "cannot be read"},
	} {
		_, _, err := SpecOfModel(folderOf(c.files))
		if sluice.ErrorCode(err) != sluice.CodeInvalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}

// FuzzSpecOfModel reads the files of any model.
func FuzzSpecOfModel(f *testing.F) {
	f.Add("python: 3.11\ndependencies:\n- -r requirements.txt\n", "a\n-c requirements.txt\n")
	f.Add("dependencies: [-r requirements.txt, -r requirements.txt]", "-r python_env.yaml")
	f.Add("dependencies:\n  - \"-r\"\n", "--constraint=\n-rMLmodel")
	f.Fuzz(func(t *testing.T, python, requirements string) {
		spec, _, err := SpecOfModel(folderOf(map[string]string{"MLmodel": "", "python_env.yaml": python, "requirements.txt": requirements}))
		if err != nil {
			return
		}
		if _, _, err := Parse(spec); err != nil && sluice.ErrorCode(err) == sluice.CodeInternal {
			t.Errorf("parsing what a model brings: %v", err)
		}
	})
}

// TestModelEnvironment makes the environment that a model brings, whose
// constraints bound what comes with what it asks for.
func TestModelEnvironment(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "below", version: "1.0"}, wheel{name: "below", version: "1.1"},
			wheel{name: "top", version: "1.0", requires: []string{"below"}})
		spec, _, err := SpecOfModel(folderOf(map[string]string{"MLmodel": "", "requirements.txt": "-c constraints.txt\ntop", "constraints.txt": "below<1.1\nunused==3"}))
		if err != nil {
			t.Fatal(err)
		}
		b := open(t, Config{UV: tool, Environ: x.environ(t)})
		env, err := b.Prepare(t.Context(), spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(env.Lock, "below==1.0 ") || strings.Contains(env.Lock, "unused") {
			t.Errorf("the lock is\n%s", env.Lock)
		}
		spec.Constraints = nil
		if env, err = b.Prepare(t.Context(), spec, nil); err != nil || !strings.Contains(env.Lock, "below==1.1 ") {
			t.Errorf("without constraints: %v\n%s", err, env.Lock)
		}
	})
}

// TestKeepsToLock prepares with a lock from before: what was locked is what
// comes, whatever the index has by now and whether or not it is remembered.
func TestKeepsToLock(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "below", version: "1.0"})
		spec := Spec{Requirements: "below"}
		first, err := open(t, Config{UV: tool, Environ: x.environ(t)}).Prepare(t.Context(), spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		newer := wheel{name: "below", version: "1.1"}
		x.files[newer.file()] = newer.bytes(t)
		b := open(t, Config{UV: tool, Environ: x.environ(t)}) // has never heard of it
		fresh, err := b.Prepare(t.Context(), spec, nil)
		if err != nil || !strings.Contains(fresh.Lock, "below==1.1") {
			t.Fatalf("without the lock: %v\n%s", err, fresh.Lock)
		}
		spec.Lock = first.Lock
		for _, reused := range []bool{false, true} {
			env, err := b.Prepare(t.Context(), spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			if env.Lock != first.Lock || env.LockHash != first.LockHash || env.Reused != reused {
				t.Errorf("got the lock\n%s, reused %v", env.Lock, env.Reused)
			}
			if got := python(t, env, "import below; print(below.__version__)"); got != "1.0" {
				t.Errorf("got %s", got)
			}
		}
		spec.Lock = strings.Replace(first.Lock, "# python 3", "# python 2", 1)
		env, err := b.Prepare(t.Context(), spec, nil)
		if err != nil || !strings.Contains(env.Lock, "below==1.1") || len(env.Notices) != 1 || !strings.Contains(env.Notices[0], "resolved again") {
			t.Errorf("with the lock of a Python that is gone: %v, %q\n%s", err, env.Notices, env.Lock)
		}
	})
}
