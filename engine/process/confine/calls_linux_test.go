package confine

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// judge has the filter decide about a call.
func judge(t *testing.T, p []bpf.Instruction, arch, call uint32, args ...uint64) uint32 {
	t.Helper()
	vm, err := bpf.NewVM(p)
	if err != nil {
		t.Fatal(err)
	}
	// The kernel shows words as the machine has them; this one reads them as
	// networks do. The low half of an argument is first.
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[offsetCall:], call)
	binary.BigEndian.PutUint32(data[offsetArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offsetArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[offsetArgs+8*i+4:], uint32(a>>32))
	}
	got, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}

// The machine's words for answers do not fit a signed word.
func TestFilterDecides(t *testing.T) {
	const unsupported = unix.SECCOMP_RET_ERRNO | uint32(unix.EOPNOTSUPP)
	pointer := uint64(0x7f01_0000_0000) // its low half is zero
	minusOne := uint64(0xffffffff)
	for _, tt := range []struct {
		name        string
		call        uint32
		args        []uint64
		own, shared uint32
	}{
		{"an ordinary call", unix.SYS_READ, nil, allow, allow},
		{"a mount", unix.SYS_MOUNT, nil, refuse, refuse},
		{"a thread", unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, allow, allow},
		{"a child", unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, allow, allow},
		{"a user namespace", unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, refuse, refuse},
		{"a thread and a mount namespace", unix.SYS_CLONE, []uint64{unix.CLONE_NEWNS | unix.CLONE_VM}, refuse, refuse},
		{"a call with flags in memory", unix.SYS_CLONE3, nil, absent, absent},
		{"typing into a terminal", unix.SYS_IOCTL, []uint64{0, unix.TIOCSTI}, refuse, refuse},
		{"typing with rubbish above the word", unix.SYS_IOCTL, []uint64{0, 1<<32 | unix.TIOCSTI}, refuse, refuse},
		{"asking for a window's size", unix.SYS_IOCTL, []uint64{0, unix.TIOCGWINSZ}, allow, allow},
		{"an internet socket", unix.SYS_SOCKET, []uint64{unix.AF_INET}, allow, allow},
		{"a Unix socket", unix.SYS_SOCKET, []uint64{unix.AF_UNIX}, allow, family},
		{"a packet socket", unix.SYS_SOCKET, []uint64{unix.AF_PACKET}, family, family},
		{"a pair of streams", unix.SYS_SOCKETPAIR, []uint64{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, allow, allow},
		{"a pair of datagrams", unix.SYS_SOCKETPAIR, []uint64{unix.AF_UNIX, unix.SOCK_DGRAM | unix.SOCK_NONBLOCK}, allow, family},
		{"a pair of another family", unix.SYS_SOCKETPAIR, []uint64{unix.AF_TIPC, unix.SOCK_STREAM}, family, family},
		{"a file's mode", unix.SYS_FCHMODAT, nil, allow, pretend},
		{"a file's time", unix.SYS_UTIMENSAT, nil, allow, pretend},
		{"a file's attribute", unix.SYS_SETXATTR, nil, allow, unsupported},
		{"shared memory", unix.SYS_SHMGET, nil, allow, absent},
		{"a signal", unix.SYS_KILL, []uint64{77}, allow, allow},
		{"a signal to its group", unix.SYS_KILL, []uint64{0}, allow, allow},
		{"a signal to everybody", unix.SYS_KILL, []uint64{minusOne}, allow, refuse},
		{"its own limit", unix.SYS_PRLIMIT64, []uint64{0, 7, pointer}, allow, allow},
		{"another's limit, read", unix.SYS_PRLIMIT64, []uint64{77, 7, 0, pointer}, allow, allow},
		{"another's limit", unix.SYS_PRLIMIT64, []uint64{77, 7, 0x1000}, allow, refuse},
		{"another's limit, by an address of a high half only", unix.SYS_PRLIMIT64, []uint64{77, 7, pointer}, allow, refuse},
		{"its own priority", unix.SYS_SETPRIORITY, []uint64{unix.PRIO_PROCESS, 0, 10}, allow, allow},
		{"another's priority", unix.SYS_SETPRIORITY, []uint64{unix.PRIO_PROCESS, 77, 10}, allow, pretend},
		{"its user's priority", unix.SYS_SETPRIORITY, []uint64{unix.PRIO_USER, 0, 10}, allow, pretend},
		{"its own core", unix.SYS_SCHED_SETAFFINITY, []uint64{0}, allow, allow},
		{"another's core", unix.SYS_SCHED_SETAFFINITY, []uint64{77}, allow, pretend},
	} {
		arch := uint32(nativeArch)
		if got := judge(t, program(arch, false), arch, tt.call, tt.args...); got != tt.own {
			t.Errorf("%s: with a user of its own the answer is %#x, want %#x", tt.name, got, tt.own)
		}
		if got := judge(t, program(arch, true), arch, tt.call, tt.args...); got != tt.shared {
			t.Errorf("%s: with a shared user the answer is %#x, want %#x", tt.name, got, tt.shared)
		}
	}
}

func TestFilterKnowsItsMachine(t *testing.T) {
	for _, shared := range []bool{false, true} {
		p := program(unix.AUDIT_ARCH_X86_64, shared)
		for _, call := range []uint32{0, 39, 59} {
			if got := judge(t, p, unix.AUDIT_ARCH_X86_64, x32Calls|call); got != absent {
				t.Errorf("call %d of x32 is answered %#x", call, got)
			}
			if got := judge(t, p, unix.AUDIT_ARCH_I386, call); got != kill {
				t.Errorf("call %d of 32 bits is answered %#x", call, got)
			}
		}
	}
}

// Each part of a filter jumps by bytes, and none over its end.
func TestFilterFits(t *testing.T) {
	for _, shared := range []bool{false, true} {
		p := program(nativeArch, shared)
		if _, err := bpf.Assemble(p); err != nil || len(p) > 4096 {
			t.Errorf("a program of %d instructions: %v", len(p), err)
		}
		for call := range uint32(500) {
			got := judge(t, p, nativeArch, call)
			if slices.Contains(refusedCalls, call) && got != refuse {
				t.Errorf("call %d is answered %#x", call, got)
			}
		}
	}
}
