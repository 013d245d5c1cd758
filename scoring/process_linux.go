package scoring

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func workerAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// waitExited returns when the process has ended, without reaping it.
func waitExited(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// guard keeps this process from the others of its user, which are the workers
// and what they start: they may not look into its memory, its descriptors or
// its log. It is for an instance that has a user of its own, whose shim is the
// first of its process namespace; where users are shared, those who count this
// process's memory must be able to look.
func guard() {
	if os.Getppid() == 1 {
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // it fails for other values only
	}
}
