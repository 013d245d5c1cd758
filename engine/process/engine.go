// Package process is the engine that runs each copy as a process of this
// machine, under a shim that outlives the engine.
//
//	e, err := process.Open(process.Config{Dir: home.Instances(), Shim: []string{runner, "shim"}, …})
//	defer e.Close() // stops supervising; the instances run on
//
// Everything it knows is in files, so an engine that is opened after another
// was killed goes on where that one was:
//
//	<Dir>/.engine/lock            held while the files beside it change
//	<Dir>/.engine/supervisor      held by the engine that acts; others only list and ask
//	<Dir>/.engine/epoch           the newest epoch seen
//	<Dir>/.engine/workloads/*     what is wanted
//	<Dir>/<instance>/copy.json    what the engine knows of a copy
//	<Dir>/<instance>/template.json, spec.json   what it was started from; removed at its end
//	<Dir>/<instance>/state.json   what its shim knows, see package shim
//	<Dir>/<instance>/root         its files, read-only: ${root}
//	<Dir>/<instance>/run          its socket, and what it may write: ${run}; elsewhere where that path is long
//	<Dir>/<instance>/world        empty: here an instance with a world builds its root, seen by nobody else
//	<Dir>/<instance>/scratch      empty: here its memory is mounted, seen by the shim and it alone
//	<Dir>/<instance>/log          its output
//
// # Isolation
//
// As root each instance has a [Worlds] world: ${root} is "/" in there, so files
// are at the very paths that the template gives, and ${run} is a folder in
// memory of at most half of what the instance may have. Its socket is not in
// there: the shim opens it outside and hands it over, so nothing but Sluice can
// call an instance. Users of instances are taken from a range of the workload's
// owner. Where Sluice is not root, Landlock has to do; ${run} is then a folder
// inside <instance>/run, so that no instance can put another's socket in the
// place of its own. Describe says what is weaker then.
//
// An instance may have the memory that its template says, at most nine tenths
// of the machine's, and so may all together. Where the kernel cannot bound that
// by a control group, the shim watches, and ends an instance that has more.
//
// If a shim is killed, its command is ended too and listed as failed: output
// that nobody reads and an exit that nobody sees would be worse than a restart.
//
// An instance that was asked to end has succeeded unless force was needed; its
// exit is kept as it was. Exit is nil where nobody saw it: the machine
// restarted, or the shim was killed.
//
// An Engine may be used by any number of goroutines.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/supervise"
)

// lookEvery bounds how late a change is seen of which no word came.
const lookEvery = time.Second

// Config is what an Engine needs.
type Config struct {
	// Dir is where the instances are kept; it is made if it is missing.
	Dir string
	// Shim is the command of the shim; the instance's directory is added.
	Shim []string
	// Materialize places the tree with this digest, verified, as the folder
	// dir. Without it, no template may have files.
	Materialize func(ctx context.Context, digest, dir string) error
	// Live, when set, watches the copies whose template has a live probe. It
	// is called with each such copy once it runs, in a goroutine of its own, and
	// returns either nil, when ctx is done, or why the copy must be taken for
	// hung: it is then killed and, under RestartAlways, replaced.
	Live func(ctx context.Context, i engine.Instance, p engine.Probe) error
	// Service, when set, says what is known of how a copy serves: of too many
	// copies one that does not is ended first, and one that has served is not made
	// to wait long for its replacement. It must answer at once.
	Service func(instance string) engine.Service
	// Isolation bounds how instances are kept apart: the best that can be had
	// here, by default.
	Isolation Isolation
	// Logger is slog.Default() when nil.
	Logger *slog.Logger
	// Now is time.Now when nil.
	Now func() time.Time
}

// Engine implements engine.Engine and engine.Notifier.
type Engine struct {
	config Config
	dir    string // absolute
	node   string
	log    *slog.Logger
	now    func() time.Time
	loop   *supervise.Loop
	notify chan struct{}
	keep   keeping

	ctx         context.Context // done when the engine is closed
	cancel      context.CancelFunc
	background  sync.WaitGroup
	starts      sync.WaitGroup // copies being started, by the supervisor
	supervising atomic.Bool

	mu        sync.Mutex // guards what follows, and every write of a copy.json
	closed    bool
	launching map[string]context.CancelFunc
	watching  map[string]context.Context // done when the watch is over
	claims    map[string]claim           // what instances have, by instance
	ended     map[string]seen            // copies that change no more
	damaged   map[string]bool            // complained of already
	last      []engine.Instance
}

var (
	_ engine.Engine   = (*Engine)(nil)
	_ engine.Notifier = (*Engine)(nil)
)

