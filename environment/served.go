package environment

import (
	"cmp"
	"path"
	"regexp"
	"strings"

	"github.com/sluice-ml/sluice"
)

// mlflowFlavor is the one flavour that every MLflow model that can be served
// has, whatever library it was made with.
const mlflowFlavor = "python_function"

// What serves an MLflow model without a script: MLflow itself, without what is
// only for tracking and its own servers, and what its pyfunc imports.
const (
	mlflowPackage = "mlflow-skinny"
	mlflowFrames  = "pandas"
)

// mlflowRelease is a version of MLflow that stands on an index.
var mlflowRelease = regexp.MustCompile(`^\d{1,4}(\.\d{1,4}){1,3}(rc\d{1,4})?$`)

// ServerOfModel gives the packages by which an MLflow model is served without a
// script. They are for [Spec.Server]: what the model itself asks for goes before
// them. A model that cannot be served so is an error with its cause; what cannot
// be read here is left to MLflow to judge, in the instance.
func ServerOfModel(model Folder) ([]string, error) {
	m := &modelFiles{Folder: model}
	root, err := m.findRoot()
	if err != nil {
		return nil, unservable(err.Error() + ", which `mlflow.<flavor>.save_model` writes")
	}
	saved := readSaved(m, path.Join(root, mlflowModel))
	if saved.read && !saved.servable {
		said := "it names no flavour"
		if len(saved.flavors) > 0 {
			said = "it has " + strings.Join(saved.flavors, ", ")
		}
		return nil, unservable("the MLflow model has no flavour " + mlflowFlavor + ", by which models are served: " + said)
	}
	name, pin := mlflowPackage, ""
	if mlflowRelease.MatchString(saved.version) {
		pin = "==" + saved.version
	}
	if strings.HasPrefix(saved.version, "1.") || strings.HasPrefix(saved.version, "2.") {
		name = wholes[mlflowPackage] // before 3, its server needs what only the whole brings
	}
	return []string{name + pin, mlflowFrames}, nil
}

func unservable(message string) error {
	cause := sluice.Cause{Code: sluice.CauseModelInvalid, Message: message, File: mlflowModel,
		Hint: "save it with MLflow as a python_function, or serve it with a script of your own: add code_configuration"}.Clean()
	return &sluice.Error{Code: sluice.CodeInvalid, Target: "model", Message: cause.Message, Hint: cause.Hint, Cause: &cause}
}

// savedModel is what an MLmodel file says of how it can be served.
type savedModel struct {
	read     bool // the file could be read
	servable bool
	flavors  []string
	version  string // of MLflow; "" when it does not say
}

const maxShownFlavors = 10

func readSaved(m *modelFiles, file string) (s savedModel) {
	text, err := m.Read(file, maxSpecBytes)
	if err != nil {
		return s
	}
	body, err := parseConda(string(text))
	if err != nil {
		return s
	}
	if s.read = true; body == nil {
		return s
	}
	values, ok := mappingValues(body)
	s.read = ok
	for _, v := range values {
		switch scalar(v.Key) {
		case "mlflow_version":
			s.version = scalar(v.Value)
		case "flavors":
			flavors, _ := mappingValues(v.Value)
			for _, f := range flavors {
				name := cmp.Or(scalar(f.Key), "?")
				s.servable = s.servable || name == mlflowFlavor
				if len(s.flavors) < maxShownFlavors {
					s.flavors = append(s.flavors, shorten(name))
				}
			}
		}
	}
	return s
}

// serve adds what the server needs and nothing asks for.
func (p *planner) serve(packages []string) {
	asked := map[string]bool{}
	for _, r := range p.plan.Requirements {
		asked[requirementName(r)] = true
	}
	var added []string
	whole := wholes[mlflowPackage]
	for _, r := range packages {
		name := requirementName(r)
		ofMLflow := name == mlflowPackage || name == whole
		switch {
		case asked[name], asked[whole]: // which brings pandas as well
			continue
		case ofMLflow && asked[mlflowPackage]:
			continue
		}
		added = append(added, r)
	}
	if len(added) == 0 {
		return
	}
	p.plan.Requirements = append(p.plan.Requirements, added...)
	p.notice("%s installed because the model is served without a script, and nothing asks for %s", isAre(added), itThem(added))
}
