package reconcile_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/enginetest"
	"github.com/sluice-ml/sluice/reconcile"
	"github.com/sluice-ml/sluice/store"
)

// world is a real store, an engine in memory whose copies are real HTTP
// servers, and whatever the loop published.
type world struct {
	t       *testing.T
	db      *store.Store
	engine  *enginetest.Engine
	sockets string
	crash   chan engine.Exit // makes one instance that serves end like this

	mu        sync.Mutex
	behave    func(p *enginetest.Process) *engine.Exit // nil: serve
	published map[string]sluice.Routes
	opened    int // calls of PublishAll
	first     []sluice.Routes
	envError  error
	needs     []reconcile.Needs // of every Prepare
	written   []sluice.Change   // by the loop
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	sockets, err := os.MkdirTemp("", "loop") // short: sockets live in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	w := &world{t: t, db: db, sockets: sockets, crash: make(chan engine.Exit), published: map[string]sluice.Routes{}}
	w.engine = enginetest.New()
	w.engine.AddressOf = func(id string) string { return "unix://" + w.socket(id) }
	w.engine.Program = w.instance
	t.Cleanup(w.engine.Close)
	return w
}

func (w *world) socket(id string) string { return filepath.Join(w.sockets, id) }

// instance is a copy: it answers health, or does what the test says.
func (w *world) instance(p *enginetest.Process) engine.Exit {
	w.engine.Running(p.Instance)
	w.mu.Lock()
	behave := w.behave
	w.mu.Unlock()
	if behave != nil {
		if exit := behave(p); exit != nil {
			return *exit
		}
	}
	l, err := net.Listen("unix", w.socket(p.Instance))
	if err != nil {
		return engine.Exit{Code: 1, Message: err.Error()}
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })}
	go server.Serve(l)
	defer server.Close()
	select {
	case <-p.Term:
	case <-p.Kill:
	case exit := <-w.crash:
		return exit
	}
	return engine.Exit{}
}

func (w *world) PublishAll(all []sluice.Routes) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	w.first = all
	for _, r := range all {
		w.published[r.Endpoint] = r
	}
}

func (w *world) Publish(r sluice.Routes) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.published[r.Endpoint]; old.Version >= r.Version {
		w.t.Errorf("routes of %s went from version %d to %d", r.Endpoint, old.Version, r.Version)
	}
	w.published[r.Endpoint] = r
}

func (w *world) Applied(string, string, int64) bool { return true }

func (w *world) routes(endpoint string) sluice.Routes {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.published[endpoint]
}

func (w *world) Prepare(_ context.Context, n reconcile.Needs, progress func(step, detail string)) (reconcile.Python, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.needs = append(w.needs, n)
	progress(sluice.StepResolving, "")
	return reconcile.Python{Dir: "/env", Bin: "/env/bin", Lock: "numpy==1.26.4\n"}, w.envError
}

// Store is the real one; what the loop writes is remembered.
func (w *world) Get(ctx context.Context, key sluice.Key) (sluice.Resource, error) {
	return w.db.Get(ctx, key)
}
func (w *world) List(ctx context.Context, q sluice.Query) (sluice.Page, error) {
	return w.db.List(ctx, q)
}
func (w *world) Wait(ctx context.Context, after int64) (int64, error) { return w.db.Wait(ctx, after) }

func (w *world) Commit(ctx context.Context, c sluice.Change) (int64, error) {
	n, err := w.db.Commit(ctx, c)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.written = append(w.written, c)
	}
	return n, err
}

// run starts the loop and gives what stops it.
func (w *world) run() (stop func()) {
	loop := reconcile.New(reconcile.Config{Store: w, Engine: w.engine, Environments: w, Publisher: w, Runner: "/runner",
		InstanceTypes: sluice.InstanceTypes(), Epoch: 1, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil))})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.t.Errorf("the loop ended with %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

// until waits for the store to be in a state, looking again at every change.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	for after := int64(0); !done(); {
		waiting, stop := context.WithTimeout(ctx, 50*time.Millisecond) // routes are published without a change
		latest, err := w.db.Wait(waiting, after)
		stop()
		if err == nil {
			after = latest
		}
		if ctx.Err() != nil {
			w.t.Fatalf("waiting until %s", what)
		}
	}
}

