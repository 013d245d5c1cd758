package environment

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func TestParseConda(t *testing.T) {
	plan, notices, err := Parse(Spec{
		Image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest",
		CondaFile: `name: model-env
channels: [conda-forge, my-own-channel]
dependencies:
  - python=3.10
  - conda-forge::numpy=1.21.2   # why not
  - scikit-learn=0.24.2=py39_0
  - scipy>=1.7.1,<2
  - pandas 1.5.3
  - py-opencv
  - ruamel_yaml==0.17.*
  - pytorch[version='>=2.0', build=cpu*]
  - nomkl
  - pip=22
  - setuptools
  - pip:
      - azureml-defaults==1.53.0
      - inference-schema[numpy-support]==1.3.0
      - azureml_inference_server_http
      - joblib>=1.0 ; python_version < "3.12"
      - --extra-index-url https://example.com/simple
variables:
  A: 1
  B: "x y"
`})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"numpy==1.21.2.*", "scikit-learn==0.24.2", "scipy>=1.7.1,<2", "pandas==1.5.3", "opencv-python-headless",
		"ruamel.yaml==0.17.*", "torch>=2.0", "inference-schema[numpy-support]==1.3.0", `joblib>=1.0 ; python_version < "3.12"`,
	}
	if diff := cmp.Diff(want, plan.Requirements); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"--extra-index-url https://example.com/simple"}, plan.Options); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "x y"}, plan.Vars); diff != "" {
		t.Error(diff)
	}
	if plan.Python.String() != "3.10" || !plan.Python.Accepts(Version{3, 10, 13}) || plan.Python.Accepts(Version{3, 11, 0}) {
		t.Errorf("python is %q", plan.Python)
	}
	all := strings.Join(notices, "\n")
	for _, n := range []string{"my-own-channel", "nomkl", "azureml-defaults, azureml-inference-server-http are not installed"} {
		if !strings.Contains(all, n) {
			t.Errorf("notices do not name %s:\n%s", n, all)
		}
	}
	if strings.Contains(all, "conda-forge") {
		t.Errorf("the usual channel is worth no notice:\n%s", all)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spec Spec
		code sluice.Code
		says []string
	}{
		"not Python packages": {
			Spec{CondaFile: "dependencies:\n- numpy\n- cudatoolkit=11.8\n- git\n- r-base\n- r-dplyr\n- libgcc-ng\n- ffmpeg\n- openjdk=11\n- mkl\n"},
			sluice.CodeNotBuilt, []string{"cudatoolkit", "CUDA", "git", "r-base", "r-dplyr", "libgcc-ng", "ffmpeg", "openjdk", "mkl"}},
		"alternatives":        {Spec{CondaFile: "dependencies: ['numpy=1.20|1.21']"}, sluice.CodeInvalid, []string{"numpy=1.20|1.21", "choose one"}},
		"another file":        {Spec{Requirements: "-r base.txt"}, sluice.CodeNotBuilt, []string{"-r", "another file"}},
		"source":              {Spec{Requirements: "git+https://u:pw@example.com/x.git"}, sluice.CodeNotBuilt, []string{"git+https://****@example.com", "source"}},
		"named source":        {Spec{Requirements: "x @ git+https://example.com/x.git"}, sluice.CodeNotBuilt, []string{"git+https"}},
		"sdist address":       {Spec{Requirements: "x @ https://example.com/x-1.tar.gz"}, sluice.CodeNotBuilt, []string{"x-1.tar.gz", "wheel"}},
		"editable":            {Spec{Requirements: "-e ."}, sluice.CodeNotBuilt, []string{"-e"}},
		"no binary":           {Spec{Requirements: "--no-binary :all:"}, sluice.CodeNotBuilt, []string{"--no-binary"}},
		"folder":              {Spec{Requirements: "./pkg"}, sluice.CodeNotBuilt, []string{"./pkg"}},
		"file of the server":  {Spec{Requirements: "x @ file:///etc/passwd.whl"}, sluice.CodeNotBuilt, []string{"file:///etc/passwd"}},
		"links of the server": {Spec{Requirements: "--find-links /etc"}, sluice.CodeInvalid, []string{"--find-links"}},
		"variable":            {Spec{Requirements: "--index-url https://${PIP_INDEX_URL}/x"}, sluice.CodeNotBuilt, []string{"${PIP_INDEX_URL}"}},
		"password in address": {Spec{Requirements: "x @ https://u:pw@example.com/x-1-py3-none-any.whl"}, sluice.CodeInvalid, []string{"password"}},
		"option to pip":       {Spec{Requirements: "--target /etc"}, sluice.CodeNotBuilt, []string{"--target"}},
		"no version":          {Spec{Requirements: "below==not!a!version"}, sluice.CodeInvalid, []string{"below==not!a!version"}},
		"no requirement":      {Spec{CondaFile: "dependencies: [{pip: ['?what']}]"}, sluice.CodeInvalid, []string{"?what"}},
		"odd image":           {Spec{Image: "tensorflow/serving:latest"}, sluice.CodeNotBuilt, []string{"tensorflow/serving:latest"}},
		"odd python":          {Spec{CondaFile: "dependencies: [python=three]"}, sluice.CodeInvalid, []string{"three"}},
		"not YAML":            {Spec{CondaFile: "dependencies: [numpy"}, sluice.CodeInvalid, []string{"conda_file"}},
		"not a mapping":       {Spec{CondaFile: "- numpy"}, sluice.CodeInvalid, []string{"mapping"}},
		"misspelt key":        {Spec{CondaFile: "name: x\ndepenencies: [numpy]\n"}, sluice.CodeInvalid, []string{"conda_file:2:1", "depenencies", "dependencies"}},
		"not a list":          {Spec{CondaFile: "dependencies: numpy"}, sluice.CodeInvalid, []string{"conda_file:1", "list"}},
		"bomb":                {Spec{CondaFile: "a: &a [x]\nb: [*a,*a]\n"}, sluice.CodeInvalid, []string{"conda_file:1"}},
		"deep":                {Spec{CondaFile: strings.Repeat("[", 10_000)}, sluice.CodeInvalid, []string{"deeper"}},
		"deep in blocks":      {Spec{CondaFile: strings.Repeat("- ", 10_000)}, sluice.CodeInvalid, []string{"deeper"}},
		"long":                {Spec{CondaFile: strings.Repeat("# x\n", 100_000)}, sluice.CodeTooLarge, nil},
		"many":                {Spec{Requirements: strings.Repeat("x\n", 3000)}, sluice.CodeTooLarge, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse(c.spec)
			if sluice.ErrorCode(err) != c.code {
				t.Fatalf("got %v, want code %s", err, c.code)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "pw@") {
				t.Errorf("%q tells a password", err)
			}
		})
	}
}

