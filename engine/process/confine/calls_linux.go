package confine

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// refusedCalls are system calls that serving a model never needs, and that
// have been ways out of confinement: those of other processes' memory, of
// mounts and namespaces, of the kernel itself, and of subsystems with a history.
// They fail with "operation not permitted".
var refusedCalls = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE,
	unix.SYS_ACCT, unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
}

// namespaceFlags are those of clone that make namespaces.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// allowedFamilies are the kinds of sockets that may be made; AF_UNIX, when
// refused, may still be made in pairs.
var allowedFamilies = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// Offsets into what the kernel shows a filter (struct seccomp_data). Both
// machines we know are little-endian, so the low half of an argument is first.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArgs = 16
)

const x32Calls = 0x40000000 // amd64: calls of another interface start here

// filterCalls refuses what is in refusedCalls, from here on and for all that
// is started.
func filterCalls(s Spec) error {
	arch, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !ok {
		return nil // the engine says that there is no filter
	}
	raw, err := bpf.Assemble(program(arch, s.SharedUser))
	if err != nil {
		return fmt.Errorf("assembling the system call filter: %w", err)
	}
	filters := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(filters)
	if e != 0 {
		return fmt.Errorf("filtering system calls: %w", e)
	}
	return nil
}

// answers are what a filter may say to a call.
const (
	allow   = unix.SECCOMP_RET_ALLOW
	kill    = unix.SECCOMP_RET_KILL_PROCESS
	refuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	absent  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	family  = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
	pretend = unix.SECCOMP_RET_ERRNO // it has succeeded, and nothing was done
)

// program is the filter. Each part either returns or falls through to the next.
func program(arch uint32, sharedUser bool) []bpf.Instruction {
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1},
		bpf.RetConstant{Val: kill},
		bpf.LoadAbsolute{Off: offsetCall, Size: 4},
	}
	if arch == unix.AUDIT_ARCH_X86_64 {
		p = append(p,
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32Calls, SkipTrue: 1},
			bpf.RetConstant{Val: absent})
	}
	p = append(p, answer(refuse, refusedCalls...)...)
	// Its flags are in memory, where a filter cannot look: libraries fall back
	// to clone.
	p = append(p, answer(absent, unix.SYS_CLONE3)...)
	p = append(p, on(unix.SYS_CLONE, argument(0),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: namespaceFlags, SkipFalse: 1},
		bpf.RetConstant{Val: refuse},
		bpf.RetConstant{Val: allow})...)
	p = append(p, on(unix.SYS_IOCTL, argument(1), // typing into somebody's terminal
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.TIOCSTI, SkipTrue: 1},
		bpf.RetConstant{Val: refuse},
		bpf.RetConstant{Val: allow})...)
	families := allowedFamilies
	if sharedUser {
		p = append(p, betweenProcesses()...)
		families = families[1:]
	}
	sockets := []bpf.Instruction{argument(0)}
	for _, f := range families {
		sockets = append(sockets, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: f, SkipTrue: 1}, bpf.RetConstant{Val: allow})
	}
	p = append(p, on(unix.SYS_SOCKET, append(sockets, bpf.RetConstant{Val: family})...)...)
	p = append(p, on(unix.SYS_SOCKETPAIR, pairs(sharedUser)...)...)
	return append(p, bpf.RetConstant{Val: allow})
}

// answer gives these calls one answer.
func answer(with uint32, calls ...uint32) (p []bpf.Instruction) {
	for _, call := range calls {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: call, SkipTrue: 1}, bpf.RetConstant{Val: with})
	}
	return p
}

// on decides about one call by a body that returns in every case.
func on(call uint32, body ...bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: call, SkipTrue: uint8(len(body))}}, body...)
}

// argument loads the low half of the nth argument, from 0.
func argument(n uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offsetArgs + 8*n, Size: 4} }

// pairs decides about pairs of sockets: none but Unix's, and where Unix sockets
// are refused none of datagrams, because one of those can send to any path.
func pairs(sharedUser bool) []bpf.Instruction {
	p := []bpf.Instruction{
		argument(0),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipTrue: 1},
		bpf.RetConstant{Val: family},
	}
	if sharedUser {
		const kind = 0xf // the rest are flags
		p = append(p, argument(1),
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: kind},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SOCK_DGRAM, SkipTrue: 1},
			bpf.RetConstant{Val: family})
	}
	return append(p, bpf.RetConstant{Val: allow})
}
