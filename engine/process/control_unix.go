//go:build unix

package process

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/sluice-ml/sluice/engine/process/shim"
)

// The signals to a shim.
const (
	polite = syscall.SIGTERM
	force  = shim.ForceSignal
	kill   = syscall.SIGKILL
)

func ownedByUs(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}

// signal sends a signal to the shim of an instance, if it has one.
func (e *Engine) signal(id string, sig syscall.Signal) error {
	dir := e.instanceDir(id)
	pid, err := shim.Holder(dir)
	if err != nil || pid == 0 {
		return err
	}
	h, err := openHandle(pid)
	if err != nil {
		return err
	}
	defer h.close()
	// The handle is of whoever had this ID when it was opened. If that one
	// still holds the lock, it is the shim.
	if again, err := shim.Holder(dir); err != nil || again != pid {
		return err
	}
	if err := h.signal(sig); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("sending %s to the shim of %s: %w", sig, id, err)
	}
	return nil
}

// watch wakes the supervisor as soon as the shim ends, and until then watches
// liveness where that is asked for.
func (e *Engine) watch(r record, pid int, running bool) {
	shimLives := e.once(e.ctx, "shim "+r.ID, func(context.Context) {
		e.waitFor(r.ID, pid)
		e.collect(pid)
		e.loop.Wake()
	})
	if running && e.config.Live != nil && r.Live.Path != "" && r.Drained.IsZero() && r.Hung == "" {
		e.once(shimLives, "live "+r.ID, func(ctx context.Context) { e.watchLive(ctx, r) })
	}
}

// once runs f in the background unless it runs already under this name, and
// gives a context that is done when f is.
func (e *Engine) once(parent context.Context, name string, f func(context.Context)) context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx := e.watching[name]; ctx != nil {
		return ctx
	}
	ctx, cancel := context.WithCancel(parent)
	spawned := e.spawn(func() {
		defer cancel()
		f(ctx)
		e.mu.Lock()
		delete(e.watching, name)
		e.mu.Unlock()
	})
	if !spawned {
		cancel()
		return ctx
	}
	e.watching[name] = ctx
	return ctx
}

// waitFor returns when the shim has ended or the engine is closed.
func (e *Engine) waitFor(id string, pid int) {
	dir := e.instanceDir(id)
	if h, err := openHandle(pid); err == nil {
		defer h.close()
		if again, err := shim.Holder(dir); err == nil && again == pid && h.wait(e.ctx) == nil {
			return
		}
	}
	for e.ctx.Err() == nil {
		if holder, err := shim.Holder(dir); err == nil && holder != pid {
			return
		}
		e.pause(lookEvery / 5)
	}
}

// collect takes the shim from the kernel's table, if it was a child of ours.
func (e *Engine) collect(pid int) {
	for e.ctx.Err() == nil {
		got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		if err != syscall.EINTR && (err != nil || got != 0) {
			return
		}
		e.pause(10 * time.Millisecond)
	}
}

// killLeftovers kills what an instance without a shim still has running, and
// reports whether there was anything.
func (h host) killLeftovers(s *seen) bool {
	found := false
	if s.state != nil {
		command := s.state.Command
		if start, err := shim.StartTime(command.PID); err == nil && start == command.Start {
			syscall.Kill(-command.PID, syscall.SIGKILL)
			syscall.Kill(command.PID, syscall.SIGKILL)
			found = true
		}
	}
	for _, pid := range shim.WithVariable(instanceVar, s.record.ID) {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			found = true
		}
	}
	found = h.killGroup(s.record.ID) || found
	if found {
		h.loop.Wake()
	}
	return found
}

// killGroup kills what is left in the control group of an instance, and reports
// whether there was anything.
func (h host) killGroup(id string) bool {
	if h.keep.groups == nil {
		return false
	}
	g, err := h.keep.groups.Group(id)
	if err != nil {
		return false
	}
	if used, err := g.Usage(); err != nil || used.PIDs == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(h.ctx, time.Second)
	defer cancel()
	if err := g.Kill(ctx); err != nil {
		h.log.Warn("ending what an instance left behind", "instance", id, "error", err)
	}
	return true
}
