package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMain plays the processes that are bounded as well. Each enters its group
// by itself, as an instance's first process does.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		if err := child(os.Args[2], os.Args[3:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const groupVariable = "TEST_GROUP"

func child(verb string, args []string) error {
	var g Group
	if err := json.Unmarshal([]byte(os.Getenv(groupVariable)), &g); err != nil {
		return err
	}
	if err := g.Enter(); err != nil {
		return err
	}
	switch verb {
	case "hold":
		return hold(args[0])
	case "work":
		for n := 0; ; n++ {
			runtime.KeepAlive(n)
		}
	case "bomb":
		fmt.Println("ready")
		bomb()
	case "look":
		return look(g)
	case "open":
		return openAsNobody(args[0])
	}
	return fmt.Errorf("no verb %q", verb)
}

// hold takes that many MiB of memory, says so, and keeps them until it is told
// to end.
func hold(mib string) error {
	n, err := strconv.Atoi(mib)
	if err != nil {
		return err
	}
	taken, err := unix.Mmap(-1, 0, max(n, 1)<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	touch(taken)
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

//go:norace
func touch(b []byte) { // the race detector would take memory of its own for each byte
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

// bomb starts processes that start processes, for ever. None of them may do
// more than call the kernel: a fork of a Go program has one thread of many.
//
//go:norace
func bomb() {
	runtime.LockOSThread()
	pause := unix.Timespec{Nsec: 1e6}
	for {
		if _, _, err := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0); err != 0 {
			unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
		}
	}
}

// look shows the group to itself as an instance sees it and prints what is
// found where programs look.
func look(g Group) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("making namespaces: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, m := range g.Mounts() {
		if err := unix.Mount(m.Source, m.Target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting %s at %s: %w", m.Source, m.Target, err)
		}
		if err := unix.Mount("", m.Target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return err
		}
	}
	seen := map[string]string{}
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes", "pids.max", "pids/pids.max", "cpu.weight", "cpu/cpu.shares"} {
		path := filepath.Join("/sys/fs/cgroup", file)
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		seen[file] = string(text)
		if err := os.WriteFile(path, text, 0); !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("writing %s: %v", path, err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(seen)
}

// openAsNobody becomes a user without rights, makes a root where it may, and
// in it a group for itself.
func openAsNobody(name string) error {
	if err := syscall.Setgid(nobody); err != nil {
		return err
	}
	if err := syscall.Setuid(nobody); err != nil {
		return err
	}
	r, err := Open(name, 64<<20)
	if err != nil {
		return err
	}
	g, err := r.Make("one", Limits{Memory: 32 << 20, PIDs: 40})
	if err != nil {
		return err
	}
	if err := g.Enter(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(g)
}

const nobody = 65534

// start runs a child in a group. It is killed with the test.
func start(t *testing.T, g Group, verb string, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	text, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"child", verb}, args...)...)
	cmd.Env = append(os.Environ(), groupVariable+"="+string(text), "GOMAXPROCS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, out
}
