package parent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sluice-ml/sluice/handover"
	"github.com/sluice-ml/sluice/home"
)

// ErrNotRunning says that there is nothing to stop.
var ErrNotRunning = errors.New("sluice is not running")

// Running reports whether a parent runs.
func Running(d home.Dir) bool {
	lock, err := probe(d.ParentLock())
	if err == nil {
		lock.Close()
	}
	return errors.Is(err, ErrRunning)
}

// Current gives the state that the parent which runs now has written; false
// when none runs, or it has none: it is just starting or stopping.
func Current(d home.Dir) (State, bool) {
	if !Running(d) {
		return State{}, false
	}
	pid, err := holder(d.ParentLock())
	if err != nil {
		return State{}, false
	}
	s, err := ReadState(d)
	return s, err == nil && s.ParentPID == pid
}

// Stop ends the parent and everything it keeps, and waits for it. Children
// whose parent was killed are ended as well.
func Stop(ctx context.Context, d home.Dir, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if _, err := os.Stat(string(d)); errors.Is(err, fs.ErrNotExist) {
		return ErrNotRunning
	}
	found := false
	if Running(d) {
		found = true
		if err := stopParent(ctx, d); err != nil {
			return err
		}
	}
	for _, control := range []string{d.GatewaySock(), d.ServerSocket()} {
		a, err := adopt(control)
		if errors.Is(err, handover.ErrAbsent) {
			continue
		}
		if err != nil {
			return err
		}
		found = true
		if err := a.Stop(true); err != nil {
			return fmt.Errorf("asking the %s to stop: %w", a.Name, err)
		}
		if err := ended(ctx, a); err != nil {
			return err
		}
	}
	if !found {
		return ErrNotRunning
	}
	// Where it cannot be removed, because the disk refuses, it names processes
	// that are no more: everybody who reads it sees that.
	os.Remove(d.State())
	return nil
}

// stopParent asks the parent to stop and waits until it has ended.
func stopParent(ctx context.Context, d home.Dir) error {
	pid, err := holder(d.ParentLock())
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("asking the parent to stop: %w", err)
	}
	if !vanished(ctx, pid) {
		return fmt.Errorf("the parent (process %d) has not stopped", pid)
	}
	return nil
}

// ended waits until a child is no more: its connection ends a moment before
// the process does.
func ended(ctx context.Context, a *handover.Adopted) error {
	select {
	case <-a.Gone():
		if vanished(ctx, a.PID) {
			return nil
		}
	case <-ctx.Done():
	}
	return fmt.Errorf("the %s (process %d) has not stopped", a.Name, a.PID)
}

// vanished waits until a process is no more, and reports whether that came.
func vanished(ctx context.Context, pid int) bool {
	for alive(pid) {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return false
		}
	}
	return true
}