// Open opens the engine over its directory. Where another engine, perhaps in
// another process, acts on the same directory, this one lists and accepts, and
// takes over when the other is closed or killed.
func Open(c Config) (*Engine, error) {
	if err := supported(); err != nil {
		return nil, fmt.Errorf("opening the process engine: %w", err)
	}
	if len(c.Shim) == 0 {
		return nil, errors.New("opening the process engine: no shim is configured")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the process engine: %w", err)
	}
	e := &Engine{config: c, dir: dir, log: c.Logger, now: c.Now, notify: make(chan struct{}, 1),
		launching: map[string]context.CancelFunc{}, watching: map[string]context.Context{},
		claims: map[string]claim{}, ended: map[string]seen{}, damaged: map[string]bool{}}
	e.node, _ = os.Hostname()
	if err := os.MkdirAll(e.workloadsDir(), 0o700); err != nil {
		return nil, fmt.Errorf("opening the process engine: %w", err)
	}
	if e.keep, err = keepApart(dir, c.Isolation); err != nil {
		return nil, fmt.Errorf("opening the process engine: %w", err)
	}
	e.loop = supervise.NewLoop(host{e}, lookEvery, e.now, e.log)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	first, err := tryLock(e.supervisorFile())
	if err != nil {
		e.cancel()
		return nil, fmt.Errorf("opening the process engine: %w", err)
	}
	e.supervising.Store(first != nil)
	e.background.Go(func() { e.supervise(first) })
	return e, nil
}

// Close stops supervising and waits for that. The instances run on.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.background.Wait()
	if e.keep.groups != nil {
		e.keep.groups.Leave()
	}
	return nil
}

// spawn runs f in a goroutine that Close waits for, unless the engine is
// closed. It is called with e.mu held.
func (e *Engine) spawn(f func()) bool {
	if e.closed {
		return false
	}
	e.background.Go(f)
	return true
}

// supervise waits until no other engine acts on the directory, and then does
// until the engine is closed.
func (e *Engine) supervise(held *fileLock) {
	for held == nil {
		select {
		case <-e.ctx.Done():
			return
		case <-time.After(lookEvery / 4):
		}
		var err error
		if held, err = tryLock(e.supervisorFile()); err != nil {
			e.log.Error("waiting to supervise instances", "error", err)
		}
	}
	defer held.unlock()
	e.supervising.Store(true)
	defer e.supervising.Store(false)
	e.loop.Run(e.ctx) // nil whenever e.ctx is done
	e.loop.Close()
	e.starts.Wait() // from here on another engine may act
}

// Ensure implements engine.Engine.
func (e *Engine) Ensure(ctx context.Context, epoch int64, w engine.Workload, replicas int) error {
	if err := check(w, replicas); err != nil {
		return fmt.Errorf("ensuring workload %q: %w", w.ID, err)
	}
	if w.Template.Port != 0 && replicas > 1 && e.keep.isolation != Worlds {
		return fmt.Errorf("ensuring workload %q with %d replicas on port %d: %w (%s)", w.ID, replicas, w.Template.Port,
			engine.ErrPortShared, "give each a network of its own by running Sluice as root, or ask for one replica")
	}
	changed, err := e.accept(epoch, func() (bool, error) {
		old, err := e.readWorkload(w.ID)
		if err != nil {
			return false, err
		}
		want := wanted{Workload: w, Replicas: replicas}
		if old != nil && !old.Removed && !same(old.Workload.Template, w.Template) {
			return false, engine.ErrChanged
		}
		if old != nil && same(*old, want) {
			return false, nil
		}
		return true, e.writeWorkload(want)
	})
	if err != nil {
		return fmt.Errorf("ensuring workload %q: %w", w.ID, err)
	}
	e.act(ctx, changed)
	return nil
}

// Remove implements engine.Engine.
func (e *Engine) Remove(ctx context.Context, epoch int64, id string) error {
	changed, err := e.accept(epoch, func() (bool, error) {
		old, err := e.readWorkload(id)
		if err != nil || old == nil || old.Removed {
			return false, err
		}
		old.Removed = true
		return true, e.writeWorkload(*old)
	})
	if err != nil {
		return fmt.Errorf("removing workload %q: %w", id, err)
	}
	e.act(ctx, changed)
	return nil
}

// act makes what was accepted show: new copies as pending, victims as draining.
func (e *Engine) act(ctx context.Context, changed bool) {
	if !changed || !e.supervising.Load() {
		return
	}
	if _, err := e.loop.Round(ctx); err != nil && ctx.Err() == nil {
		e.log.Error("supervising instances", "error", err)
	}
	e.loop.Wake()
}

// Instances implements engine.Engine.
func (e *Engine) Instances(ctx context.Context, sel engine.Selector) ([]engine.Instance, error) {
	all, err := e.look()
	if err != nil {
		return nil, fmt.Errorf("listing instances: %w", err)
	}
	var list []engine.Instance
	for _, s := range all {
		if sel.Matches(s.instance) {
			list = append(list, clone(s.instance))
		}
	}
	return list, ctx.Err()
}

// Describe implements engine.Engine.
func (e *Engine) Describe(context.Context) (engine.Description, error) {
	cpu, memory, err := machine()
	if err != nil {
		return engine.Description{}, fmt.Errorf("describing this machine: %w", err)
	}
	return engine.Description{Name: "process", CPU: cpu, Memory: memory, GPUs: len(e.keep.gpus), Isolation: e.keep.describe(), Weaker: slices.Clone(e.keep.weaker)}, nil
}

// Notify implements engine.Notifier.
func (e *Engine) Notify() <-chan struct{} { return e.notify }

// tell notifies if the list differs from the last one told of.
func (e *Engine) tell(all []seen) {
	list := make([]engine.Instance, 0, len(all))
	for _, s := range all {
		list = append(list, s.instance)
	}
	e.mu.Lock()
	changed := !reflect.DeepEqual(list, e.last)
	e.last = list
	e.mu.Unlock()
	if changed {
		select {
		case e.notify <- struct{}{}:
		default:
		}
	}
}
