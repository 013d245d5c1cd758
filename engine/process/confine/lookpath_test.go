package confine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"a/tool": 0o755, "b/tool": 0o755, "b/plain": 0o644, "c/plain": 0o755, "d/e/tool": 0o755} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, mode)); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		name, path, want string
		err              error
	}{
		{"tool", in("a") + ":" + in("b"), in("a/tool"), nil},
		{"tool", in("none") + ":" + in("b"), in("b/tool"), nil},
		{"tool", "::" + in("b"), in("b/tool"), nil}, // an empty entry is not the folder it starts in
		{"tool", "a", in("a/tool"), nil},            // one that is not absolute is of the command's folder
		{"e", in("d"), "", fs.ErrNotExist},          // a folder is no program
		{"plain", in("b") + ":" + in("c"), in("c/plain"), nil},
		{"plain", in("b"), "", fs.ErrPermission},
		{"tool", "", "", fs.ErrNotExist},
		{"./tool", "", "./tool", nil},
		{"/x/tool", "", "/x/tool", nil},
	} {
		got, err := LookPath(tt.name, tt.path, dir)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("LookPath(%q, %q) = %q, %v, want %q, %v", tt.name, tt.path, got, err, tt.want, tt.err)
		}
	}
}
