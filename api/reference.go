package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-ml/sluice"
)

// resolveReferences checks that what a deployment refers to exists, and
// replaces labels by the versions they stand for now: a deployment keeps
// meaning the same when a newer version comes.
func (s *server) resolveReferences(r *request, spec *sluice.Spec) error {
	var err error
	if spec.Model, err = s.resolve(r, sluice.KindModel, "model", spec.Model); err != nil {
		return err
	}
	if spec.Code != nil {
		if spec.Code.Code, err = s.resolve(r, sluice.KindCode, "code_configuration.code", spec.Code.Code); err != nil {
			return err
		}
		err = s.checkScript(r, spec.Code)
	} else {
		err = s.modelServesItself(r, spec.Model)
	}
	if err != nil {
		return err
	}
	if spec.Environment == "" {
		return s.modelBringsEnvironment(r, spec.Model)
	}
	spec.Environment, err = s.resolveEnvironment(r, spec.Environment)
	return err
}

// modelOf reads the model that a deployment refers to.
func (s *server) modelOf(r *request, model string) (*sluice.Model, sluice.Ref, error) {
	ref, err := sluice.ParseRef(model)
	if err != nil {
		return nil, ref, err
	}
	m, err := get[*sluice.Model](r.Context(), s, sluice.Key{Workspace: r.scope.Workspace, Kind: sluice.KindModel, Name: ref.Name, Version: ref.Version})
	return m, ref, err
}

// modelServesItself refuses a deployment without a script, unless its model is
// one of MLflow, which says itself how it is called.
func (s *server) modelServesItself(r *request, model string) error {
	m, ref, err := s.modelOf(r, model)
	switch {
	case err != nil:
		return err
	case m.Type == sluice.ModelMLflow:
		return nil
	case m.Type == sluice.ModelTriton:
		return notBuilt("code_configuration", fmt.Sprintf("serving model %s of type triton_model without code_configuration", ref)).
			WithHint("add code_configuration with code and scoring_script")
	}
	return &sluice.Error{Code: sluice.CodeInvalid, Target: "code_configuration",
		Message: fmt.Sprintf("the deployment has no code_configuration, and its model %s is no mlflow_model, which is served without a script", ref),
		Hint:    "add code_configuration with code and scoring_script, or register the model with type: mlflow_model"}
}

// modelBringsEnvironment refuses a deployment without an environment, unless
// its model says itself what it needs.
func (s *server) modelBringsEnvironment(r *request, model string) error {
	m, ref, err := s.modelOf(r, model)
	if err != nil || m.Type == sluice.ModelMLflow {
		return err
	}
	return &sluice.Error{Code: sluice.CodeInvalid, Target: "environment",
		Message: fmt.Sprintf("the deployment has no environment, and its model %s is no mlflow_model, which would say what it needs", ref),
		Hint:    "add environment with image and conda_file"}
}

// resolve gives a reference with the version it means; "" stays "".
func (s *server) resolve(r *request, kind sluice.Kind, field, text string) (string, error) {
	if text == "" {
		if kind == sluice.KindCode {
			return "", &sluice.Error{Code: sluice.CodeInvalid, Target: field, Message: field + " is missing"}
		}
		return "", nil
	}
	ref, err := sluice.ParseRef(text)
	if err != nil {
		return "", err
	}
	if ref.Registry != "" {
		return "", notBuilt(field, fmt.Sprintf("%s %s: a %s of a registry", field, text, kind)).
			WithHint("register it in the workspace and refer to it as azureml:<name>:<version>")
	}
	version, err := s.versionOf(r.Context(), r.scope.Workspace, kind, ref)
	if err != nil {
		if e, ok := errors.AsType[*sluice.Error](err); ok {
			e.Target = field
		}
		return "", err
	}
	return version.String(), s.keepContent(r.Context(), r.scope.Workspace, kind, field, version)
}

// keepContent sees that the content of a version is here, and stays while the
// request that refers to it is carried out. What was made for one deployment
// may have gone after it.
func (s *server) keepContent(ctx context.Context, workspace string, kind sluice.Kind, field string, ref sluice.Ref) error {
	res, err := s.Store.Get(ctx, sluice.Key{Workspace: workspace, Kind: kind, Name: ref.Name, Version: ref.Version})
	if err != nil {
		return err
	}
	here, err := s.hasContent(ctx, res)
	if err != nil || here {
		return err
	}
	message := fmt.Sprintf("the files of %s %s are no longer here", kind, ref)
	hint := "upload them again: deploy from the folder, not from a reference to what was made for another deployment"
	return &sluice.Error{Code: sluice.CodeInvalid, Message: message, Hint: hint, Target: field,
		Cause: &sluice.Cause{Code: sluice.CauseReference, Message: message, Hint: hint}}
}

// hasContent reports whether the files of a version are here, and keeps them
// for a while if so.
func (s *server) hasContent(ctx context.Context, res sluice.Resource) (bool, error) {
	var tree string
	switch a := res.(type) {
	case *sluice.Model:
		tree = a.Content.Tree
	case *sluice.CodeVersion:
		tree = a.Content.Tree
	}
	if tree == "" {
		return true, nil
	}
	return s.Artifacts.HasTree(ctx, tree)
}

