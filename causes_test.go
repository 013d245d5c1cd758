package sluice_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	causeConst = regexp.MustCompile(`(?m)^\t(Cause\w+) +(?:CauseCode +)?= "(\w+)"`)
	causeRow   = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| [^|]+ \\| [^|]*`[^|]+`[^|]* \\| [^|]+ \\|$")
)

// Every cause that something makes stands in docs/causes.md with an example and
// a next step, and nothing else does.
func TestCausesAreDocumented(t *testing.T) {
	source, err := os.ReadFile("cause.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{} // by constant
	known := map[string]bool{}
	for _, m := range causeConst.FindAllStringSubmatch(string(source), -1) {
		codes[m[1]], known[m[2]] = m[2], true
	}
	if len(codes) < 30 {
		t.Fatalf("cause.go has %d codes: is it read as it is written?", len(codes))
	}
	page, err := os.ReadFile("docs/causes.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, m := range causeRow.FindAllStringSubmatch(string(page), -1) {
		if rows[m[1]] {
			t.Errorf("docs/causes.md has %s twice", m[1])
		}
		if rows[m[1]] = true; !known[m[1]] {
			t.Errorf("docs/causes.md has %s, which is no cause", m[1])
		}
	}
	text := product(t)
	for name, code := range codes {
		made := strings.Contains(text, "sluice."+name) || strings.Contains(text, `"code": "`+code+`"`)
		if made && !rows[code] {
			t.Errorf("docs/causes.md has no row, or no whole one, for %s", code)
		}
	}
}

// product gives all that makes causes, in Go and in Python, as one text.
func product(t *testing.T) string {
	var b strings.Builder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "tests" || d.Name() == "testdata" || d.Name() == "bench"):
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go") || filepath.Ext(path) != ".go" && filepath.Ext(path) != ".py":
			return nil
		}
		text, err := os.ReadFile(path)
		b.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
