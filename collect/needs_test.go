package collect

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

func model(workspace, name string, hidden bool, tree string) *sluice.Model {
	return &sluice.Model{Meta: sluice.Meta{Workspace: workspace, Name: name, Version: "1"}, Hidden: hidden, Content: sluice.Content{Tree: tree}}
}

func code(workspace, name string, hidden bool, tree string) *sluice.CodeVersion {
	return &sluice.CodeVersion{Meta: sluice.Meta{Workspace: workspace, Name: name, Version: "1"}, Hidden: hidden, Content: sluice.Content{Tree: tree}}
}

func spec(model, code string) sluice.Spec {
	return sluice.Spec{Model: "azureml:" + model + ":1", Code: &sluice.CodeConfiguration{Code: "azureml:" + code + ":1"}}
}

func revision(workspace, version, lock string, s sluice.Spec) *sluice.Revision {
	return &sluice.Revision{Meta: sluice.Meta{Workspace: workspace, Name: "blue", Version: version}, Endpoint: "iris", Spec: s, Lock: lock}
}

func lockHash(lock string) string {
	sum := sha256.Sum256([]byte(lock))
	return hex.EncodeToString(sum[:])
}

func set(names ...string) map[string]bool {
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out
}

func TestNeeds(t *testing.T) {
	blue := &sluice.Deployment{Meta: sluice.Meta{Workspace: "default", Name: "blue"}, Endpoint: "iris",
		Spec: spec("m2", "c2"), Revision: "u-2", Serving: "u-1"}
	revisions := []*sluice.Revision{revision("default", "u-0", "lock 0", spec("m0", "c0")),
		revision("default", "u-1", "lock 1", spec("m1", "c1")), revision("default", "u-2", "", spec("m2", "c2"))}
	hidden := func(workspace string) (models []*sluice.Model, codes []*sluice.CodeVersion) {
		for i := range 3 {
			models = append(models, model(workspace, fmt.Sprint("M", i), true, fmt.Sprint(workspace, "-m", i)))
			codes = append(codes, code(workspace, fmt.Sprint("c", i), true, fmt.Sprint(workspace, "-c", i)))
		}
		return models, codes
	}
	models, codes := hidden("Default") // names and workspaces are compared without case
	otherModels, otherCodes := hidden("other")
	for name, c := range map[string]struct {
		all   inventory
		trees map[string]bool
		locks map[string]bool
	}{
		"nothing":                            {inventory{}, set(), set()},
		"registered":                         {inventory{models: []*sluice.Model{model("default", "m", false, "t1")}, codes: []*sluice.CodeVersion{code("w", "c", false, "t2")}}, set("t1", "t2"), set()},
		"archived":                           {inventory{models: []*sluice.Model{{Archived: true, Content: sluice.Content{Tree: "t1"}}}}, set("t1"), set()},
		"made for a deployment that is gone": {inventory{models: models, codes: codes}, set(), set()},
		"wanted and serving": {inventory{models: append(models, otherModels...), codes: append(codes, otherCodes...),
			deployments: []*sluice.Deployment{blue}, revisions: revisions},
			set("Default-m1", "Default-c1", "Default-m2", "Default-c2"), set(lockHash("lock 1"))},
		"held": {inventory{models: models, held: []engine.Held{{EnvDir: "/home/environments/envs/abc", Trees: []string{"Default-m0", "t9"}}, {}}},
			set("Default-m0", "t9"), set("abc")},
		"content elsewhere": {inventory{models: []*sluice.Model{{Content: sluice.Content{URI: "https://x"}}}}, set(), set()},
		"no model and no code": {inventory{deployments: []*sluice.Deployment{{Spec: sluice.Spec{Environment: "azureml:e:1"}, Revision: "x"}},
			revisions: []*sluice.Revision{revision("default", "x", "lock", sluice.Spec{})}}, set(), set(lockHash("lock"))},
	} {
		t.Run(name, func(t *testing.T) {
			got := needs(c.all)
			if diff := cmp.Diff(c.trees, got.trees); diff != "" {
				t.Errorf("trees: %s", diff)
			}
			if diff := cmp.Diff(c.locks, got.locks); diff != "" {
				t.Errorf("locks: %s", diff)
			}
		})
	}
}

