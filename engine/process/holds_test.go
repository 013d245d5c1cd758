//go:build linux || darwin

package process

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sluice-ml/sluice/engine"
)

// holds reports whether something holds the tree and the environment.
func holds(t *testing.T, e *Engine, tree, env string) bool {
	t.Helper()
	held, err := e.Holds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(held, func(h engine.Held) bool { return h.EnvDir == env && slices.Contains(h.Trees, tree) })
}

func TestHoldsWhatRunsAndWhatIsWanted(t *testing.T) {
	s := newState(t)
	e := s.open(t)
	w := workload(t, "w", engine.RestartAlways, "wait")
	env := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(env, "bin"), 0o755), os.Symlink("/bin/sh", filepath.Join(env, "bin", "python"))); err != nil {
		t.Fatal(err)
	}
	w.Template.EnvDir = env
	tree := s.tree(t, map[string]string{"a": "b"})
	w.Template.Files = []engine.File{{Digest: tree, Path: "/a"}}
	ensure(t, e, w, 1)
	i := one(t, e, "w")
	if !holds(t, e, tree, env) {
		t.Error("what runs is not held")
	}
	// A copy that ends holds its files until it has ended, wanted or not.
	if err := os.Remove(e.workloadFile("w")); err != nil {
		t.Fatal(err)
	}
	if !holds(t, e, tree, env) {
		t.Error("what runs without being wanted is not held")
	}
	if err := e.writeWorkload(wanted{Workload: w}); err != nil {
		t.Fatal(err)
	}
	until(t, "the copy to end", func() bool { return get(t, e, i.ID).Phase.Ended() })
	if !holds(t, e, tree, env) {
		t.Error("what is wanted without running is not held")
	}
	if err := e.Remove(t.Context(), 1, "w"); err != nil {
		t.Fatal(err)
	}
	until(t, "nothing to be held", func() bool { return !holds(t, e, tree, env) })
}

func TestHoldsRefusesToGuess(t *testing.T) {
	e := newState(t).open(t)
	dir := filepath.Join(e.dir, "broken")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, templateFile)
	if err := os.WriteFile(path, []byte(`{"files": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	if held, err := e.Holds(t.Context()); err == nil {
		t.Errorf("with a template that cannot be read it holds %v", held)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Holds(t.Context()); err != nil {
		t.Error(err)
	}
}
