package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/supervise"
)

// Engine is an engine in memory, for tests of what calls one. It keeps the
// contract: copies are made, replaced with back-off, drained, told and forced
// as in any engine. What its copies do is the test's to say: with Become,
// Addressable, Exit and Block by hand, or with Auto and Program for all.
//
// It starts no goroutine unless Program is set, and tells time by the time
// package, so it may be used inside a testing/synctest bubble. Its methods may
// be called from any goroutine; its fields are set before it is used.
type Engine struct {
	// Auto makes every copy running as soon as it is made.
	Auto bool
	// AddressOf gives the address of a copy from its ID. By default it is
	// that of the template, with "${instance}" replaced.
	AddressOf func(instance string) string
	// Program, when set, is run for every copy in its own goroutine, and its
	// exit is the copy's. It must return soon after p.Kill is closed. It sets
	// the copy running by itself.
	Program func(p *Process) engine.Exit
	// Service, when set, says what is known of how a copy serves.
	Service func(instance string) engine.Service
	// Describes is what Describe answers.
	Describes engine.Description

	mu        sync.Mutex // guards what follows
	epoch     int64
	workloads map[string]*wanted
	copies    map[string]*fakeCopy
	made      int
	fail      error
	calls     []Call
	timer     *time.Timer
	closed    bool
	running   sync.WaitGroup
	notify    chan struct{}
}

// Call is one call that changed what is wanted.
type Call struct {
	Method   string // "Ensure" or "Remove"
	Epoch    int64
	Workload string
	Replicas int
}

// Process is what a Program is given.
type Process struct {
	Instance string
	Command  []string
	Env      map[string]string
	Stdout   io.Writer       // the copy's log
	Term     <-chan struct{} // closed with the polite signal
	Kill     <-chan struct{} // closed by force
}

type wanted struct {
	engine.Workload
	replicas int
	removed  bool
}

type fakeCopy struct {
	engine.Instance
	supervised supervise.Copy
	restart    engine.Restart
	log        bytes.Buffer
	grown      chan struct{} // closed and replaced whenever the log or the phase changes
	term, kill chan struct{}
}

// New makes an engine in memory with nothing in it.
func New() *Engine {
	return &Engine{
		Describes: engine.Description{Name: "memory", CPU: 8, Memory: 32 << 30, Images: true,
			Isolation: "None: nothing is run."},
		workloads: map[string]*wanted{}, copies: map[string]*fakeCopy{}, notify: make(chan struct{}, 1),
	}
}

// Close stops all programs by force and waits for them. An engine without
// Program need not be closed.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	if e.timer != nil {
		e.timer.Stop()
	}
	for _, c := range e.copies {
		if !c.Phase.Ended() {
			c.close(&c.kill)
		}
	}
	e.mu.Unlock()
	e.running.Wait()
}

// Ensure implements engine.Engine.
func (e *Engine) Ensure(_ context.Context, epoch int64, w engine.Workload, replicas int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, Call{"Ensure", epoch, w.ID, replicas})
	if err := e.accept(epoch); err != nil {
		return err
	}
	if old := e.workloads[w.ID]; old != nil && !old.removed && !reflect.DeepEqual(old.Template, w.Template) {
		return fmt.Errorf("ensuring %s: %w", w.ID, engine.ErrChanged)
	}
	e.workloads[w.ID] = &wanted{Workload: w, replicas: replicas}
	e.step()
	return nil
}

// Remove implements engine.Engine.
func (e *Engine) Remove(_ context.Context, epoch int64, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, Call{"Remove", epoch, id, 0})
	if err := e.accept(epoch); err != nil {
		return err
	}
	if w := e.workloads[id]; w != nil {
		w.removed = true
		e.step()
	}
	return nil
}

func (e *Engine) accept(epoch int64) error {
	if e.fail != nil {
		return e.fail
	}
	if epoch < e.epoch {
		return engine.ErrStale
	}
	e.epoch = epoch
	return nil
}

