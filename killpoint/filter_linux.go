package killpoint

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif of the kernel.
type notification struct {
	ID    uint64
	PID   uint32 // of the thread
	Flags uint32
	Call  int32
	Arch  uint32
	At    uint64
	Args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	ID    uint64
	Value int64
	Error int32
	Flags uint32
}

// Offsets into struct seccomp_data, on machines that are little-endian.
const (
	dataCall = 0
	dataArgs = 16
)

// filter has the kernel ask, at each durable call of this thread and what it
// starts, through the descriptor it gives.
func filter() (listener int, err error) {
	program := assemble()
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// With the second flag a signal does not interrupt a call that we look at;
	// older kernels do not have it.
	for _, flags := range []uintptr{unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER} {
		fd, errno := install(&prog, flags)
		if errno == unix.EACCES {
			// Who may not administer the system has to give something up first.
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return -1, fmt.Errorf("giving up new privileges: %w", err)
			}
			fd, errno = install(&prog, flags)
		}
		if errno == 0 {
			return fd, nil
		}
		err = errno
		if errno != unix.EINVAL {
			break
		}
	}
	return -1, fmt.Errorf("installing a seccomp listener: %w", err)
}

func install(prog *unix.SockFprog, flags uintptr) (listener int, errno syscall.Errno) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(prog)))
	return int(fd), errno
}

// assemble makes the filter: the calls of the table ask, of those that open a
// file only those that make or empty one, and all others go through.
func assemble() []unix.SockFilter {
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		same = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		bits = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K
	)
	out := []unix.SockFilter{{Code: load, K: dataCall}}
	for nr, c := range calls {
		if c.flags == 0 {
			out = append(out, unix.SockFilter{Code: same, K: uint32(nr), Jf: 1},
				unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF})
			continue
		}
		out = append(out, unix.SockFilter{Code: same, K: uint32(nr), Jf: 4},
			unix.SockFilter{Code: load, K: dataArgs + 8*uint32(c.flags)},
			unix.SockFilter{Code: bits, K: unix.O_CREAT | unix.O_TRUNC, Jf: 1},
			unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF},
			unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	}
	return append(out, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}

// receive gives the next call, none when it went away meanwhile.
func receive(listener int) (notification, error) {
	var n notification
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n)))
	switch errno {
	case 0:
		return n, nil
	case unix.ENOENT, unix.EINTR:
		return notification{}, nil
	}
	return n, fmt.Errorf("receiving a call: %w", errno)
}

// respond lets a call happen, or fail when errno says with what. It reports
// whether the call went away.
func respond(listener int, id uint64, errno syscall.Errno) (gone bool, err error) {
	r := response{ID: id, Error: -int32(errno)}
	if errno == 0 {
		r.Flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
		switch e {
		case 0:
			return false, nil
		case unix.EINTR:
		case unix.ENOENT:
			return true, nil
		default:
			return false, fmt.Errorf("answering a call: %w", e)
		}
	}
}