func (w *world) commit(put ...sluice.Resource) {
	w.t.Helper()
	if _, err := w.db.Commit(w.t.Context(), sluice.Change{Actor: sluice.Actor{Name: "test"}, Put: put}); err != nil {
		w.t.Fatal(err)
	}
}

func get[T sluice.Resource](w *world, key sluice.Key) T {
	w.t.Helper()
	r, err := store.Read[T](w.t.Context(), w.db, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func meta(name, version string) sluice.Meta {
	return sluice.Meta{UID: "u" + name, Workspace: "default", Name: name, Version: version}
}

func (w *world) operation(name string, verb sluice.Verb) *sluice.Operation {
	return &sluice.Operation{Meta: meta(name, ""), Target: sluice.DeploymentKey("default", "iris", "blue"), Verb: verb,
		Status: sluice.OperationInProgress, Started: time.Now()}
}

// create commits what the API commits for an endpoint with one deployment.
func (w *world) create(instances int) {
	w.t.Helper()
	spec := sluice.Spec{Code: &sluice.CodeConfiguration{Code: "azureml:src:1", ScoringScript: "score.py"}, Environment: "azureml:env:1",
		InstanceType: "Standard_DS1_v2", Request: sluice.DefaultRequestSettings(), Liveness: sluice.DefaultProbe(), Readiness: sluice.DefaultProbe()}
	w.commit(
		&sluice.Endpoint{Meta: meta("iris", ""), AuthMode: sluice.AuthKey, State: sluice.StateSucceeded, Traffic: map[string]int{"blue": 100}},
		&sluice.CodeVersion{Meta: meta("src", "1"), Content: sluice.Content{Tree: sluice.DigestBytes(nil), Base: "src"}},
		&sluice.Environment{Meta: meta("env", "1"), Image: "any"},
		&sluice.Deployment{Meta: meta("blue", ""), Endpoint: "iris", Spec: spec, Revision: "r1", State: sluice.StateCreating, Operation: "op1"},
		&sluice.Revision{Meta: meta("blue", "r1"), Endpoint: "iris", Spec: spec},
		&sluice.Scale{Meta: meta("blue", ""), Endpoint: "iris", Want: instances, Min: instances, Max: instances},
		w.operation("op1", sluice.VerbCreate))
}

// update commits a new revision.
func (w *world) update(revision, operation string) {
	w.t.Helper()
	d := w.deployment()
	d.Revision, d.State, d.Operation = revision, sluice.StateUpdating, operation
	w.commit(d, &sluice.Revision{Meta: meta("blue", revision), Endpoint: "iris", Spec: d.Spec}, w.operation(operation, sluice.VerbUpdate))
}

func (w *world) deployment() *sluice.Deployment {
	w.t.Helper()
	return get[*sluice.Deployment](w, sluice.DeploymentKey("default", "iris", "blue"))
}

func (w *world) op(name string) *sluice.Operation {
	w.t.Helper()
	return get[*sluice.Operation](w, sluice.Key{Workspace: "default", Kind: sluice.KindOperation, Name: name})
}

func (w *world) done(operation string) func() bool {
	return func() bool { return w.op(operation).Done() }
}

func (w *world) backends() int {
	r := w.routes("iris")
	if len(r.Deployments) == 0 {
		return 0
	}
	n := 0
	for _, b := range r.Deployments[0].Backends {
		if !b.Draining {
			n++
		}
	}
	return n
}

// fails makes instances end with a cause of their own.
func fails(message string) func(*enginetest.Process) *engine.Exit {
	return func(*enginetest.Process) *engine.Exit {
		text, err := json.Marshal(sluice.Cause{Code: sluice.CauseInitRaised, Message: message, File: "score.py", Line: 7})
		if err != nil {
			panic(err)
		}
		return &engine.Exit{Code: 3, Message: string(text)}
	}
}

func (w *world) setBehave(f func(*enginetest.Process) *engine.Exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.behave = f
}

func TestCreateSucceeds(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.create(2)
	w.until("the operation is done", w.done("op1"))

	op, d := w.op("op1"), w.deployment()
	if op.Status != sluice.OperationSucceeded || op.Cause != nil || op.Ended.IsZero() {
		t.Errorf("the operation ended as %+v, want Succeeded", op)
	}
	if d.State != sluice.StateSucceeded || d.Serving != "r1" || d.Operation != "" || d.Generation != 1 {
		t.Errorf("the deployment is %+v, want Succeeded, serving r1, generation 1", d)
	}
	if n := w.backends(); n != 2 {
		t.Errorf("%d backends are published, want 2", n)
	}
	var steps []string
	for _, s := range op.Stages {
		steps = append(steps, s.Name+" "+s.Step)
		if s.Ended.IsZero() {
			t.Errorf("stage %s %s has not ended", s.Name, s.Step)
		}
	}
	for _, want := range []string{"environment resolving", "instance ready"} {
		if !slices.Contains(steps, want) {
			t.Errorf("stages are %q, without %q", steps, want)
		}
	}
	rev := get[*sluice.Revision](w, sluice.Key{Workspace: "default", Kind: sluice.KindRevision, Name: "iris/blue", Version: "r1"})
	if rev.Lock != "numpy==1.26.4\n" {
		t.Errorf("the revision's lock is %q", rev.Lock)
	}
}

// What a revision came to is kept to by the next server that prepares it, and
// so is who says what it needs.
func TestARevisionIsPreparedAgainFromItsLock(t *testing.T) {
	w := newWorld(t)
	stop := w.run()
	w.create(1)
	w.until("the operation is done", w.done("op1"))
	stop()
	w.run()
	prepared := func() []reconcile.Needs {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Clone(w.needs)
	}
	w.until("it is prepared again", func() bool { return len(prepared()) > 1 })
	first, again := prepared()[0], prepared()[1]
	if first.Lock != "" || again.Lock != "numpy==1.26.4\n" {
		t.Errorf("the locks handed over are %q and then %q", first.Lock, again.Lock)
	}
	if first.Environment == nil || first.Code == "" {
		t.Errorf("handed over is %+v", first)
	}
}

func TestAnInstanceThatFailsToStartFailsTheOperation(t *testing.T) {
	w := newWorld(t)
	w.setBehave(fails("init() raised ValueError: \x1b[31mboom"))
	w.run()
	w.create(1)
	w.until("the operation is done", w.done("op1"))

	op, d := w.op("op1"), w.deployment()
	if op.Status != sluice.OperationFailed || d.State != sluice.StateFailed || d.Serving != "" {
		t.Fatalf("operation %s, deployment %s serving %q; want Failed, Failed, nothing", op.Status, d.State, d.Serving)
	}
	c := d.Cause
	if c == nil || c.Code != sluice.CauseInitRaised || c.Line != 7 || c.Instance == "" {
		t.Fatalf("the cause is %+v", c)
	}
	if strings.ContainsRune(c.Message, '\x1b') {
		t.Errorf("a control character of the instance reached the cause: %q", c.Message)
	}
	w.until("the routes say why", func() bool {
		r := w.routes("iris")
		return len(r.Deployments) == 1 && strings.Contains(r.Deployments[0].Note, "boom")
	})
	calls := w.engine.Calls()
	if last := calls[len(calls)-1]; last.Method != "Remove" {
		t.Errorf("the last call is %+v: what failed must not be started for ever", last)
	}
}

func TestAnEnvironmentThatCannotBeMadeFailsTheOperation(t *testing.T) {
	w := newWorld(t)
	w.envError = fmt.Errorf("resolving: %w", &sluice.Cause{Code: sluice.CauseUnresolvable, Message: "numpyy does not exist"})
	w.run()
	w.create(1)
	w.until("the operation is done", w.done("op1"))
	if c := w.op("op1").Cause; c == nil || c.Code != sluice.CauseUnresolvable {
		t.Errorf("the cause is %+v, want %s", c, sluice.CauseUnresolvable)
	}

	// What is refused as not built is called that.
	w.mu.Lock()
	w.envError = sluice.Errorf(sluice.CodeNotBuilt, "image nginx cannot be run yet")
	w.mu.Unlock()
	d := w.deployment()
	d.State, d.Operation = sluice.StateUpdating, "op2"
	w.commit(d, w.operation("op2", sluice.VerbUpdate))
	w.until("the second operation is done", w.done("op2"))
	if c := w.op("op2").Cause; c == nil || c.Code != sluice.CauseNotBuilt {
		t.Errorf("the cause is %+v, want %s", c, sluice.CauseNotBuilt)
	}

	// A cause is kept and sent around: however much was refused, it is bounded.
	w.mu.Lock()
	w.envError = &sluice.Cause{Code: sluice.CauseUnresolvable, Message: strings.Repeat("-e: refused; ", 100_000),
		Evidence: slices.Repeat([]string{"-e: refused"}, 100_000)}
	w.mu.Unlock()
	d = w.deployment()
	d.State, d.Operation = sluice.StateUpdating, "op2b"
	w.commit(d, w.operation("op2b", sluice.VerbUpdate))
	w.until("the refused operation is done", w.done("op2b"))
	if c := w.op("op2b").Cause; c == nil || len(c.Message) > 10_000 || len(c.Evidence) > 1000 {
		t.Error("the cause is as long as what was refused")
	}

	// The same revision, asked for again, is tried again.
	w.mu.Lock()
	w.envError = nil
	w.mu.Unlock()
	d = w.deployment()
	d.State, d.Operation = sluice.StateUpdating, "op3"
	w.commit(d, w.operation("op3", sluice.VerbUpdate))
	w.until("the third operation is done", w.done("op3"))
	if op := w.op("op3"); op.Status != sluice.OperationSucceeded {
		t.Errorf("trying again ended as %s: %+v", op.Status, op.Cause)
	}
}

func TestAFailedUpdateLeavesTheOldRevisionServing(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.create(2)
	w.until("the creation is done", w.done("op1"))
	w.setBehave(fails("boom"))
	w.update("r2", "op2")
	w.until("the update is done", w.done("op2"))

	if d := w.deployment(); d.State != sluice.StateFailed || d.Serving != "r1" {
		t.Errorf("the deployment is %s serving %q, want Failed serving r1", d.State, d.Serving)
	}
	if n := w.backends(); n != 2 {
		t.Errorf("%d backends are left, want 2", n)
	}
	w.setBehave(nil)
	w.update("r3", "op3")
	w.until("the next update is done", w.done("op3"))
	if d := w.deployment(); d.State != sluice.StateSucceeded || d.Serving != "r3" {
		t.Errorf("the deployment is %s serving %q, want Succeeded serving r3", d.State, d.Serving)
	}
}

func TestDeletingAnEndpointTakesEverything(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.create(1)
	w.until("the creation is done", w.done("op1"))

	e, d := get[*sluice.Endpoint](w, sluice.EndpointKey("default", "iris")), w.deployment()
	e.State, e.Operation, d.State = sluice.StateDeleting, "op2", sluice.StateDeleting
	w.commit(e, d, w.operation("op2", sluice.VerbDelete))
	w.until("the deletion is done", w.done("op2"))

	for _, kind := range []sluice.Kind{sluice.KindEndpoint, sluice.KindDeployment, sluice.KindRevision, sluice.KindScale} {
		page, err := w.db.List(t.Context(), sluice.Query{Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) > 0 {
			t.Errorf("%d of kind %s are left", len(page.Items), kind)
		}
	}
	if !w.routes("iris").Gone {
		t.Error("the gateways were not told that the endpoint is gone")
	}
	instances, err := w.engine.Instances(t.Context(), engine.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range instances {
		if !i.Phase.Ended() {
			t.Errorf("instance %s is still %s", i.ID, i.Phase)
		}
	}
}

// A loop that starts while instances run must not tell the gateways that
// nothing is ready before it has asked.
func TestARestartPublishesNothingPrematurely(t *testing.T) {
	w := newWorld(t)
	stop := w.run()
	w.create(3)
	w.until("the creation is done", w.done("op1"))
	stop()

	w.mu.Lock()
	w.published, w.opened, w.first = map[string]sluice.Routes{}, 0, nil
	w.mu.Unlock()
	w.run()
	w.until("routes are published", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.opened > 0
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.first) != 1 || len(w.first[0].Deployments) != 1 || len(w.first[0].Deployments[0].Backends) != 3 {
		t.Errorf("the first routes after a restart are %+v, want all 3 backends", w.first)
	}
}

func TestWhatNothingOwnsIsRemoved(t *testing.T) {
	w := newWorld(t)
	if err := w.engine.Ensure(t.Context(), 1, engine.Workload{ID: "stray", Labels: map[string]string{reconcile.LabelUID: "nobody"},
		Template: engine.Template{Command: []string{"x"}, Restart: engine.RestartAlways}}, 1); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.until("the stray workload has ended", func() bool {
		instances, err := w.engine.Instances(t.Context(), engine.Selector{Workload: "stray"})
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(instances, func(i engine.Instance) bool { return !i.Phase.Ended() })
	})
}
