package environment

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		needed bool
		used   time.Time
		want   verdict
	}{
		{true, now, keepIt},
		{true, time.Time{}, keepIt},
		{false, now, laterIt},
		{false, now.Add(-Grace), laterIt},
		{false, now.Add(-Grace - 1), takeIt},
		{false, time.Time{}, takeIt},
		{false, now.Add(time.Hour), laterIt}, // a clock that was set back
	} {
		if got := judge(c.needed, c.used, now, Grace); got != c.want {
			t.Errorf("needed %v, used %s ago: got %d, want %d", c.needed, now.Sub(c.used), got, c.want)
		}
	}
}

// ageAll makes all that the builder has as if it was done long ago.
func ageAll(t *testing.T, b *Builder, long time.Duration) {
	t.Helper()
	then := time.Now().Add(-long)
	for _, pattern := range []string{"envs/*", "envs/*/" + marker, "specs/*", "locks/*", "logs/*", "wheels/*"} {
		paths, err := filepath.Glob(filepath.Join(b.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if err := os.Chtimes(p, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// names gives what lies in one of the builder's folders.
func names(t *testing.T, b *Builder, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.dir, folder))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func count(t *testing.T, b *Builder) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, folder := range []string{"envs", "specs", "locks", "logs", "wheels"} {
		n[folder] = len(names(t, b, folder))
	}
	return n
}

func keepOnly(hashes ...string) func(string) bool {
	return func(h string) bool { return slices.Contains(hashes, h) }
}

func TestPrune(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		x := newIndex(t, wheel{name: "below", version: "1.0"}, wheel{name: "above", version: "2.0"})
		b := open(t, Config{UV: tool, Environ: x.environ(t)})
		prepare := func(text string) Env {
			t.Helper()
			env, err := b.Prepare(t.Context(), Spec{Requirements: text}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return env
		}
		kept, gone := prepare("below"), prepare("above")
		b.background.Wait() // what is being finished is not pruned
		if _, err := b.Prepare(t.Context(), Spec{Requirements: "nothing-like-it"}, nil); err == nil {
			t.Fatal("what the index does not have was prepared")
		}
		before := count(t, b)
		none, err := b.Prune(t.Context(), Prune{Keep: keepOnly(), Idle: true})
		if err != nil || none.Later == 0 {
			t.Errorf("later would go %d bytes, %v", none.Later, err)
		}
		none.Later = 0
		if diff := cmp.Diff(Pruned{}, none); diff != "" {
			t.Errorf("fresh ones were taken: %s", diff)
		}
		ageAll(t, b, 24*time.Hour)
		o := Prune{Keep: keepOnly(kept.LockHash), Idle: true, DryRun: true}
		dry, err := b.Prune(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, count(t, b)); diff != "" {
			t.Errorf("a dry run changed something: %s", diff)
		}
		o.DryRun = false
		did, err := b.Prune(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(dry, did); diff != "" {
			t.Errorf("another than was announced: %s", diff)
		}
		if did.Environments != 1 || did.Locks != 1 || did.Bytes == 0 {
			t.Errorf("took %+v", did)
		}
		if diff := cmp.Diff([]string{kept.LockHash}, names(t, b, "envs")); diff != "" {
			t.Error(diff)
		}
		warm(t, x, b, Spec{Requirements: "below"}, kept)
		if again := prepare("above"); again.Reused || again.LockHash != gone.LockHash {
			t.Errorf("it was there still: %+v", again)
		}
		b.background.Wait()
		// The log of a failure goes in the end.
		logs := len(names(t, b, "logs"))
		ageAll(t, b, 8*24*time.Hour)
		if did, err := b.Prune(t.Context(), Prune{Keep: keepOnly(kept.LockHash, gone.LockHash), Idle: true}); err != nil || did.Logs != 1 || did.Environments != 0 {
			t.Errorf("took %+v, %v", did, err)
		}
		if left := len(names(t, b, "logs")); left != logs-1 {
			t.Errorf("%d logs are left of %d", left, logs)
		}
	})
}

// wholeEnv makes an environment without a build.
func wholeEnv(t *testing.T, b *Builder, hash string) string {
	t.Helper()
	dir := filepath.Join(b.dir, "envs", hash)
	if err := os.MkdirAll(filepath.Dir(envPython(dir)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{envPython(dir), filepath.Join(dir, marker)} {
		if err := os.WriteFile(p, []byte("x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestHoldKeeps hands out an environment that would go.
func TestHoldKeeps(t *testing.T) {
	b := open(t, Config{UV: "off"})
	h := hash("one")
	wholeEnv(t, b, h)
	ageAll(t, b, 24*time.Hour)
	if ok, err := b.Hold(t.Context(), h); !ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	if did, err := b.Prune(t.Context(), Prune{Keep: keepOnly()}); err != nil || did.Environments != 0 || did.Later == 0 {
		t.Errorf("took %+v, %v", did, err)
	}
	ageAll(t, b, 24*time.Hour)
	if did, err := b.Prune(t.Context(), Prune{Keep: keepOnly()}); err != nil || did.Environments != 1 {
		t.Errorf("took %+v, %v", did, err)
	}
	if ok, err := b.Hold(t.Context(), h); ok || err != nil {
		t.Errorf("one that is gone: %v, %v", ok, err)
	}
}

// TestUnderConstruction leaves alone what somebody builds, in this process or
// by a tool that outlived its builder.
func TestUnderConstruction(t *testing.T) {
	b := open(t, Config{UV: "off"})
	h := hash("one")
	dir := filepath.Join(b.dir, "envs", h)
	wheels := filepath.Join(b.dir, "wheels", h)
	for _, d := range []string{dir, wheels} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "file"), make([]byte, 10<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ageAll(t, b, 20*time.Hour)
	if n, err := b.UnderWay(t.Context()); err != nil || n < 20<<10 {
		t.Errorf("under way are %d bytes, %v", n, err)
	}
	held, err := lock(t.Context(), filepath.Join(b.dir, "held", h))
	if err != nil {
		t.Fatal(err)
	}
	tool := exec.Command("cat")
	tool.ExtraFiles = []*os.File{held}
	in, err := tool.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tool.Start(); err != nil {
		t.Fatal(err)
	}
	held.Close()
	for range 2 {
		if did, err := b.Prune(t.Context(), Prune{Keep: keepOnly(), Idle: true}); err != nil || did != (Pruned{}) {
			t.Errorf("took %+v, %v", did, err)
		}
	}
	in.Close()
	tool.Wait()
	if did, err := b.Prune(t.Context(), Prune{Keep: keepOnly(), Idle: true}); err != nil || did.Environments != 1 || did.Bytes < 20<<10 {
		t.Errorf("took %+v, %v", did, err)
	}
	if n, err := b.UnderWay(t.Context()); err != nil || n > 20<<10 {
		t.Errorf("under way are %d bytes, %v", n, err)
	}
}

// TestBusyKeepsResolutions prunes beside a Prepare, which reads what plans
// resolved to without a lock.
func TestBusyKeepsResolutions(t *testing.T) {
	b := open(t, Config{UV: "off"})
	known := resolution{lock: "# a lock\n", LockHash: hash("# a lock\n")}
	if err := b.keep(hash("plan"), known); err != nil {
		t.Fatal(err)
	}
	ageAll(t, b, 24*time.Hour)
	for _, c := range []struct {
		o     Prune
		stays bool
	}{
		{Prune{Keep: keepOnly()}, true},
		{Prune{Idle: true}, true},
		{Prune{Keep: keepOnly(known.LockHash), Idle: true}, true},
		{Prune{Keep: keepOnly(), Idle: true}, false},
	} {
		if _, err := b.Prune(t.Context(), c.o); err != nil {
			t.Fatal(err)
		}
		if _, ok := b.resolved(hash("plan")); ok != c.stays {
			t.Errorf("%+v: it is there: %v", c.o, ok)
		}
	}
	if diff := cmp.Diff(map[string]int{"envs": 0, "specs": 0, "locks": 0, "logs": 0, "wheels": 0}, count(t, b)); diff != "" {
		t.Error(diff)
	}
}

func TestPruneStops(t *testing.T) {
	b := open(t, Config{UV: "off"})
	wholeEnv(t, b, hash("one"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Prune(ctx, Prune{Keep: keepOnly()}); err == nil {
		t.Error("it went on")
	}
}
