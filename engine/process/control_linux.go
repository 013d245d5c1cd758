package process

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func supported() error { return nil }

// handle is one process and never a later one with the same ID.
type handle struct{ f *os.File }

// openHandle opens the process that has this ID now. It is opened non-blocking,
// so that waiting for it takes no thread.
func openHandle(pid int) (handle, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return handle{}, fmt.Errorf("opening process %d: %w", pid, err)
	}
	return handle{os.NewFile(uintptr(fd), "process")}, nil
}

func (h handle) close() { h.f.Close() }

func (h handle) signal(sig syscall.Signal) (err error) {
	raw, err := h.f.SyscallConn()
	if err != nil {
		return err
	}
	e := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if e != nil {
		return e
	}
	return err
}

// wait returns nil once the process has ended or ctx is done, and an error
// where the kernel cannot say.
func (h handle) wait(ctx context.Context) error {
	raw, err := h.f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { h.f.Close() })
	defer stop()
	var broken error
	err = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if err != nil && err != unix.EINTR {
			broken = err
			return true
		}
		return n > 0
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	return broken
}

// machine gives the cores and the bytes of memory of this machine.
func machine() (cpu float64, memory int64, err error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, 0, err
	}
	return float64(cores()), int64(info.Totalram) * int64(info.Unit), nil
}
