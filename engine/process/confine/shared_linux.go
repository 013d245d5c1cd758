package confine

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What one process of a user may do to another, or to what the user owns, no
// matter which files Landlock leaves it. It is refused to a command that shares
// the user of Sluice.

// pretendedCalls change what is said of a file, by a path or a descriptor that
// Landlock does not look at. Copying a file calls them too, so they succeed and
// do nothing.
var pretendedCalls = append([]uint32{
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
}, olderCalls...)

// attributeCalls change attributes, which many file systems have not.
var attributeCalls = []uint32{
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT, unix.SYS_FILE_SETATTR,
	unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTRAT,
}

// absentCalls are those of memory, queues and watches that belong to a user and
// not to a process: they would outlive the command, and be its neighbours' too.
var absentCalls = append([]uint32{
	unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SEMGET, unix.SYS_SEMCTL, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP,
	unix.SYS_MSGGET, unix.SYS_MSGCTL, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK,
	unix.SYS_INOTIFY_INIT1,
}, olderAbsentCalls...)

// selfCalls set how a thread is scheduled: the first argument names it, 0 being
// the caller. Libraries name their own threads, and do not mind.
var selfCalls = []uint32{unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR}

// betweenProcesses is the part of the filter for a shared user.
func betweenProcesses() []bpf.Instruction {
	const everybody = 0xffffffff // -1
	p := answer(pretend, pretendedCalls...)
	p = append(p, answer(unix.SECCOMP_RET_ERRNO|uint32(unix.EOPNOTSUPP), attributeCalls...)...)
	p = append(p, answer(absent, absentCalls...)...)
	p = append(p, on(unix.SYS_KILL, argument(0),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: everybody, SkipTrue: 1},
		bpf.RetConstant{Val: refuse},
		bpf.RetConstant{Val: allow})...)
	for _, call := range selfCalls {
		p = append(p, on(call, argument(0),
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
			bpf.RetConstant{Val: pretend},
			bpf.RetConstant{Val: allow})...)
	}
	for call, process := range map[uint32]uint32{unix.SYS_SETPRIORITY: unix.PRIO_PROCESS, unix.SYS_IOPRIO_SET: ioprioProcess} {
		p = append(p, on(call, argument(0),
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: process, SkipTrue: 3},
			argument(1),
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
			bpf.RetConstant{Val: allow},
			bpf.RetConstant{Val: pretend})...)
	}
	// Limits of others may be read: then the third argument is no address.
	return append(p, on(unix.SYS_PRLIMIT64, argument(0),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 5},
		argument(2),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 2},
		bpf.LoadAbsolute{Off: offsetArgs + 8*2 + 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: refuse},
		bpf.RetConstant{Val: allow})...)
}

const ioprioProcess = 1
