package serve

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/environment"
	"github.com/sluice-ml/sluice/reconcile"
)

// uploaded puts texts by path into a store and gives their tree.
func uploaded(t *testing.T, s *artifact.Store, files map[string]string) string {
	t.Helper()
	var tree sluice.Tree
	for path, text := range files {
		digest := sluice.DigestBytes([]byte(text))
		if err := s.PutBlob(t.Context(), digest, int64(len(text)), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		tree.Files = append(tree.Files, sluice.TreeFile{Path: path, Size: int64(len(text)), Digest: digest})
	}
	tree.Sort()
	digest, err := s.PutTree(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// TestSpec puts together what an environment is made from.
func TestSpec(t *testing.T) {
	artifacts, err := artifact.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := newBuilder(nil, artifacts, nil)
	code := uploaded(t, artifacts, map[string]string{"score.py": "import flask, own\n", "own.py": ""})
	other := uploaded(t, artifacts, map[string]string{"score.py": "import requests\n"})
	model := &sluice.Model{Meta: sluice.Meta{Name: "iris", Version: "3"}, Type: sluice.ModelMLflow,
		Content: sluice.Content{Tree: uploaded(t, artifacts, map[string]string{"MLmodel": "", "requirements.txt": "scipy\n"})}}
	served := &sluice.Model{Meta: sluice.Meta{Name: "iris", Version: "4"}, Type: sluice.ModelMLflow,
		Content: sluice.Content{Tree: uploaded(t, artifacts, map[string]string{"requirements.txt": "scipy\n",
			"MLmodel": "flavors: {python_function: {loader_module: a}}\nmlflow_version: 3.17.2\n"})}}
	env := &sluice.Environment{Image: "python:3.11", CondaFile: "dependencies: []\n", Meta: sluice.Meta{Tags: map[string]string{sluice.TagPlatformPackages: "install"}}}
	for name, c := range map[string]struct {
		needs   reconcile.Needs
		want    environment.Spec
		notices []string
	}{
		"environment": {reconcile.Needs{Environment: env, Model: model, Code: code, Lock: "l"},
			environment.Spec{Image: "python:3.11", CondaFile: "dependencies: []\n", KeepPlatform: true, Imports: []string{"flask"}, Lock: "l"}, nil},
		"model": {reconcile.Needs{Model: model, Code: other}, environment.Spec{Requirements: "scipy\n\n", Imports: []string{"requests"}},
			[]string{"the environment is the one that model iris:3 brings (requirements.txt)"}},
		"model alone": {reconcile.Needs{Model: served}, environment.Spec{Requirements: "scipy\n\n", Server: []string{"mlflow-skinny==3.17.2", "pandas"}},
			[]string{"the environment is the one that model iris:4 brings (requirements.txt)"}},
		"model with an environment": {reconcile.Needs{Model: served, Environment: env, Lock: "l"}, environment.Spec{Image: "python:3.11", CondaFile: "dependencies: []\n",
			KeepPlatform: true, Lock: "l", Server: []string{"mlflow-skinny==3.17.2", "pandas"}}, nil},
	} {
		for range 2 { // the second time from what is remembered
			spec, notices, err := b.spec(t.Context(), c.needs)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, spec); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			if diff := cmp.Diff(c.notices, notices); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
	if _, _, err := b.spec(t.Context(), reconcile.Needs{Code: code}); sluice.ErrorCode(err) != sluice.CodeInvalid {
		t.Errorf("neither environment nor model: %v", err)
	}
	for name, m := range map[string]*sluice.Model{"no model": nil, "a model that cannot be served": model} {
		if _, _, err := b.spec(t.Context(), reconcile.Needs{Environment: env, Model: m}); sluice.ErrorCode(err) != sluice.CodeInvalid {
			t.Errorf("%s without a script: %v", name, err)
		}
	}
	if _, _, err := b.spec(t.Context(), reconcile.Needs{Environment: env, Code: sluice.DigestBytes(nil)}); err == nil {
		t.Error("code that is not there was read")
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	fresh := newBuilder(nil, artifacts, nil)
	if _, _, err := fresh.spec(stopped, reconcile.Needs{Environment: env, Code: code}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if spec, _, err := fresh.spec(t.Context(), reconcile.Needs{Environment: env, Code: code}); err != nil || len(spec.Imports) != 1 {
		t.Errorf("afterwards: %v, %v", spec.Imports, err)
	}
}