// TestNeedsOfAnything makes inventories at random. What anything refers to is
// needed, nothing else is, and more of anything never makes less be needed.
func TestNeedsOfAnything(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 7))
		var all inventory
		before := needs(all)
		for range 30 {
			grow(&all, random)
			now := needs(all)
			for tree := range before.trees {
				if !now.trees[tree] {
					t.Fatalf("seed %d: tree %s is needed no longer", seed, tree)
				}
			}
			for lock := range before.locks {
				if !now.locks[lock] {
					t.Fatalf("seed %d: environment %s is needed no longer", seed, lock)
				}
			}
			before = now
		}
		got := slices.Sorted(maps.Keys(before.trees))
		if want := slices.Sorted(maps.Keys(wanted(all))); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %v are needed, want %v", seed, got, want)
		}
	}
}

// grow adds one thing.
func grow(all *inventory, random *rand.Rand) {
	pick := func(prefix string) string { return fmt.Sprint(prefix, random.IntN(6)) }
	workspace := []string{"default", "other"}[random.IntN(2)]
	switch random.IntN(5) {
	case 0:
		all.models = append(all.models, model(workspace, pick("m"), random.IntN(2) == 0, pick("t")))
	case 1:
		all.codes = append(all.codes, code(workspace, pick("c"), random.IntN(2) == 0, pick("t")))
	case 2:
		all.deployments = append(all.deployments, &sluice.Deployment{Meta: sluice.Meta{Workspace: workspace}, Spec: spec(pick("m"), pick("c")),
			Revision: pick("r"), Serving: pick("r")})
	case 3:
		all.revisions = append(all.revisions, revision(workspace, pick("r"), pick("lock"), spec(pick("m"), pick("c"))))
	case 4:
		all.held = append(all.held, engine.Held{EnvDir: "/envs/" + pick("e"), Trees: []string{pick("t"), pick("t")}})
	}
}

// wanted says the same as needs in the plainest way.
func wanted(all inventory) map[string]bool {
	out := map[string]bool{}
	refers := func(workspace, ref string) bool {
		for _, d := range all.deployments {
			if d.Workspace == workspace && (d.Spec.Model == ref || d.Spec.Code.Code == ref) {
				return true
			}
			for _, r := range all.revisions {
				if (r.Version == d.Revision || r.Version == d.Serving) && r.Workspace == workspace && (r.Spec.Model == ref || r.Spec.Code.Code == ref) {
					return true
				}
			}
		}
		return false
	}
	for _, m := range all.models {
		if !m.Hidden || refers(m.Workspace, "azureml:"+m.Name+":1") {
			out[m.Content.Tree] = true
		}
	}
	for _, c := range all.codes {
		if !c.Hidden || refers(c.Workspace, "azureml:"+c.Name+":1") {
			out[c.Content.Tree] = true
		}
	}
	for _, h := range all.held {
		for _, tree := range h.Trees {
			out[tree] = true
		}
	}
	return out
}

func TestStepFrom(t *testing.T) {
	for would, want := range map[sluice.Pruned]string{
		{Bytes: 3 << 30}:                "`sluice prune` would free 3.0 GiB",
		{Bytes: 1 << 20, LaterBytes: 1}: "`sluice prune` would free 1.0 MiB",
		{LaterBytes: 5 << 20}:           "would free nothing now, and 5.0 MiB once",
		{}:                              "everything is needed",
	} {
		if got := stepFrom(would); !strings.Contains(got, want) {
			t.Errorf("%+v: %q does not say %q", would, got, want)
		}
	}
}
