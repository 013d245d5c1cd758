package manifest

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// seed adds every file of the golden archives.
func seed(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		f.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name != "want" {
				f.Add(file.Data)
			}
		}
	}
}

// FuzzYAML checks that whatever is read can be written and read again as the
// same, and that what cannot be read is refused in a short message.
func FuzzYAML(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := parse("f.yml", text)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			return
		}
		written := n.sorted().yaml()
		again, err := parse("g.yml", written)
		if err != nil {
			if strings.Contains(err.Error(), "longer than") || strings.Contains(err.Error(), "deeper than") ||
				strings.Contains(err.Error(), "too many parts") || strings.Contains(err.Error(), "larger than") {
				return // quoting and indenting can cross a bound
			}
			t.Fatalf("%v\n%q\nwritten as\n%q", err, text, written)
		}
		if got := again.sorted().yaml(); !bytes.Equal(got, written) {
			t.Errorf("%q\nwritten as\n%q\nthen as\n%q", text, written, got)
		}
	})
}

// FuzzRead hands anything to every reader: none may panic, and what one
// accepts must be accepted as it is shown.
func FuzzRead(f *testing.F) {
	seed(f)
	file := filepath.Join(f.TempDir(), "f.yml") // in an empty folder
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("/")) {
			return // stay in the empty folder
		}
		for _, kind := range []string{"endpoint", "deployment", "model", "environment"} {
			doc, _, err := readDoc(kind, Input{File: file, Text: text})
			if err != nil || doc.Get("local") != nil || doc.Get("local code") != nil || doc.Get("inline model") != nil || doc.Get("inline environment") != nil {
				continue
			}
			if _, _, err := readDoc(kind, Input{File: file, Text: doc.YAML()}); err != nil {
				t.Errorf("%s %q is shown as\n%s\nwhich is refused: %v", kind, text, doc.YAML(), err)
			}
		}
	})
}

// FuzzPatch applies any --set, --add and --remove.
func FuzzPatch(f *testing.F) {
	for _, arg := range []string{"a.b[0].c=1", `properties."a.b"=[1,{"x":null}]`, "tags=", "a[0]=x", "tags t=u", "traffic={\"blue\":100}", "l 0", strings.Repeat("\x82", 200), "a.b=\xff"} {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		doc := Doc{{"a", Doc{{"b", []any{1, "x"}}}}, {"l", []any{"x", "y"}}, {"s", "x"}, {"tags", map[string]string{"t": "u"}}}
		for _, force := range []bool{false, true} {
			set, setErr := ParseSet(arg, force)
			add, addErr := ParseAdd(strings.Fields(arg), force)
			remove, removeErr := ParseRemove(strings.Fields(arg))
			for _, p := range []struct {
				patch Patch
				err   error
			}{{set, setErr}, {add, addErr}, {remove, removeErr}} {
				if p.err != nil {
					continue
				}
				root := doc.node()
				if err := p.patch.apply(root); err != nil {
					continue
				}
				if _, err := parse("", root.yaml()); err != nil && !strings.Contains(err.Error(), "longer than") && !strings.Contains(err.Error(), "deeper than") {
					t.Errorf("after %q: %v\n%s", arg, err, root.yaml())
				}
			}
		}
	})
}
