// Package parent is the small process behind `sluice up`: it owns the two
// listening sockets and keeps the server and the gateway running on them.
//
// The children are sessions of their own and hold copies of the sockets, so
// they go on when the parent is killed; the next parent adopts both and their
// sockets (see package handover) instead of starting them. A child that dies
// is started again at once on the same socket: connections that arrive between
// the two wait in it.
package parent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/handover"
	"github.com/sluice-ml/sluice/home"
)

// Config is what a parent works with. All fields are needed.
type Config struct {
	Home     home.Dir
	Settings home.Config
	Program  string // path of sluice
	Version  string
	Logger   *slog.Logger
	// Ready is called once, when both children serve for the first time.
	Ready func(State)
}

// Children in the order they are started; they are stopped in reverse, so that
// no request arrives that nobody could answer.
var childNames = []string{"server", "gateway"}

// Run keeps both children running until the context is done, then stops them
// and everything they run. It returns [ErrRunning] when another parent does
// the same already.
func Run(ctx context.Context, c Config) error {
	lock, err := acquire(c.Home.ParentLock())
	// Whoever asks whether a parent runs holds the lock for a moment.
	for try := 0; errors.Is(err, ErrRunning) && try < 10; try++ {
		time.Sleep(10 * time.Millisecond)
		lock, err = acquire(c.Home.ParentLock())
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := own(lock); err != nil {
		return disk.Explain("the lock of the parent", c.Home.Run(), fmt.Errorf("writing the lock of the parent: %w", err))
	}

	p := &parent{Config: c, ready: map[string]*handover.Adopted{}, failed: make(chan error, len(childNames)+1), unwritten: make(chan struct{}, 1)}
	children, err := p.open()
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	defer stop()
	var group sync.WaitGroup
	for _, child := range children {
		group.Go(func() { child.keep(running) })
	}
	group.Go(func() { p.keepLogsShort(running) })
	group.Go(func() { p.keepState(running) })
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-p.failed:
	}
	stop()
	group.Wait()
	c.Logger.Info("stopping")
	var errs []error
	// First: from here on nobody may be told that all is up.
	if err := os.Remove(c.Home.State()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for i := len(children) - 1; i >= 0; i-- {
		errs = append(errs, children[i].end())
	}
	if failed != nil {
		return failed
	}
	return errors.Join(errs...)
}

type parent struct {
	Config
	adopted bool       // something ran already when we came
	failed  chan error // why we cannot go on; room for one from each child and one of our own

	unwritten chan struct{} // one slot: the state could not be written
	writing   sync.Mutex    // held by the one who writes the state

	mu      sync.Mutex
	ready   map[string]*handover.Adopted // by name, guarded by mu
	started time.Time                    // guarded by mu
}

// open adopts the children that run already and opens sockets for the others.
func (p *parent) open() ([]*child, error) {
	listen := map[string]*string{"server": &p.Settings.API.Listen, "gateway": &p.Settings.Gateway.Listen}
	sockets := map[string]string{"server": p.Home.ServerSocket(), "gateway": p.Home.GatewaySock()}
	var children []*child
	for _, name := range childNames {
		child := &child{parent: p, name: name, control: sockets[name]}
		if err := child.open(*listen[name]); err != nil {
			return nil, err
		}
		p.adopted = p.adopted || child.adopted != nil
		*listen[name] = taken(*listen[name], child.socket)
		children = append(children, child)
	}
	return children, nil
}

// serving notes that a child serves now, and tells the world.
func (p *parent) serving(a *handover.Adopted) {
	p.mu.Lock()
	p.ready[a.Name] = a
	all := len(p.ready) == len(childNames)
	first := all && p.started.IsZero()
	if first {
		p.started = time.Now()
	}
	p.mu.Unlock()
	if !all {
		return
	}
	state, err := p.writeState()
	if err != nil {
		p.Logger.Error("writing the state file", "err", err)
		if first && !p.adopted {
			// Without it no command finds the server.
			p.failed <- err
			return
		}
		select {
		case p.unwritten <- struct{}{}:
		default:
		}
	}
	if first {
		p.Ready(state)
	}
}

// writeState writes what runs now.
func (p *parent) writeState() (State, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock()
	state := p.state()
	p.mu.Unlock()
	if err := state.write(p.Home.State()); err != nil {
		return state, disk.Explain("the state file", p.Home.Run(), fmt.Errorf("writing the state file: %w", err))
	}
	return state, nil
}

// keepState writes the state that could not be written, again and again until
// it can: a full disk is emptied some day, and nobody tells us.
func (p *parent) keepState(ctx context.Context) {
	for {
		select {
		case <-p.unwritten:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(stateAgain):
		case <-ctx.Done():
			return
		}
		if _, err := p.writeState(); err == nil {
			p.Logger.Info("the state file is written again")
			continue
		}
		select {
		case p.unwritten <- struct{}{}:
		default:
		}
	}
}

// giveUp ends the parent when a child cannot start: whoever has just typed
// `sluice up` wants to know why. Once both have served, or when one of them was
// there before us and may be serving now, it is tried again for ever instead.
func (p *parent) giveUp(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.adopted && p.started.IsZero() {
		p.failed <- err
	}
}

// stateAgain is when a state that could not be written is written again.
const stateAgain = time.Second

// state must be called with mu held and all children ready, or gives what is
// known.
func (p *parent) state() State {
	s := State{ParentPID: os.Getpid(), StartedAt: p.started, Version: p.Version}
	if a := p.ready["server"]; a != nil {
		s.PID, s.APIAddress = a.PID, home.URL(p.Settings.API.Listen)
	}
	if a := p.ready["gateway"]; a != nil {
		s.GatewayPID, s.GatewayAddress = a.PID, home.URL(p.Settings.Gateway.Listen)
	}
	return s
}
