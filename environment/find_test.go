package environment

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFindPythons looks for the same Pythons again and again while they come
// and go, in a folder that was left alone for a while and in one that was not.
func TestFindPythons(t *testing.T) {
	old, home := t.TempDir(), t.TempDir()
	find := findPythons(func(name string) string {
		return map[string]string{"PATH": old + string(filepath.ListSeparator) + filepath.Join(home, "shims"), "HOME": home}[name]
	})
	ours := func() []string {
		var found []string
		for _, p := range find() {
			for _, root := range []string{old, home} {
				if rel, err := filepath.Rel(root, p); err == nil && filepath.IsLocal(rel) {
					found = append(found, rel)
				}
			}
		}
		return found
	}
	place := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	place(filepath.Join(old, "python3.11"))
	place(filepath.Join(old, "python3.11-config"))
	place(filepath.Join(home, "shims", "python3"))
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if diff := cmp.Diff([]string{"python3.11"}, ours()); diff != "" {
			t.Error(diff)
		}
	}
	place(filepath.Join(old, "python3.12"))
	pyenv := filepath.Join(".pyenv", "versions", "3.10.1", "bin", "python3.10")
	place(filepath.Join(home, pyenv))
	if diff := cmp.Diff([]string{"python3.11", "python3.12", pyenv}, ours()); diff != "" {
		t.Error(diff)
	}
	if err := os.Remove(filepath.Join(old, "python3.11")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"python3.12", pyenv}, ours()); diff != "" {
		t.Error(diff)
	}
}
