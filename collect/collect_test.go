package collect_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/collect"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/environment"
	"github.com/sluice-ml/sluice/store"
)

const mib = 1 << 20

// holder is an engine that holds what a test says.
type holder struct {
	held []engine.Held
	err  error
}

func (h *holder) Holds(context.Context) ([]engine.Held, error) { return h.held, h.err }

// world is a collector over a real store, real artifacts and real environments.
type world struct {
	t      *testing.T
	dir    string
	store  *store.Store
	blobs  *artifact.Store
	envs   *environment.Builder
	engine *holder
	disk   *collect.Collector
}

func newWorld(t *testing.T, budget int64) *world {
	t.Helper()
	return newWorldIn(t, t.TempDir(), budget)
}

func newWorldIn(t *testing.T, dir string, budget int64) *world {
	t.Helper()
	w := &world{t: t, dir: dir, engine: &holder{}}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	var err error
	if w.store, err = store.Open(t.Context(), filepath.Join(w.dir, "sluice.db"), store.Options{Logger: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.blobs, err = artifact.OpenWith(filepath.Join(w.dir, "artifacts"), artifact.Options{
		Admit:    func(ctx context.Context, what string, n int64) (func(), error) { return w.disk.Admit(ctx, what, n) },
		NextStep: func(ctx context.Context) string { return w.disk.NextStep(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.envs, err = environment.Open(environment.Config{Dir: filepath.Join(w.dir, "environments"), UV: "off", FindPythons: func() []string { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	w.disk = collect.New(collect.Config{Store: w.store, Artifacts: w.blobs, Environments: w.envs, Engine: w.engine,
		Dir: w.dir, Budget: budget, Warn: 80, Logger: logger})
	return w
}

// upload puts a tree of one file of size random bytes.
func (w *world) upload(size int) (tree string, err error) {
	w.t.Helper()
	text := make([]byte, size)
	rand.Read(text)
	f := sluice.TreeFile{Path: "m.bin", Size: int64(size), Digest: sluice.DigestBytes(text)}
	if err := w.blobs.PutBlob(w.t.Context(), f.Digest, f.Size, bytes.NewReader(text)); err != nil {
		return "", err
	}
	return w.blobs.PutTree(w.t.Context(), sluice.Tree{Files: []sluice.TreeFile{f}})
}

func (w *world) mustUpload(size int) string {
	w.t.Helper()
	tree, err := w.upload(size)
	if err != nil {
		w.t.Fatal(err)
	}
	return tree
}

func (w *world) register(name, tree string) {
	w.t.Helper()
	_, err := w.store.Commit(w.t.Context(), sluice.Change{Actor: sluice.Actor{Name: "test"}, Put: []sluice.Resource{
		&sluice.Model{Meta: sluice.Meta{Workspace: "default", Name: name, Version: "1"}, Content: sluice.Content{Tree: tree}}}})
	if err != nil {
		w.t.Fatal(err)
	}
}

// env makes an environment of that many bytes; half of one is not whole.
func (w *world) env(hash string, size int, whole bool) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, "environments", "envs", hash)
	for path, n := range map[string]int{"bin/python": 1, "lib/package.so": size, ".complete": 1} {
		if path == ".complete" && !whole {
			continue
		}
		full := filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, make([]byte, n), 0o755)); err != nil {
			w.t.Fatal(err)
		}
	}
	return dir
}

// age makes everything as if it was last used two hours ago.
func (w *world) age() {
	w.t.Helper()
	long := time.Now().Add(-2 * time.Hour)
	err := filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		modified := info.ModTime()
		if strings.Contains(path, "environments") {
			modified = long
		}
		return os.Chtimes(path, long, modified)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) has(tree string) bool {
	w.t.Helper()
	_, err := w.blobs.GetTree(w.t.Context(), tree)
	return err == nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func wantFull(t *testing.T, err error, words ...string) *sluice.Cause {
	t.Helper()
	cause, ok := errors.AsType[*sluice.Cause](err)
	if !ok || cause.Code != sluice.CauseDiskFull {
		t.Fatalf("got %v, want a full disk", err)
	}
	for _, word := range words {
		if !strings.Contains(cause.Message+"\n"+cause.Hint, word) {
			t.Errorf("%q (%q) does not say %q", cause.Message, cause.Hint, word)
		}
	}
	return cause
}

func TestPruneLeavesWhatIsNeeded(t *testing.T) {
	w := newWorld(t, 0)
	registered, running, gone := w.mustUpload(mib), w.mustUpload(mib), w.mustUpload(mib)
	w.register("m", registered)
	kept, idle := w.env(strings.Repeat("a", 64), mib, true), w.env(strings.Repeat("b", 64), mib, true)
	w.engine.held = []engine.Held{{Workload: "w", EnvDir: kept, Trees: []string{running}}}
	fresh, err := w.disk.Prune(t.Context(), false)
	if err != nil || fresh.Bytes != 0 || fresh.LaterBytes < 2*mib {
		t.Errorf("of what is fresh it took %+v, %v", fresh, err)
	}
	w.age()
	before, err := w.disk.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dry, err := w.disk.Prune(t.Context(), true)
	if err != nil || !dry.DryRun || !w.has(gone) || !exists(idle) {
		t.Errorf("a dry run: %+v, %v", dry, err)
	}
	did, err := w.disk.Prune(t.Context(), false)
	dry.DryRun = false
	if err != nil || did != dry || did.Files != 1 || did.Environments != 1 || did.Bytes < 2*mib || did.Bytes > 3*mib {
		t.Errorf("it took %+v, %v, and announced %+v", did, err, dry)
	}
	if !w.has(registered) || !w.has(running) || w.has(gone) || !exists(kept) || exists(idle) {
		t.Error("it took the wrong things")
	}
	after, err := w.disk.Use(t.Context())
	if err != nil || before.Used()-after.Used() != did.Bytes {
		t.Errorf("%d bytes less are used, and %d came free (%v)", before.Used()-after.Used(), did.Bytes, err)
	}
	if again, err := w.disk.Prune(t.Context(), false); err != nil || again != (sluice.Pruned{}) {
		t.Errorf("the second time it took %+v, %v", again, err)
	}
}

// Where it cannot be told what is needed, nothing goes.
func TestPruneDoesNotGuess(t *testing.T) {
	w := newWorld(t, 0)
	tree := w.mustUpload(mib)
	env := w.env(strings.Repeat("a", 64), mib, true)
	w.age()
	w.engine.err = errors.New("a template cannot be read")
	if got, err := w.disk.Prune(t.Context(), false); err == nil || got != (sluice.Pruned{}) {
		t.Errorf("it took %+v, %v", got, err)
	}
	w.engine.err = nil
	w.store.Close()
	if got, err := w.disk.Prune(t.Context(), false); err == nil || got != (sluice.Pruned{}) {
		t.Errorf("it took %+v, %v", got, err)
	}
	if !w.has(tree) || !exists(env) {
		t.Error("something is gone")
	}
}

func TestBudget(t *testing.T) {
	w := newWorld(t, 10*mib)
	idle := w.env(strings.Repeat("b", 64), 3*mib, true)
	needed := w.mustUpload(5 * mib)
	w.register("m", needed)
	w.age()
	// What does not fit has what nothing needs collected first.
	second := w.mustUpload(4 * mib)
	if exists(idle) || !w.has(needed) || !w.has(second) {
		t.Error("it collected the wrong things")
	}
	if use, err := w.disk.Use(t.Context()); err != nil || !strings.Contains(use.Warning(), "of the 10.0 MiB that disk.budget allows") {
		t.Errorf("the warning is %q, %v", use.Warning(), err)
	}
	_, err := w.upload(2 * mib)
	cause := wantFull(t, err, "the disk budget is used up", "an uploaded file of 2097152 bytes", "takes 2.0 MiB", "of the 10.0 MiB that disk.budget allows",
		"are free on the disk", "sluice prune", "4.0 MiB", "raise disk.budget")
	if strings.Contains(cause.Message, "\n") {
		t.Errorf("%q has several lines", cause.Message)
	}
	if err := w.disk.Check(t.Context(), "an upload of 3 files", 2*mib); err == nil {
		t.Error("an upload was announced for which there is no room")
	}
	// And once it is needed no longer, there is room.
	w.age()
	w.mustUpload(2 * mib)
	if w.has(second) || !w.has(needed) {
		t.Error("it collected the wrong things")
	}
	if err := w.disk.Check(t.Context(), "an upload of 3 files", mib); err != nil {
		t.Error(err)
	}
}

// Many uploads at once never go beyond the budget together.
func TestBudgetOfMany(t *testing.T) {
	w := newWorld(t, 8*mib)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := w.upload(mib); err != nil {
				wantFull(t, err)
			}
		})
	}
	wg.Wait()
	used, err := w.blobs.Usage(t.Context())
	// The folders around the files come on top.
	if err != nil || used > 8*mib+mib/4 || used < 6*mib {
		t.Errorf("the uploads take %d bytes, %v", used, err)
	}
}

// An environment that outgrows the budget while it is made is stopped.
func TestEnvironmentOutgrowsTheBudget(t *testing.T) {
	w := newWorld(t, 10*mib)
	half := strings.Repeat("a", 64)
	_, err := w.disk.Prepare(t.Context(), func(ctx context.Context) (environment.Env, error) {
		w.env(half, 12*mib, false)
		<-ctx.Done()
		return environment.Env{}, context.Cause(ctx)
	})
	wantFull(t, err, "the disk budget is used up", "making the environment", "of the 10.0 MiB", "sluice prune")

	// One that fits once what nothing needs is gone is not.
	w = newWorld(t, 10*mib)
	idle := w.env(strings.Repeat("b", 64), 5*mib, true)
	w.age()
	env, err := w.disk.Prepare(t.Context(), func(ctx context.Context) (environment.Env, error) {
		w.env(half, 7*mib, false)
		for exists(idle) {
			select {
			case <-ctx.Done():
				return environment.Env{}, context.Cause(ctx)
			case <-time.After(10 * time.Millisecond):
			}
		}
		w.env(half, 7*mib, true)
		return environment.Env{LockHash: half, Dir: w.env(half, 7*mib, true)}, nil
	})
	if err != nil || env.LockHash != half {
		t.Errorf("got %+v, %v", env, err)
	}
}

// What is there already is used whatever the room is, and is not collected
// between being handed out and being put to use.
func TestPreparedStays(t *testing.T) {
	w := newWorld(t, mib)
	hash := strings.Repeat("a", 64)
	dir := w.env(hash, 3*mib, true)
	w.age()
	prepared := 0
	env, err := w.disk.Prepare(t.Context(), func(ctx context.Context) (environment.Env, error) {
		if prepared++; prepared == 1 {
			// It is collected while it is being handed out: made once more.
			if _, err := w.disk.Prune(ctx, false); err != nil {
				t.Error(err)
			}
			return environment.Env{LockHash: hash, Dir: dir, Reused: true}, nil
		}
		return environment.Env{LockHash: hash, Dir: w.env(hash, 3*mib, true), Reused: true}, nil
	})
	if err != nil || prepared != 2 || !exists(env.Dir) {
		t.Errorf("after %d times: %+v, %v", prepared, env, err)
	}
	w.engine.held = nil
	if _, err := w.disk.Prune(t.Context(), false); err != nil || !exists(dir) {
		t.Errorf("what was handed out is gone, %v", err)
	}
}

// A tool that finds the disk full names the next step.
func TestFullDiskOfATool(t *testing.T) {
	w := newWorld(t, 0)
	w.mustUpload(3 * mib)
	w.age()
	_, err := w.disk.Prepare(t.Context(), func(context.Context) (environment.Env, error) {
		return environment.Env{}, &sluice.Cause{Code: sluice.CauseDiskFull, Message: "the disk is full", Hint: "free space"}
	})
	wantFull(t, err, "`sluice prune` would free 3.0 MiB")
	other := errors.New("something else")
	if _, err := w.disk.Prepare(t.Context(), func(context.Context) (environment.Env, error) { return environment.Env{}, other }); err != other {
		t.Errorf("got %v", err)
	}
}

// What is left of an upload goes after a day, whatever the room.
func TestRunRemovesLeftovers(t *testing.T) {
	w := newWorld(t, 0)
	parts := func(name string, silent time.Duration) string {
		dir := filepath.Join(w.dir, "artifacts", "parts", name)
		then := time.Now().Add(-silent)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "have"), nil, 0o600),
			os.Chtimes(filepath.Join(dir, "have"), then, then)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	old, young := parts("old", 25*time.Hour), parts("young", 23*time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.disk.Run(ctx) }()
	for deadline := time.After(time.Minute); exists(old); {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatal("it was not removed")
		}
	}
	cancel()
	if err := <-done; err != nil || !exists(young) {
		t.Errorf("%v, and the young one is there: %v", err, exists(young))
	}
}

// The loop collects by itself when the room is nearly used up, and not before.
func TestRunCollectsInTime(t *testing.T) {
	for _, budget := range []int64{5 * mib, 100 * mib} {
		w := newWorld(t, budget)
		idle := w.env(strings.Repeat("b", 64), 4*mib+mib/2, true)
		w.age()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.disk.Run(ctx) }()
		if budget == 5*mib {
			for deadline := time.After(time.Minute); exists(idle); {
				select {
				case <-time.After(5 * time.Millisecond):
				case <-deadline:
					t.Fatal("it was not collected")
				}
			}
		} else if _, err := w.disk.Use(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if exists(idle) != (budget == 100*mib) {
			t.Errorf("with a budget of %d it is there: %v", budget, exists(idle))
		}
	}
}