func TestRefusalNamesLine(t *testing.T) {
	_, _, err := Parse(Spec{CondaFile: "dependencies:\n- numpy\n- cudatoolkit\n"})
	var e *sluice.Error
	if !errors.As(err, &e) || e.Cause == nil || e.Cause.Line != 3 || e.Hint == "" {
		t.Errorf("got %+v", e)
	}
}

func TestCondaVersions(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a", "a=1.2": "a==1.2.*", "a=1.2.3": "a==1.2.3.*", "a==1.2": "a==1.2", "a=1.2=py39_0": "a==1.2", "a==1.2=h_1": "a==1.2",
		"a 1.2": "a==1.2", "a 1.2 py39_0": "a==1.2", "a 1.2.*": "a==1.2.*", "a=1.2.*": "a==1.2.*", "a=1.2*": "a==1.2.*",
		"a>=1.2,<2": "a>=1.2,<2", "a >=1.2, <2": "a>=1.2,<2", "a >=1.2 py39_0": "a>=1.2", "a >= 1.2": "a>=1.2", "a!=1.5": "a!=1.5", "a!=1.5.*": "a!=1.5.*",
		"a~=1.4": "a~=1.4", "a=*": "a", "a *": "a", "a=1.0rc1": "a==1.0rc1", "defaults::a=1": "a==1.*", "A_b=1": "a-b==1.*",
		"a[version='>=1,<2']": "a>=1,<2", "a[build=x]": "a", "a>1,!=1.3": "a>1,!=1.3",
	} {
		plan, _, err := Parse(Spec{CondaFile: "dependencies:\n- " + quoteYAML(in)})
		if err != nil || len(plan.Requirements) != 1 || plan.Requirements[0] != want {
			t.Errorf("%s: got %q, %v; want %s", in, plan.Requirements, err, want)
		}
	}
}

func quoteYAML(s string) string { return `"` + s + `"` }

