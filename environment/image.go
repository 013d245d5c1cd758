package environment

import (
	"regexp"
	"strings"

	"github.com/sluice-ml/sluice"
)

// alias is what an image means here.
type alias struct {
	python string   // the Python it brings, "" for any
	pip    []string // what it brings of packages, when nothing else is asked for
}

// baseImages are the images that mean "a Python here": their packages come
// from a conda file or requirements.
var baseImages = []*regexp.Regexp{
	regexp.MustCompile(`^mcr\.microsoft\.com/azureml/(openmpi|intelmpi|base|minimal|inference-base|ubuntu|onnxruntime)[a-z0-9._-]*$`),
	regexp.MustCompile(`^mcr\.microsoft\.com/azureml/curated/minimal-[a-z0-9._-]*$`),
	regexp.MustCompile(`^(library/)?python$`),
	regexp.MustCompile(`^(continuumio/(mini|ana)conda3|condaforge/mini(forge3|conda3|mamba3)|mambaorg/micromamba)$`),
}

// curated are Azure's ready-made environments, as images and as entries of
// its registry, by the part of their name before the first variant suffix.
var curated = map[string]alias{
	"sklearn-1.5":            {python: "3.10", pip: []string{"scikit-learn==1.5.*", "numpy<2", "scipy", "pandas", "joblib", "matplotlib"}},
	"sklearn-1.1":            {python: "3.9", pip: []string{"scikit-learn==1.1.*", "numpy<2", "scipy", "pandas", "joblib", "matplotlib"}},
	"sklearn-1.0":            {python: "3.8", pip: []string{"scikit-learn==1.0.*", "numpy<2", "scipy", "pandas", "joblib", "matplotlib"}},
	"mlflow-py312-inference": {python: "3.12", pip: []string{"mlflow"}},
	"mlflow-py310-inference": {python: "3.10", pip: []string{"mlflow"}},
	"tensorflow-2.12-cuda11": {python: "3.10", pip: []string{"tensorflow==2.12.*", "numpy<2", "pandas", "scikit-learn"}},
}

var (
	pythonInImage = regexp.MustCompile(`(?:^|[-_])py(3)(\d{1,2})(?:[-_]|$)`)
	pythonInTag   = regexp.MustCompile(`^(3\.\d{1,2}(?:\.\d{1,3})?)(?:-|$)`)
)

// resolveImage gives what an image means here, and refuses one that is not
// known.
func resolveImage(image string) (alias, error) {
	if image == "" {
		return alias{}, nil
	}
	name, tag := splitImage(strings.ToLower(strings.TrimSpace(image)))
	name = strings.TrimPrefix(name, "docker.io/")
	if a, ok := curatedImage(name); ok {
		return a, nil
	}
	for _, known := range baseImages {
		if !known.MatchString(name) {
			continue
		}
		a := alias{}
		if m := pythonInImage.FindStringSubmatch(name); m != nil {
			a.python = m[1] + "." + m[2]
		} else if m := pythonInTag.FindStringSubmatch(tag); m != nil && strings.HasSuffix(name, "python") {
			a.python = m[1]
		}
		return a, nil
	}
	return alias{}, sluice.Errorf(sluice.CodeNotBuilt, "image %.200s cannot be run yet, and is not one of the base images that Sluice stands in for", image).
		WithHint("use one of Azure's base images, such as mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04, with a conda_file")
}

func curatedImage(name string) (alias, bool) {
	rest, ok := strings.CutPrefix(name, "mcr.microsoft.com/azureml/curated/")
	if !ok {
		return alias{}, false
	}
	a, ok := curated[curatedName(rest)]
	return a, ok
}

// curatedName drops what follows a curated environment's own name.
func curatedName(name string) string {
	name = strings.TrimPrefix(strings.ToLower(name), "azureml-")
	for _, suffix := range []string{"-ubuntu20.04-py38-cpu", "-ubuntu20.04-py38-cpu-inference", "-py38-cpu", "-py39-cpu", "-cpu"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// splitImage cuts an image's tag or digest off.
func splitImage(image string) (name, tag string) {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i], image[i+1:]
	}
	return image, ""
}

// Curated gives what one of Azure's ready-made environments, as
// azureml://registries/azureml/environments/NAME/… names them, means here, and
// whether it is known.
func Curated(r sluice.Ref) (*sluice.Environment, bool) {
	if !strings.EqualFold(r.Registry, "azureml") {
		return nil, false
	}
	name := curatedName(r.Name)
	if _, ok := curated[name]; !ok {
		return nil, false
	}
	return &sluice.Environment{OSType: "linux", Image: "mcr.microsoft.com/azureml/curated/" + name + ":latest"}, true
}

// CuratedNames gives the names that [Curated] knows, in order.
func CuratedNames() []string { return sortedKeys(curated) }
