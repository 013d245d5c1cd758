package environment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// Bounds on what a stranger's spec may be.
const (
	maxSpecBytes    = 256 << 10
	maxRequirements = 2000
)

// Spec says what a script needs. All fields may be empty: the zero Spec is a
// Python without packages.
type Spec struct {
	// CondaFile is the text of a conda file.
	CondaFile string
	// Requirements is the text of a requirements file.
	Requirements string
	// Image is the name of a container image. Those that mean "a Python here"
	// are known by name; others are refused.
	Image string
	// Python pins the interpreter, for example "3.11" or ">=3.10,<3.13". A pin
	// in CondaFile goes before it, the image's own after it.
	Python string
	// Pip holds further requirements, one in each string.
	Pip []string
	// Constraints bound the versions of what is installed without asking for
	// it, one in each string.
	Constraints []string
	// KeepPlatform installs the platform's own packages (azureml-defaults and
	// the like), which are otherwise left out because Sluice is the platform.
	KeepPlatform bool
	// Imports are the modules that the code imports, as [Imports] finds them:
	// what the platform's own packages would have brought of them is installed.
	Imports []string
	// Server holds requirements of what serves a model without a script, as
	// [ServerOfModel] gives them: installed unless something else asks for them.
	Server []string
	// SourceBuilds has packages that have no wheel built from source, where the
	// builder's own settings allow it.
	SourceBuilds bool
	// Lock is the lock of an earlier Prepare of the same spec. It is kept to as
	// long as the Python it is for is there.
	Lock string
}

// SpecOf gives the spec of a registered environment. One that is built from a
// Dockerfile or brings its own server is refused by name.
func SpecOf(e *sluice.Environment) (Spec, error) {
	switch {
	case e.Build != nil:
		return Spec{}, sluice.Errorf(sluice.CodeNotBuilt, "environment %s is built from a Dockerfile, which Sluice cannot do yet", e.Name).
			WithHint("give a conda_file and one of Azure's base images instead")
	case e.Inference != nil:
		return Spec{}, sluice.Errorf(sluice.CodeNotBuilt, "environment %s brings its own server (inference_config), which Sluice cannot run yet", e.Name)
	case strings.EqualFold(e.OSType, "windows"):
		return Spec{}, sluice.Errorf(sluice.CodeNotBuilt, "environment %s is for windows, which Sluice cannot run", e.Name)
	}
	switches, err := e.Switches()
	if err != nil {
		return Spec{}, err
	}
	return Spec{CondaFile: e.CondaFile, Image: e.Image, KeepPlatform: switches.PlatformPackages, SourceBuilds: switches.SourceBuilds}, nil
}

// Plan is what a spec comes to: what to resolve, and for which Python.
type Plan struct {
	Python Pin
	// Requirements are pip requirements, one each, in the order written.
	Requirements []string
	// Constraints are requirements that only bound versions.
	Constraints []string
	// SourceBuilds has packages without a wheel built from source.
	SourceBuilds bool
	// Options are the lines for pip that say where to look, in order. They may
	// hold passwords.
	Options []string
	// Vars are environment variables for the script.
	Vars map[string]string
}

// Parse reads a spec. The notices are sentences for the user about what was
// left out or is done another way. What cannot be honoured is refused, all of
// it in one error that names each thing.
func Parse(s Spec) (Plan, []string, error) {
	p := &planner{keepPlatform: s.KeepPlatform}
	p.plan.Vars, p.plan.SourceBuilds = map[string]string{}, s.SourceBuilds
	if len(s.CondaFile)+len(s.Requirements)+size(s.Constraints) > maxSpecBytes {
		return Plan{}, nil, sluice.Errorf(sluice.CodeTooLarge, "the environment is described in more than %d KiB", maxSpecBytes>>10)
	}
	alias, err := resolveImage(s.Image)
	if err != nil {
		return Plan{}, nil, err
	}
	if s.CondaFile == "" && s.Requirements == "" && len(s.Pip) == 0 {
		p.requirementLines(strings.Join(alias.pip, "\n"), "image "+s.Image)
	}
	if s.CondaFile != "" {
		if err := p.conda(s.CondaFile); err != nil {
			return Plan{}, nil, err
		}
	}
	p.requirementLines(s.Requirements, "requirements")
	p.requirementLines(strings.Join(s.Pip, "\n"), "pip")
	p.constraintLines(s.Constraints)
	for _, pin := range []string{s.Python, alias.python} {
		if len(p.plan.Python.clauses) > 0 || pin == "" {
			continue
		}
		if p.plan.Python, err = parsePin(pin); err != nil {
			return Plan{}, nil, err
		}
	}
	slices.Sort(p.left)
	p.left = slices.Compact(p.left)
	p.leftOut()
	p.stead(s.Imports)
	p.serve(s.Server)
	return p.result()
}

func size(lines []string) (n int) {
	for _, l := range lines {
		n += len(l)
	}
	return n
}

// planner collects a plan and everything to say about it.
type planner struct {
	plan         Plan
	keepPlatform bool
	notices      []string
	left         []string // the platform's own packages, left out
	refusals     []refusal
}

// refusal is one thing in a spec that cannot be honoured.
type refusal struct {
	code   sluice.Code
	line   int // in the conda file; 0 when elsewhere
	what   string
	reason string
}

func (p *planner) notice(format string, args ...any) {
	p.notices = append(p.notices, fmt.Sprintf(format, args...))
}

func (p *planner) refuse(code sluice.Code, line int, what, format string, args ...any) {
	p.refusals = append(p.refusals, refusal{code, line, what, fmt.Sprintf(format, args...)})
}

func (p *planner) result() (Plan, []string, error) {
	if len(p.refusals) > 0 {
		return Plan{}, nil, refused(p.refusals)
	}
	if len(p.plan.Requirements)+len(p.plan.Constraints) > maxRequirements {
		return Plan{}, nil, sluice.Errorf(sluice.CodeTooLarge, "the environment asks for more than %d packages", maxRequirements)
	}
	return p.plan, p.notices, nil
}

// refused makes one error of everything that was refused.
func refused(list []refusal) error {
	first := list[0]
	e := &sluice.Error{Code: first.code, Target: "environment"}
	cause := &sluice.Cause{Code: sluice.CauseUnresolvable}
	if first.line > 0 {
		cause.File, cause.Line = "conda_file", first.line
	}
	for _, r := range list {
		cause.Evidence = append(cause.Evidence, fmt.Sprintf("%s: %s", r.what, r.reason))
		if r.code == sluice.CodeInvalid {
			e.Code = sluice.CodeInvalid
		}
	}
	cause.Message = "the environment cannot be made: " + strings.Join(cause.Evidence, "; ")
	e.Message, e.Cause = cause.Message, cause
	if first.code == sluice.CodeNotBuilt {
		e.Hint = "take them out, or put the Python package that stands for them below pip:"
	} else {
		e.Hint = "correct the lines named"
	}
	cause.Hint = e.Hint
	return e
}
