package process

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

func supported() error { return nil }

// handle is a process ID: macOS has no better name for a process. The caller
// asks again who holds the lock, which leaves only a moment for a mistake.
type handle struct{ pid int }

func openHandle(pid int) (handle, error) { return handle{pid}, nil }

func (h handle) close() {}

func (h handle) signal(sig syscall.Signal) error { return syscall.Kill(h.pid, sig) }

func (h handle) wait(context.Context) error { return errors.New("this system cannot wait for it") }

// machine gives the cores and the bytes of memory of this machine.
func machine() (cpu float64, memory int64, err error) {
	bytes, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0, 0, err
	}
	return float64(cores()), int64(bytes), nil
}

// shimAttributes puts the shim into a session of its own: nothing that is sent
// to ours reaches it.
func shimAttributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