// versionOf gives the reference with its version set and its name as it was
// registered, or a CodeInvalid error with CauseReference that names the
// versions there are.
func (s *server) versionOf(ctx context.Context, workspace string, kind sluice.Kind, ref sluice.Ref) (sluice.Ref, error) {
	versions, err := s.versions(ctx, workspace, kind, ref.Name)
	if err != nil {
		return ref, err
	}
	for _, v := range versions {
		hidden, archived := assetFlags(v)
		m := v.Header()
		if strings.EqualFold(m.Version, ref.Version) && ref.Version != "" ||
			strings.EqualFold(ref.Label, "latest") && !*hidden && !*archived {
			return sluice.Ref{Name: m.Name, Version: m.Version}, nil
		}
	}
	return ref, s.noReference(ctx, workspace, kind, ref, versions)
}

// noReference explains why a reference leads nowhere.
func (s *server) noReference(ctx context.Context, workspace string, kind sluice.Kind, ref sluice.Ref, versions []sluice.Resource) error {
	message := fmt.Sprintf("%s %s does not exist", kind, ref)
	hint := ""
	switch {
	case len(versions) == 0:
		near, err := s.nearestAssets(ctx, workspace, kind, ref.Name)
		if err != nil {
			return err
		}
		hint = fmt.Sprintf("register it with `sluice %s create`", kind)
		if len(near) > 0 {
			hint = fmt.Sprintf("did you mean %s?", strings.Join(near, " or "))
		}
	case ref.Version == "" && ref.Label == "":
		message = fmt.Sprintf("%s %s names no version", kind, ref)
		hint = fmt.Sprintf("write azureml:%s:<version> or azureml:%s@latest; there is %s", ref.Name, ref.Name, someVersions(versions))
	case ref.Label != "" && !strings.EqualFold(ref.Label, "latest"):
		hint = fmt.Sprintf("the only label is latest; there is %s", someVersions(versions))
	default:
		hint = fmt.Sprintf("there is %s", someVersions(versions))
	}
	return &sluice.Error{Code: sluice.CodeInvalid, Message: message, Hint: hint,
		Cause: &sluice.Cause{Code: sluice.CauseReference, Message: message, Hint: hint}}
}

// someVersions names the versions, newest first, as many as are easily read.
func someVersions(versions []sluice.Resource) string {
	const most = 10
	var names []string
	for _, v := range versions[:min(most, len(versions))] {
		names = append(names, v.Header().Version)
	}
	text := "version " + strings.Join(names, ", ")
	if more := len(versions) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d older", more)
	}
	return text
}

func (s *server) nearestAssets(ctx context.Context, workspace string, kind sluice.Kind, name string) ([]string, error) {
	const enough = 1000
	page, err := s.Store.List(ctx, sluice.Query{Workspace: workspace, Kind: sluice.ContainerKind(kind), Limit: enough})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range page.Items {
		names = append(names, c.Header().Name)
	}
	return sluice.Nearest(name, names, 3), nil
}

// resolveEnvironment resolves a reference to an environment. One of a registry
// becomes a hidden environment of the workspace, when it is known what it
// stands for.
func (s *server) resolveEnvironment(r *request, text string) (string, error) {
	ref, err := sluice.ParseRef(text)
	if err != nil {
		return "", err
	}
	if e, ok := s.Aliases(ref); ok {
		ref, err = s.adopt(r, ref, e)
		return ref.String(), err
	}
	if ref.Registry != "" {
		hint := "write your own environment with image and conda_file"
		if len(s.AliasNames) > 0 {
			hint = "these are known: " + strings.Join(s.AliasNames, ", ")
		}
		message := "environment " + text + " is not known here"
		return "", &sluice.Error{Code: sluice.CodeInvalid, Target: "environment", Message: message, Hint: hint,
			Cause: &sluice.Cause{Code: sluice.CauseReference, Message: message, Hint: hint}}
	}
	text, err = s.resolve(r, sluice.KindEnvironment, "environment", text)
	if err != nil {
		return "", err
	}
	if ref, err = sluice.ParseRef(text); err != nil {
		return "", err
	}
	e, err := get[*sluice.Environment](r.Context(), s,
		sluice.Key{Workspace: r.scope.Workspace, Kind: sluice.KindEnvironment, Name: ref.Name, Version: ref.Version})
	if err != nil {
		return "", err
	}
	return text, refuseEnvironment(e)
}

// adopt keeps the definition behind a registry's environment in the workspace,
// under a name made of its own content.
func (s *server) adopt(r *request, ref sluice.Ref, definition *sluice.Environment) (sluice.Ref, error) {
	e := *definition
	digest := strings.TrimPrefix(sluice.DigestBytes([]byte(e.Image+"\x00"+e.CondaFile)), "sha256:")
	e.Meta = sluice.Meta{UID: newUID(), Workspace: r.scope.Workspace, Name: ref.Name, Version: "registry-" + digest[:16]}
	e.Hidden = true
	_, err := s.Store.Commit(r.Context(), sluice.Change{Actor: r.actor, Put: []sluice.Resource{&e}})
	if sluice.ErrorCode(err) == sluice.CodeExists {
		err = nil
	}
	return sluice.Ref{Name: e.Name, Version: e.Version}, err
}
