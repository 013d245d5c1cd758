package sluice_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sluice-ml/sluice"

// mayImport says which of our own packages each package may import, tests
// aside. The reasons are what the shape promises: siblings speak in domain
// types and do not know one another, so that any of them can be replaced.
var mayImport = map[string][]string{
	".":                            {},                             // the domain depends on nothing
	"manifest":                     {"."},                          // YAML people write, nothing of servers
	"store":                        {".", "disk"},                  // so that a third database is only a file
	"store/storetest":              {".", "store"},                 // the store's conformance suite
	"artifact":                     {".", "disk"},                  // likewise for buckets
	"artifact/artifacttest":        {".", "artifact"},              // the suite every bucket passes
	"environment":                  {".", "disk"},                  // knows packages, not deployments
	"engine":                       {},                             // has never heard of endpoints
	"engine/enginetest":            {"engine", "engine/supervise"}, // the suite and an engine in memory
	"engine/supervise":             {"engine"},                     // keeps copies alive for engines that cannot
	"engine/process":               {"disk", "engine", "engine/supervise", "engine/process/cgroup", "engine/process/confine", "engine/process/shim"},
	"engine/process/cgroup":        {},                                                            // as does this
	"engine/process/vmtest":        {},                                                            // any program in a machine of its own
	"engine/process/vmtest/vminit": {},                                                            // the first process there
	"engine/process/confine":       {"engine/process/cgroup"},                                     // as does this
	"engine/process/shim":          {"engine", "engine/process/cgroup", "engine/process/confine"}, // goes into the runner: stays tiny
	"probe":                        {},                                                            // the same for every engine
	"reconcile":                    {".", "disk", "engine", "probe"},
	"gateway":                      {".", "disk", "identity/verify"},         // never asks anybody: no store, no api
	"feed":                         {"."},                                    // both ends of the routes stream
	"scoring":                      {".", "scoring/frame", "scoring/script"}, // goes into the runner
	"scoring/frame":                {},
	"scoring/script":               {"."}, // goes into both programs: stays tiny
	"identity":                     {".", "disk", "identity/verify"},
	"identity/verify":              {}, // pure checking, for the hot path
	"arm":                          {"."},
	"api":                          {".", "arm"},                                                      // what it needs of the rest it declares itself
	"backup":                       {".", "artifact", "collect", "disk", "home", "identity", "store"}, // all that is kept, and what of it is needed
	"disk":                         {"."},                                                             // room, and what a disk refuses as a cause, for everybody who writes
	"smalldisk":                    {},                                                                // a disk to be filled, for tests
	"killpoint":                    {},                                                                // any program, stopped at a chosen step, for tests
	"home":                         {".", "disk"},
	"handover":                     {},
	"cmd/sluice/internal/parent":   {".", "disk", "handover", "home"},
	"cmd/sluice/internal/args":     {"."},
	"cmd/sluice/internal/output":   {"."},
	"cmd/sluice/internal/progress": {"."},
	"cmd/sluice/internal/serve":    nil, // the composition of the two processes
	"bench":                        nil, // measures everything; nothing imports it
	"bench/loss":                   {},  // callers from outside, for tests as well
	"cmd/sluice":                   nil, // the only places where everything is put together
	"cmd/sluice-runner":            nil,

	// It knows what of both is needed by what.
	"collect": {".", "artifact", "disk", "engine", "environment"},
}

// heavy libraries stay in one leaf each: what they cost in start-up, memory
// and reading is paid where they are needed and nowhere else.
var onlyIn = map[string][]string{
	"modernc.org/sqlite":                  {"store"},
	"github.com/landlock-lsm/go-landlock": {"engine/process/confine"},
	"golang.org/x/net/bpf":                {"engine/process/confine"},
	"github.com/jackc/pgx/v5":             {"store", "store/storetest"},
	"github.com/pressly/goose/v3":         {"store"},
	"github.com/spf13/cobra":              {"cmd/sluice"},
	"github.com/jmespath-community":       {"cmd/sluice/internal/output"},
	"github.com/Azure":                    {}, // only tests: clients we did not write
	"github.com/goccy/go-yaml":            {"manifest", "home", "environment", "cmd/sluice", "cmd/sluice/internal/output"},
}

type listed struct {
	ImportPath, Doc string
	Imports         []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func short(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func TestDependencies(t *testing.T) {
	for _, p := range packages(t) {
		name := short(p.ImportPath)
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the table: say what it may import, and why", name)
			continue
		}
		for _, i := range p.Imports {
			if own := i == module || strings.HasPrefix(i, module+"/"); own && allowed != nil && !slices.Contains(allowed, short(i)) {
				t.Errorf("%s imports %s, which it may not: allowed are %q", name, short(i), allowed)
			}
			for heavy, leaves := range onlyIn {
				if (i == heavy || strings.HasPrefix(i, heavy+"/")) && !slices.Contains(leaves, name) {
					t.Errorf("%s imports %s, which belongs in %q alone", name, i, leaves)
				}
			}
		}
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("package %s has no doc comment: what is it, how is it used, what does it promise?", short(p.ImportPath))
		}
	}
}
