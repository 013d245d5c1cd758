package api

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// checkScript refuses a deployment whose scoring script is not in its code.
// What is in the script the deployment's own interpreter judges, in the
// instance: the text is a stranger's, and no parser reads it in this process.
func (s *server) checkScript(r *request, code *sluice.CodeConfiguration) error {
	ref, err := sluice.ParseRef(code.Code)
	if err != nil {
		return err
	}
	v, err := get[*sluice.CodeVersion](r.Context(), s, sluice.Key{Workspace: r.scope.Workspace, Kind: sluice.KindCode, Name: ref.Name, Version: ref.Version})
	if err != nil || v.Content.Tree == "" {
		return err
	}
	tree, err := s.Artifacts.GetTree(r.Context(), v.Content.Tree)
	if err != nil {
		return err
	}
	return missingScript(code.ScoringScript, v.Content.Base, tree)
}

// missingScript says that the script is not in the tree, which stood on
// somebody's machine as folder; nil when it is.
func missingScript(script, folder string, tree sluice.Tree) error {
	wanted := path.Clean(script)
	var scripts, same []string
	for _, f := range tree.Files {
		if f.Path == wanted {
			return nil
		}
		if path.Ext(f.Path) == ".py" {
			scripts = append(scripts, f.Path)
			if path.Base(f.Path) == path.Base(wanted) {
				same = append(same, f.Path)
			}
		}
	}
	message := fmt.Sprintf("scoring_script %s is not a file in the code folder %s: it does not exist", script, folder)
	if slices.ContainsFunc(tree.Files, func(f sluice.TreeFile) bool { return strings.HasPrefix(f.Path, wanted+"/") }) {
		message = fmt.Sprintf("scoring_script %s is not a file in the code folder %s: it is a folder", script, folder)
	}
	near := same
	if len(near) == 0 {
		near = sluice.Nearest(wanted, scripts, 2)
	}
	hint := "the code folder has no Python file"
	switch {
	case len(near) > 0:
		hint = "did you mean " + strings.Join(near[:min(2, len(near))], " or ") + "?"
	case len(scripts) > 0:
		hint = "the code folder has " + strings.Join(scripts[:min(10, len(scripts))], ", ")
	}
	cause := sluice.Cause{Code: sluice.CauseFileMissing, Message: message, Hint: hint}.Clean()
	return &sluice.Error{Code: sluice.CodeInvalid, Target: "code_configuration.scoring_script",
		Message: cause.Message, Hint: cause.Hint, Cause: &cause}
}