// Instances implements engine.Engine.
func (e *Engine) Instances(_ context.Context, sel engine.Selector) ([]engine.Instance, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return nil, e.fail
	}
	e.step()
	var list []engine.Instance
	for _, c := range e.copies {
		if sel.Matches(c.Instance) {
			list = append(list, c.snapshot())
		}
	}
	slices.SortFunc(list, func(a, b engine.Instance) int {
		if d := a.Created.Compare(b.Created); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

func (c *fakeCopy) snapshot() engine.Instance {
	i := c.Instance
	i.Labels = maps.Clone(i.Labels)
	if i.Exit != nil {
		exit := *i.Exit
		i.Exit = &exit
	}
	return i
}

// Logs implements engine.Engine.
func (e *Engine) Logs(ctx context.Context, instance string, opts engine.LogOptions) (engine.Log, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.copies[instance]
	if c == nil {
		return nil, fmt.Errorf("opening the log of %s: %w", instance, engine.ErrNotFound)
	}
	text := c.log.Bytes()
	start := tailStart(text, opts.Tail)
	if opts.From != "" {
		var err error
		if start, err = strconv.Atoi(opts.From); err != nil || start < 0 || start > len(text) {
			return nil, fmt.Errorf("opening the log of %s: %w", instance, engine.ErrPosition)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	return &followed{e: e, c: c, at: start, once: !opts.Follow, ctx: ctx, cancel: cancel}, nil
}

// Describe implements engine.Engine.
func (e *Engine) Describe(context.Context) (engine.Description, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.Describes, e.fail
}

// Notify implements engine.Notifier.
func (e *Engine) Notify() <-chan struct{} { return e.notify }

// step does what supervise says until there is nothing more to do now, and sets
// the timer for the next time.
func (e *Engine) step() {
	if e.closed {
		return
	}
	var next time.Time
	for again := true; again; {
		again, next = false, time.Time{}
		now := time.Now()
		for _, id := range slices.Sorted(maps.Keys(e.workloads)) {
			w := e.workloads[id]
			actions, due := supervise.Decide(w.want(), e.copiesOf(id), now)
			for _, a := range actions {
				again = true
				e.do(w, a, now)
			}
			if !due.IsZero() && (next.IsZero() || due.Before(next)) {
				next = due
			}
		}
	}
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	if !next.IsZero() {
		e.timer = time.AfterFunc(time.Until(next), func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.step()
		})
	}
}

func (w *wanted) want() supervise.Want {
	return supervise.Want{Workload: w.ID, Restart: w.Template.Restart, Replicas: w.replicas, Removed: w.removed}
}

func (e *Engine) copiesOf(workload string) []supervise.Copy {
	var list []supervise.Copy
	for _, id := range slices.Sorted(maps.Keys(e.copies)) {
		if c := e.copies[id]; c.Workload == workload {
			s := c.supervised
			s.Phase, s.Started, s.Ended = c.Phase, c.Started, c.Ended
			if e.Service != nil {
				s.Service = e.Service(c.ID)
			}
			list = append(list, s)
		}
	}
	return list
}

func (e *Engine) do(w *wanted, a supervise.Action, now time.Time) {
	c := e.copies[a.ID]
	switch a.Kind {
	case supervise.Start:
		e.make(w, a.Slot, now)
	case supervise.Drain:
		c.supervised.Drained = now
		c.Phase, c.Asked = engine.Draining, true
		e.changed(c)
	case supervise.Tell:
		c.supervised.Told = now
		c.close(&c.term)
		if e.Program == nil {
			e.end(c, engine.Exit{Signal: "SIGTERM"}, "", "")
		}
	case supervise.Force:
		c.supervised.Forced = now
		c.close(&c.kill)
		if e.Program == nil {
			e.end(c, engine.Exit{Signal: "SIGKILL"}, engine.Exited, "killed by force")
		}
	case supervise.Forget:
		delete(e.copies, a.ID)
	case supervise.Drop:
		delete(e.workloads, w.ID)
	}
}

// close closes a channel once.
func (c *fakeCopy) close(ch *chan struct{}) {
	select {
	case <-*ch:
	default:
		close(*ch)
	}
}

func (e *Engine) make(w *wanted, slot int, now time.Time) {
	e.made++
	id := fmt.Sprintf("%s-%d", w.ID, e.made)
	t := w.Template
	c := &fakeCopy{
		Instance: engine.Instance{ID: id, Workload: w.ID, Labels: maps.Clone(w.Labels), Phase: engine.Pending,
			Node: "memory", Created: now},
		supervised: supervise.Copy{ID: id, Workload: w.ID, Slot: slot, Created: now,
			DrainDelay: t.DrainDelay, Grace: t.Grace},
		restart: t.Restart,
		grown:   make(chan struct{}), term: make(chan struct{}), kill: make(chan struct{}),
	}
	e.copies[id] = c
	switch {
	case e.Program != nil:
		e.start(c, t)
	case e.Auto:
		e.advance(c, engine.Running, now)
	}
	e.changed(c)
}

func (e *Engine) start(c *fakeCopy, t engine.Template) {
	e.advance(c, engine.Running, time.Now())
	fill := strings.NewReplacer("${instance}", c.ID)
	p := &Process{Instance: c.ID, Env: map[string]string{}, Stdout: logWriter{e, c}, Term: c.term, Kill: c.kill}
	for _, arg := range t.Command {
		p.Command = append(p.Command, fill.Replace(arg))
	}
	for k, v := range t.Env {
		p.Env[k] = fill.Replace(v)
	}
	e.running.Go(func() {
		exit := e.Program(p)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.end(c, exit, "", "")
		e.step()
	})
}

// advance moves a copy on to starting or running, with its address.
func (e *Engine) advance(c *fakeCopy, to engine.Phase, now time.Time) {
	if c.Phase != engine.Draining {
		c.Phase = to
	}
	if c.Address == "" {
		c.Address = e.addressOf(c)
	}
	if to == engine.Running && c.Started.IsZero() {
		c.Started = now
	}
	c.Reason, c.Message = "", ""
}

func (e *Engine) addressOf(c *fakeCopy) string {
	if e.AddressOf != nil {
		return e.AddressOf(c.ID)
	}
	w := e.workloads[c.Workload]
	if w == nil {
		return ""
	}
	return strings.NewReplacer("${instance}", c.ID, "${run}", "/run/"+c.ID).Replace(w.Template.Address)
}

func (e *Engine) end(c *fakeCopy, exit engine.Exit, reason engine.Reason, message string) {
	if c.Phase.Ended() {
		return
	}
	if len(exit.Message) > engine.MaxExitMessage {
		exit.Message = exit.Message[:engine.MaxExitMessage]
	}
	c.Exit, c.Ended = &exit, time.Now()
	forced := !c.supervised.Forced.IsZero()
	politely := !c.supervised.Drained.IsZero() && !forced
	c.Phase = engine.Succeeded
	if exit.OOM && reason == "" {
		reason = engine.OOM
	}
	if (exit.Code != 0 || exit.Signal != "") && !politely || reason != "" {
		c.Phase = engine.Failed
		c.Reason, c.Message = reason, message
		if c.Reason == "" {
			c.Reason = engine.Exited
		}
	}
	e.changed(c)
}

func (e *Engine) changed(c *fakeCopy) {
	close(c.grown)
	c.grown = make(chan struct{})
	select {
	case e.notify <- struct{}{}:
	default:
	}
}
