package api_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/api"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/artifact"
)

// disk is one with as much room as a test says.
type disk struct {
	use    sluice.DiskUse
	full   error
	asked  []int64
	pruned []bool
}

func (d *disk) Check(_ context.Context, _ string, bytes int64) error {
	d.asked = append(d.asked, bytes)
	return d.full
}
func (d *disk) Use(context.Context) (sluice.DiskUse, error) { return d.use, nil }
func (d *disk) Prune(_ context.Context, dry bool) (sluice.Pruned, error) {
	d.pruned = append(d.pruned, dry)
	return sluice.Pruned{DryRun: dry, Files: 3, Bytes: 1 << 30}, nil
}

func TestPrune(t *testing.T) {
	d := &disk{}
	w := newWorld(t, func(c *api.Config) { c.Disk = d })
	for _, dry := range []bool{true, false} {
		got, err := w.client.Prune(t.Context(), dry)
		if diff := cmp.Diff(sluice.Pruned{DryRun: dry, Files: 3, Bytes: 1 << 30}, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
	if diff := cmp.Diff([]bool{true, false}, d.pruned); diff != "" {
		t.Error(diff)
	}
	if got := w.do("POST", ws+"/prune"+version, `{}`, "Authorization", "Bearer wrong"); got.status != 401 {
		t.Errorf("without the credential: status %d", got.status)
	}
	if got := w.do("POST", ws+"/prune"+version, `{"dryRun": "maybe"}`); got.status != 400 {
		t.Errorf("with a body that makes no sense: status %d", got.status)
	}
	if got := w.do("POST", strings.Replace(ws, "/default", "/other", 1)+"/prune"+version, `{}`); got.status != 404 {
		t.Errorf("in a workspace that does not exist: status %d", got.status)
	}
	if len(d.pruned) != 2 {
		t.Errorf("it pruned %d times", len(d.pruned))
	}
	if _, err := newWorld(t).client.Prune(t.Context(), true); codeOf(err) != sluice.CodeNotBuilt {
		t.Errorf("without a disk: %v", err)
	}
}

// An upload for which there is no room is refused before a byte is sent, and
// one that comes near is warned of.
func TestUploadAsksForRoom(t *testing.T) {
	texts, tree := files()
	d := &disk{use: sluice.DiskUse{Budget: 1 << 20, Warn: 80, Artifacts: 1<<19 + 1<<18}}
	p := newPartsWorld(t, func(c *api.Config) { c.Disk = d })
	d.full = &sluice.Cause{Code: sluice.CauseDiskFull, Message: "no room", Hint: "sluice prune"}
	var notices []string
	tell := arm.WithNotices(func(n string) { notices = append(notices, n) })
	_, err := p.client.Upload(t.Context(), p.pending().String(), "m", tree, opener(texts), nil, tell)
	e, ok := errors.AsType[*sluice.Error](err)
	if !ok || e.Cause == nil || e.Cause.Code != sluice.CauseDiskFull || e.Hint != "sluice prune" {
		t.Errorf("got %v", err)
	}
	if p.arrivals() != 0 || len(notices) != 0 {
		t.Errorf("something was sent, with %q", notices)
	}
	d.full = nil
	if _, err := p.client.Upload(t.Context(), p.pending().String(), "m", tree, opener(texts), nil, tell); err != nil {
		t.Fatal(err)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "disk.budget") || !strings.Contains(notices[0], "sluice prune") {
		t.Errorf("notices are %q", notices)
	}
	// With everything there, there is nothing to ask for.
	if _, err := p.client.Upload(t.Context(), p.pending().String(), "m", tree, opener(texts), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{tree.Size(), tree.Size()}, d.asked); diff != "" {
		t.Error(diff)
	}
}

// What was made for one deployment may be gone after it: who refers to it then
// is told so, and may upload it again.
func TestReferenceToWhatIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "artifacts")
	store, err := artifact.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *api.Config) { c.Artifacts = store })
	w.assets()
	w.endpoint("iris")
	register := func() error {
		_, err := w.client.PutCode(t.Context(), "hidden", "1", arm.CodeVersion{Properties: arm.CodeProperties{
			AssetProperties: arm.AssetProperties{IsAnonymous: true, Properties: arm.Strings{"hash_sha256": "abc"}},
			CodeURI:         w.upload(sluice.KindCode, "src", "score.py", "def run(d): return 1\n")}})
		return err
	}
	found := func() bool {
		return strings.Contains(string(w.do("GET", ws+"/codes/any/versions"+version+"&hash=abc", "").body), "hidden")
	}
	if err := register(); err != nil || !found() {
		t.Fatal("it is not found by its hash", err)
	}
	v, err := w.store.Get(t.Context(), sluice.Key{Workspace: "default", Kind: sluice.KindCode, Name: "hidden", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	hex := strings.TrimPrefix(v.(*sluice.CodeVersion).Content.Tree, "sha256:")
	if err := os.Remove(filepath.Join(dir, "trees", hex[:2], hex)); err != nil {
		t.Fatal(err)
	}
	if found() {
		t.Error("it is found by its hash although it is gone")
	}
	d := deployment(1)
	d.Properties.CodeConfiguration.CodeID = "azureml:hidden:1"
	_, _, err = w.client.PutDeployment(t.Context(), "iris", "blue", d)
	e, ok := errors.AsType[*sluice.Error](err)
	if !ok || e.Cause == nil || e.Cause.Code != sluice.CauseReference || !strings.Contains(err.Error(), "hidden") {
		t.Errorf("a reference to it: %v", err)
	}
	if err := register(); err != nil || !found() {
		t.Fatal("it cannot be registered again", err)
	}
	if _, _, err := w.client.PutDeployment(t.Context(), "iris", "blue", d); err != nil {
		t.Error(err)
	}
}