// TestRefusalKeepsPasswords refuses lines that hold a password: it is not told.
func TestRefusalKeepsPasswords(t *testing.T) {
	for _, line := range []string{"--index-url https://me:hush-hush@host/simple\x01", "--index-url ftp://me:hush-hush@host/simple", "a @ https://me:hush-hush@host/a.whl",
		"git+https://me:hush-hush@host/a", "https://me:hush-hush@host/a.whl", "a ? https://me:hush-hush@host", "-c https://me:hush-hush@host/c.txt"} {
		_, _, err := Parse(Spec{Requirements: line})
		if err == nil || strings.Contains(err.Error(), "hush-hush") {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestKeepPlatform(t *testing.T) {
	plan, notices, err := Parse(Spec{Requirements: "azureml-defaults\nflask", KeepPlatform: true})
	if err != nil || len(notices) != 0 || !cmp.Equal(plan.Requirements, []string{"azureml-defaults", "flask"}) {
		t.Errorf("got %v, %v, %v", plan.Requirements, notices, err)
	}
}

func TestRequirementLines(t *testing.T) {
	plan, _, err := Parse(Spec{Requirements: "# all of it\r\nnumpy==1.26.4 \\\n    --hash=sha256:00\n\nflask[async] # web\n-ihttps://example.com/simple\n--pre\nscipy (>=1.0)\nlocal==2.1.0+cu118\nany===weird\n--prefer-binary"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"numpy==1.26.4      --hash=sha256:00", "flask[async]", "scipy (>=1.0)", "local==2.1.0+cu118", "any===weird"}, plan.Requirements); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"--index-url https://example.com/simple", "--pre"}, plan.Options); diff != "" {
		t.Error(diff)
	}
}

func TestImages(t *testing.T) {
	for image, want := range map[string]struct {
		python   string
		packages int
	}{
		"mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04":                     {},
		"mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04:1.2": {},
		"mcr.microsoft.com/azureml/minimal-py312-inference:latest":               {python: "3.12"},
		"MCR.microsoft.com/azureml/minimal-ubuntu20.04-py38-cpu-inference":       {python: "3.8"},
		"python:3.11-slim":                                           {python: "3.11"},
		"docker.io/library/python:3.9.1":                             {python: "3.9.1"},
		"continuumio/miniconda3@sha256:0123":                         {},
		"mcr.microsoft.com/azureml/curated/sklearn-1.5:latest":       {python: "3.10", packages: 6},
		"mcr.microsoft.com/azureml/curated/mlflow-py312-inference":   {python: "3.12", packages: 1},
		"mcr.microsoft.com/azureml/curated/tensorflow-2.12-cuda11:3": {python: "3.10", packages: 4},
	} {
		plan, _, err := Parse(Spec{Image: image})
		if err != nil || plan.Python.String() != want.python || len(plan.Requirements) != want.packages {
			t.Errorf("%s: got python %q and %v, %v", image, plan.Python, plan.Requirements, err)
		}
		plan, _, err = Parse(Spec{Image: image, CondaFile: "dependencies: [python=3.13, numpy]"})
		if err != nil || plan.Python.String() != "3.13" || len(plan.Requirements) != 1 {
			t.Errorf("%s with a conda file: got python %q and %v, %v", image, plan.Python, plan.Requirements, err)
		}
	}
	for _, image := range []string{"python-evil:3", "evil.com/azureml/openmpi4", "mcr.microsoft.com/azureml/curated/unheard-of", "mcr.microsoft.com/azureml/../x", "a b"} {
		if _, _, err := Parse(Spec{Image: image}); sluice.ErrorCode(err) != sluice.CodeNotBuilt {
			t.Errorf("%s: got %v", image, err)
		}
	}
}

func TestCurated(t *testing.T) {
	e, ok := Curated(sluice.Ref{Registry: "azureml", Name: "sklearn-1.5", Label: "latest"})
	if !ok {
		t.Fatal("sklearn-1.5 is not known")
	}
	spec, err := SpecOf(e)
	if err != nil {
		t.Fatal(err)
	}
	if plan, _, err := Parse(spec); err != nil || !strings.HasPrefix(plan.Requirements[0], "scikit-learn==1.5") {
		t.Errorf("got %v, %v", plan.Requirements, err)
	}
	for _, r := range []sluice.Ref{{Registry: "azureml", Name: "nothing"}, {Registry: "other", Name: "sklearn-1.5"}, {Name: "sklearn-1.5"}} {
		if _, ok := Curated(r); ok {
			t.Errorf("%s is known", r)
		}
	}
	if names := CuratedNames(); len(names) != len(curated) {
		t.Errorf("names are %v", names)
	}
}

func TestSpecOf(t *testing.T) {
	for _, e := range []*sluice.Environment{{Build: &sluice.BuildContext{}}, {Inference: &sluice.InferenceConfig{}}, {OSType: "Windows"}} {
		if _, err := SpecOf(e); sluice.ErrorCode(err) != sluice.CodeNotBuilt {
			t.Errorf("%+v: got %v", e, err)
		}
	}
	made := &sluice.Environment{CondaFile: "c", Image: "i", Meta: sluice.Meta{Tags: map[string]string{sluice.TagPlatformPackages: "install", sluice.TagSourceBuilds: "allow"}}}
	got, err := SpecOf(made)
	if diff := cmp.Diff(Spec{CondaFile: "c", Image: "i", KeepPlatform: true, SourceBuilds: true}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	made.Tags[sluice.TagSourceBuilds] = "perhaps"
	if _, err := SpecOf(made); sluice.ErrorCode(err) != sluice.CodeInvalid {
		t.Errorf("a tag that means nothing: %v", err)
	}
}

func TestPins(t *testing.T) {
	for pin, c := range map[string]struct{ yes, no Version }{
		"3.11": {Version{3, 11, 7}, Version{3, 12, 0}}, "==3.11": {Version{3, 11, 7}, Version{3, 10, 0}}, "=3.8.13": {Version{3, 8, 13}, Version{3, 8, 14}},
		">=3.9,<3.12": {Version{3, 11, 9}, Version{3, 12, 0}}, "<=3.10": {Version{3, 10, 13}, Version{3, 11, 0}}, "~=3.10": {Version{3, 12, 1}, Version{3, 9, 0}},
		"!=3.9": {Version{3, 10, 0}, Version{3, 9, 4}}, "3.10.*": {Version{3, 10, 1}, Version{3, 1, 0}}, ">3.10": {Version{3, 11, 0}, Version{3, 10, 9}},
		"3": {Version{3, 8, 0}, Version{2, 7, 18}}, "": {Version{3, 8, 0}, Version{}},
	} {
		p, err := parsePin(pin)
		if err != nil || !p.Accepts(c.yes) || pin != "" && p.Accepts(c.no) {
			t.Errorf("%q: %v; accepts %s %v, %s %v", pin, err, c.yes, p.Accepts(c.yes), c.no, p.Accepts(c.no))
		}
	}
	for _, bad := range []string{"x", "3.x", ">=", "3.11.1.1", "3..1", "=>3"} {
		if _, err := parsePin(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestChoose(t *testing.T) {
	var installed []Interpreter
	for _, v := range []Version{{3, 8, 18}, {3, 9, 18}, {3, 11, 2}, {3, 11, 7}, {3, 13, 0}} {
		installed = append(installed, Interpreter{Version: v})
	}
	for pin, c := range map[string]struct {
		want   Version
		notice string
	}{
		"": {Version{3, 11, 7}, ""}, "3.11": {Version{3, 11, 7}, ""}, "3.11.2": {Version{3, 11, 2}, ""}, ">=3.9": {Version{3, 11, 7}, ""},
		">=3.12": {Version{3, 13, 0}, ""}, "3.9.1": {Version{3, 9, 18}, "3.9.1 is not installed: 3.9.18 is used"},
		"3.10": {Version{3, 11, 7}, "3.10 is not installed: 3.11.7, the nearest"}, "3.12": {Version{3, 13, 0}, "3.12 is not installed"},
		"3.7": {Version{3, 8, 18}, "3.7 is not installed"}, ">=3.14": {Version{3, 13, 0}, ">=3.14 is not installed"}, "<3.8": {Version{3, 8, 18}, "<3.8 is not installed"},
	} {
		p, err := parsePin(pin)
		if err != nil {
			t.Fatal(err)
		}
		got, notices, err := choose(p, installed)
		all := strings.Join(notices, "\n")
		if err != nil || got.Version != c.want || !strings.Contains(all, c.notice) || (c.notice == "") != (all == "") {
			t.Errorf("%q: got %s, %q, %v; want %s", pin, got.Version, all, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("dependencies: [python=3.11, 'numpy>=1.2,<2', {pip: [x==1]}]", "flask", "python:3.11")
	f.Add("dependencies:\n- a[version='>=1']\n- b::c=1=2\nvariables: {A: 1}", "-i https://u:p@x/\n--hash=1", "mcr.microsoft.com/azureml/x")
	f.Add("? [", "x @ https://a/b.whl ; python_version<'3'", "")
	f.Add("a: &a [*a]", "\\\n\\\n", "@:")
	f.Fuzz(func(t *testing.T, conda, requirements, image string) {
		plan, _, err := Parse(Spec{CondaFile: conda, Requirements: requirements, Image: image})
		if err != nil {
			if sluice.ErrorCode(err) == sluice.CodeInternal {
				t.Errorf("an error for nobody: %v", err)
			}
			return
		}
		for _, line := range append(plan.Requirements, plan.Options...) {
			if strings.ContainsAny(line, "\n\r\x00") {
				t.Errorf("%q is more than a line", line)
			}
		}
		for _, r := range plan.Requirements {
			if strings.HasPrefix(r, "-") || strings.HasPrefix(r, "/") || strings.HasPrefix(r, ".") || requirementName(r) == "" {
				t.Errorf("%q is no requirement", r)
			}
		}
	})
}
