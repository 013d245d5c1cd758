//go:build unix

package parent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// ErrRunning says that a parent runs already.
var ErrRunning = errors.New("sluice is running already")

// acquire takes the lock that only one parent holds; the system releases it
// however the parent ends.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the parent: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("taking the lock of the parent: %w", err)
	}
	return f, nil
}

// detach makes the command survive this process and its terminal.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}
