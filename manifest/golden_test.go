package manifest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sluice-ml/sluice"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden reads the manifests of testdata. Each archive's comment holds the
// commands, one a line: the kind, the file ("-" for none) and flags. What they
// give stands in the archive as "want".
func TestGolden(t *testing.T) {
	folder, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	archives, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runArchive(t, archive)
			want := ""
			for i, f := range archive.Files {
				if f.Name != "want" {
					continue
				}
				want = string(f.Data)
				archive.Files[i].Data = []byte(got)
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func runArchive(t *testing.T, archive *txtar.Archive) string {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, f := range archive.Files {
		if f.Name == "want" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(f.Name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(string(archive.Comment)), "\n") {
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		fmt.Fprintf(&b, "$ %s\n%s", line, runLine(t, line))
	}
	return strings.ReplaceAll(b.String(), dir, "$DIR")
}

func runLine(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	in := Input{File: words[1]}
	if in.File == "-" {
		in.File = ""
	}
	for i := 2; i < len(words); i++ {
		var p Patch
		var err error
		switch words[i] {
		case "--set":
			i++
			p, err = ParseSet(words[i], false)
		case "--force-string":
			i++
			p, err = ParseSet(words[i], true)
		case "--add":
			p, err = ParseAdd(words[i+1:], false)
			i = len(words)
		case "--remove":
			p, err = ParseRemove(words[i+1:])
			i = len(words)
		case "--skip-script":
			in.SkipScript = true
			continue
		case "--base":
			i++
			in.Base = baseDoc(t, words[0], words[i])
			continue
		default:
			i++
			property := strings.ReplaceAll(strings.TrimPrefix(words[i-1], "--"), "-", "_")
			in.Overrides = append(in.Overrides, Override{Flag: words[i-1], Property: property, Value: words[i]})
			continue
		}
		if err != nil {
			return report(nil, err)
		}
		in.Patches = append(in.Patches, p)
	}
	doc, warnings, err := readDoc(words[0], in)
	if err != nil {
		return report(warnings, err)
	}
	return report(warnings, nil) + string(doc.YAML())
}

// baseDoc reads a manifest as if it were the current object.
func baseDoc(t *testing.T, kind, file string) Doc {
	t.Helper()
	doc, _, err := readDoc(kind, Input{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// readDoc reads a manifest of a kind and shows what came of it.
func readDoc(kind string, in Input) (Doc, []Warning, error) {
	switch kind {
	case "endpoint":
		e, w, err := ReadEndpoint(in)
		if err != nil {
			return nil, w, err
		}
		return EndpointDoc(&e.Endpoint, Output{}), w, nil
	case "model":
		m, w, err := ReadModel(in)
		if err != nil {
			return nil, w, err
		}
		return append(ModelDoc(&m.Model, Output{}), localField("local", m.Local)...), w, nil
	case "environment":
		e, w, err := ReadEnvironment(in)
		if err != nil {
			return nil, w, err
		}
		return EnvironmentDoc(&e.Environment, Output{}), w, nil
	case "deployment":
		d, w, err := ReadDeployment(in)
		if err != nil {
			return nil, w, err
		}
		doc := DeploymentDoc(&d.Deployment, d.Count, Output{})
		doc = append(doc, localField("local code", d.Code)...)
		if d.Model != nil {
			doc = append(doc, Field{"inline model", append(ModelDoc(&d.Model.Model, Output{}), localField("local", d.Model.Local)...)})
		}
		if d.Environment != nil {
			doc = append(doc, Field{"inline environment", EnvironmentDoc(&d.Environment.Environment, Output{})})
		}
		return doc, w, nil
	}
	return nil, nil, fmt.Errorf("unknown kind %s", kind)
}

func localField(name string, l *Local) Doc {
	if l == nil {
		return nil
	}
	return Doc{{name, Doc{{"path", l.Path}, {"base", l.Base}, {"dir", l.Dir}}}}
}

func report(warnings []Warning, err error) string {
	var b strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	var causes Causes
	var e *sluice.Error
	switch {
	case errors.As(err, &causes):
		for _, c := range causes {
			fmt.Fprintf(&b, "%s: %s\n", c.Code, c)
			if c.Hint != "" {
				fmt.Fprintf(&b, "  hint: %s\n", c.Hint)
			}
		}
		fmt.Fprintf(&b, "code: %s\n", sluice.ErrorCode(err))
	case errors.As(err, &e):
		fmt.Fprintf(&b, "%s: %s\n", e.Code, e)
	case err != nil:
		fmt.Fprintf(&b, "internal: %s\n", err)
	}
	return b.String()
}
