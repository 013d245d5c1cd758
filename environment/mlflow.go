package environment

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/sluice-ml/sluice"
)

// Files of an MLflow model that say what it needs.
const (
	mlflowModel        = "MLmodel"
	mlflowPython       = "python_env.yaml"
	mlflowConda        = "conda.yaml"
	mlflowRequirements = "requirements.txt"
)

// maxIncludes bounds the files that requirements name.
const maxIncludes = 20

// SpecOfModel gives the spec that an MLflow model brings, and which of its files
// it stands in. python_env.yaml goes before conda.yaml, as with MLflow, and
// that before requirements.txt alone.
func SpecOfModel(model Folder) (spec Spec, from string, err error) {
	m := &modelFiles{Folder: model}
	if m.root, err = m.findRoot(); err != nil {
		return Spec{}, "", err
	}
	switch {
	case m.has(mlflowPython):
		spec, err = m.pythonEnv()
	case m.has(mlflowConda):
		spec.CondaFile, err = m.text(mlflowConda)
		m.read = append(m.read, mlflowConda)
	case m.has(mlflowRequirements):
		spec.Requirements, err = m.requirements([]string{"-r " + mlflowRequirements}, ".")
	default:
		err = modelError("the MLflow model has none of %s, %s and %s", mlflowPython, mlflowConda, mlflowRequirements)
	}
	if err != nil {
		return Spec{}, "", err
	}
	spec.Constraints = m.constraints
	return spec, strings.Join(m.read, ", "), nil
}

// modelFiles reads what an MLflow model needs.
type modelFiles struct {
	Folder
	root        string   // the folder with MLmodel
	read        []string // the files that say it
	constraints []string
}

func modelError(format string, args ...any) error {
	return sluice.Errorf(sluice.CodeInvalid, format, args...).
		WithHint("name an environment in the deployment, with image and conda_file")
}

// findRoot finds the folder with MLmodel: the model's own, or the only one
// below it.
func (m *modelFiles) findRoot() (string, error) {
	var roots []string
	for _, p := range m.Paths {
		if path.Base(p) == mlflowModel && strings.Count(p, "/") <= 1 {
			roots = append(roots, path.Dir(p))
		}
	}
	if slices.Contains(roots, ".") {
		return ".", nil
	}
	if len(roots) != 1 {
		return "", modelError("the model is no MLflow model: it has no file %s", mlflowModel)
	}
	return roots[0], nil
}

func (m *modelFiles) has(name string) bool { return slices.Contains(m.Paths, path.Join(m.root, name)) }

func (m *modelFiles) text(name string) (string, error) {
	if !m.has(name) {
		return "", modelError("the model has no file %s, which its environment names", shorten(name))
	}
	text, err := m.Read(path.Join(m.root, name), maxSpecBytes)
	if err != nil {
		return "", fmt.Errorf("reading the model's %s: %w", name, err)
	}
	return string(text), nil
}

// pythonEnv reads python_env.yaml.
func (m *modelFiles) pythonEnv() (Spec, error) {
	text, err := m.text(mlflowPython)
	if err != nil {
		return Spec{}, err
	}
	m.read = append(m.read, mlflowPython)
	body, err := parseConda(text)
	if err != nil {
		return Spec{}, modelError("the model's %s cannot be read: %v", mlflowPython, err)
	}
	if body == nil {
		return Spec{}, nil
	}
	values, ok := mappingValues(body)
	if !ok {
		return Spec{}, modelError("the model's %s is not a mapping", mlflowPython)
	}
	var spec Spec
	for _, v := range values {
		switch scalar(v.Key) {
		case "python":
			spec.Python = scalar(v.Value)
		case "dependencies":
			lines, ok := scalars(v.Value)
			if !ok {
				return Spec{}, modelError("dependencies in the model's %s is not a list of requirements", mlflowPython)
			}
			if spec.Requirements, err = m.requirements(lines, "."); err != nil {
				return Spec{}, err
			}
		}
		// build_dependencies are for building from source, which is done anew.
	}
	return spec, nil
}

// scalars gives the texts of a list.
func scalars(n ast.Node) ([]string, bool) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, n.Type() == ast.NullType
	}
	var texts []string
	for _, v := range list.Values {
		if !isScalar(v) {
			return nil, false
		}
		texts = append(texts, scalar(v))
	}
	return texts, true
}

// requirements gives the text of requirements, with the files they name, which
// stand relative to dir, in their places.
func (m *modelFiles) requirements(lines []string, dir string) (string, error) {
	var out strings.Builder
	for _, line := range lines {
		option, name := includedFile(line)
		if option == "" {
			out.WriteString(line + "\n")
			continue
		}
		name = path.Join(dir, name)
		if m.read = append(m.read, name); len(m.read) > maxIncludes {
			return "", modelError("the model's requirements name more than %d files", maxIncludes)
		}
		text, err := m.text(name)
		if err != nil {
			return "", err
		}
		text = strings.ReplaceAll(text, "\r\n", "\n")
		if option == "-c" {
			m.constraints = append(m.constraints, strings.Split(text, "\n")...)
			continue
		}
		if text, err = m.requirements(strings.Split(text, "\n"), path.Dir(name)); err != nil {
			return "", err
		}
		out.WriteString(text)
	}
	if out.Len() > maxSpecBytes {
		return "", sluice.Errorf(sluice.CodeTooLarge, "the model's requirements are over %d KiB", maxSpecBytes>>10)
	}
	return out.String(), nil
}

// includedFile reads a line of pip's that names another file: "-r" or "-c" and
// the file, or "" when it names none.
func includedFile(line string) (option, name string) {
	line = strings.TrimSpace(inlineComment.ReplaceAllString(line, ""))
	for _, o := range [][2]string{{"--requirement", "-r"}, {"--constraint", "-c"}, {"-r", "-r"}, {"-c", "-c"}} {
		rest, ok := strings.CutPrefix(line, o[0])
		if !ok {
			continue
		}
		if long := len(o[0]) > 2; long && rest != "" && !strings.ContainsAny(rest[:1], " \t=") {
			return "", "" // --requirements
		}
		return o[1], strings.Trim(strings.TrimSpace(strings.TrimPrefix(rest, "=")), `"'`)
	}
	return "", ""
}
