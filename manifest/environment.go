package manifest

import (
	"errors"
	"math"
	"path/filepath"
	"strings"

	"github.com/sluice-ml/sluice"
)

// ReadEnvironment reads an environment to register.
func ReadEnvironment(in Input) (*Environment, []Warning, error) {
	d, err := in.open()
	if err != nil {
		return nil, nil, err
	}
	e := d.environment(d.root, "")
	if e.Name == "" && d.root.get("name").isNull() {
		d.missing(d.root, "name", "add name: to the file, or use --name")
	}
	d.refuse(environmentRefusals)
	return e, d.warnings, d.err()
}

// environment reads an environment; what is "" for the document itself,
// "environment" for an inline one.
func (d *decoder) environment(n *node, what string) *Environment {
	e := &Environment{}
	e.OSType = "linux"
	known := d.asset(&e.Meta)
	known["image"] = d.text(&e.Image, dotted(what, "image"))
	known["conda_file"] = func(n *node) {
		e.CondaFile, e.CondaIncludes = d.conda(n, dotted(what, "conda_file"))
		if isPath(n) {
			e.CondaPath = d.shown(n.text)
		}
	}
	known["build"] = func(n *node) { d.build(n, e, dotted(what, "build")) }
	known["os_type"] = choice(d, &e.OSType, dotted(what, "os_type"), "linux", "windows")
	known["inference_config"] = func(n *node) {
		e.Inference = &sluice.InferenceConfig{}
		d.inference(n, e.Inference, dotted(what, "inference_config"))
	}
	readOnly(known, "latest_version", "next_version", "environment_type")
	d.object(n, what, known)
	d.assetName(n, what, "environment", e.Name, e.Version)
	if _, err := e.Switches(); err != nil {
		d.switches(n.get("tags"), err)
	}
	image, build, conda := n.get("image"), n.get("build"), n.get("conda_file")
	switch {
	case !image.isNull() && !build.isNull():
		d.badHint(build, "keep one of the two", "image and build exclude each other")
	case image.isNull() && build.isNull() && conda.isNull():
		d.missing(n, dotted(what, "image"), "an environment has an image, with or without a conda_file")
	}
	return e
}

// switches reports tags by which no environment can be made.
func (d *decoder) switches(tags *node, err error) {
	hint := ""
	if e, ok := errors.AsType[*sluice.Error](err); ok {
		hint = e.Hint
	}
	d.badHint(tags, hint, "%s", err.Error())
}

// conda reads the packages: a file beside the manifest, a mapping in it, or
// the text itself. It also gives the files of requirements that were put into
// their places.
func (d *decoder) conda(n *node, what string) (text string, includes []string) {
	packages, dir := n, d.dir
	switch {
	case n.kind == sequenceNode:
		d.bad(n, "%s is a list: expected the path of a conda file, or its content", what)
		return "", nil
	case n.kind == scalarNode:
		read := d.condaText
		if isPath(n) {
			read, dir = d.condaFile, filepath.Dir(d.resolve(n.text))
		}
		var err error
		if packages, err = read(n); err != nil {
			d.addError(err)
			return "", nil
		}
	}
	if packages.kind != mappingNode {
		d.bad(packages, "a conda file is a mapping: this is %s", packages.describe())
		return "", nil
	}
	if deps := packages.get("dependencies"); deps != nil && deps.kind != sequenceNode {
		d.bad(deps, "dependencies of a conda file is %s: expected a list", deps.describe())
		return "", nil
	}
	includes = d.includes(packages, dir)
	// Every scalar of a conda file means text, whatever it looks like.
	packages.walk(func(n *node) { n.plain = n.isNull() })
	return string(packages.sorted().yaml()), includes
}

// isPath reports whether a conda_file names a file; else it is one.
func isPath(n *node) bool { return n.kind == scalarNode && !strings.Contains(n.text, "\n") }

// condaFile reads the file that n names. Faults in it are told with its name.
func (d *decoder) condaFile(n *node) (*node, error) {
	text, err := readText(d.resolve(n.text), n.text, n.at)
	if err != nil {
		return nil, err
	}
	return parse(d.shown(n.text), text)
}

// condaText reads a conda file that stands in the manifest as a text.
func (d *decoder) condaText(n *node) (*node, error) {
	packages, err := parse("", []byte(n.text))
	if err != nil {
		return nil, n.at.cause(sluice.CauseYAMLSyntax, "", "conda_file does not parse: %s", err.Error())
	}
	packages.walk(func(below *node) { below.at = n.at })
	return packages, nil
}

// build reads a folder with a Dockerfile.
func (d *decoder) build(n *node, e *Environment, what string) {
	e.Build = &sluice.BuildContext{DockerfilePath: "Dockerfile"}
	d.object(n, what, properties{
		"path":            d.text(&e.Build.ContextURI, what+".path"),
		"dockerfile_path": d.text(&e.Build.DockerfilePath, what+".dockerfile_path"),
	})
}

// inference reads the routes of an image that brings its own server.
func (d *decoder) inference(n *node, to *sluice.InferenceConfig, what string) {
	route := func(to *sluice.Route, name string) func(*node) {
		return func(n *node) {
			d.object(n, what+"."+name, properties{
				"path": d.text(&to.Path, what+"."+name+".path"),
				"port": d.whole(&to.Port, what+"."+name+".port", 1, math.MaxUint16),
			})
		}
	}
	d.object(n, what, properties{
		"liveness_route":  route(&to.Liveness, "liveness_route"),
		"readiness_route": route(&to.Readiness, "readiness_route"),
		"scoring_route":   route(&to.Scoring, "scoring_route"),
	})
}
