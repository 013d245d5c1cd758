package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// The descriptors of the process that becomes the command.
const (
	specFD   = 3 // what to become, until it has been read
	errorFD  = 4 // why it could not, closed by success
	socketFD = 5 // a listening socket to hand over, when there is one
)

// Start starts a command and returns once it runs; its standard output and
// error are out. socket, when not nil, is a listening socket that the command
// gets as systemd hands them over: descriptor 3, LISTEN_FDS and LISTEN_PID. The
// caller is the parent and reaps it. Why it could not be started is a
// [*Failure].
func Start(s Spec, out, socket *os.File) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("finding this program: %w", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	specR, specW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer specW.Close()
	errorR, errorW, err := os.Pipe()
	if err != nil {
		specR.Close()
		return 0, err
	}
	defer errorR.Close()
	files := []uintptr{null.Fd(), out.Fd(), out.Fd(), specR.Fd(), errorW.Fd()}
	s.Socket = socket != nil
	if s.Socket {
		files = append(files, socket.Fd())
	}
	attr := &syscall.ProcAttr{
		Dir: "/", Files: files,
		// Under the race detector our own exit would wait a second.
		Env: []string{"GORACE=atexit_sleep_ms=0"},
		Sys: &syscall.SysProcAttr{Setpgid: true, Cloneflags: s.namespaces()},
	}
	argv := []string{"sluice-runner", Command}
	if s.SharedUser && s.AllProcesses > 0 {
		countAlone(attr.Sys)
	}
	pid, err = syscall.ForkExec(self, argv, attr)
	if err != nil && s.AllProcesses > 0 { // it may be forbidden, or they may be used up
		attr.Sys, s.Processes = &syscall.SysProcAttr{Setpgid: true, Cloneflags: s.namespaces()}, s.AllProcesses
		pid, err = syscall.ForkExec(self, argv, attr)
	}
	specR.Close()
	errorW.Close()
	if err != nil {
		return 0, fmt.Errorf("starting a confined process: %w", err)
	}
	if err := tell(s, specW, errorR); err != nil {
		reap(pid)
		return 0, err
	}
	return pid, nil
}

func (s Spec) namespaces() uintptr {
	if s.World == nil {
		return 0
	}
	flags := uintptr(syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS)
	if s.World.Network {
		flags |= syscall.CLONE_NEWNET
	}
	return flags
}

// countAlone gives a command a user namespace, in which it is who it was. It has
// no rights from that, as it gives all up, but its processes are counted apart
// from those of others with its user.
func countAlone(a *syscall.SysProcAttr) {
	a.Cloneflags |= syscall.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
}

// tell hands over what to become and waits until that is so.
func tell(s Spec, to io.WriteCloser, from io.Reader) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("starting a confined process: %w", err)
	}
	_, wrote := to.Write(text) // one that died has said why, or has not
	to.Close()
	said, err := io.ReadAll(io.LimitReader(from, 64<<10))
	if err != nil {
		return fmt.Errorf("starting a confined process: %w", err)
	}
	switch {
	case len(said) > 0:
		f := &Failure{}
		if err := json.Unmarshal(said, f); err != nil {
			return fmt.Errorf("starting a confined process: it said %.200q", said)
		}
		return f
	case wrote != nil:
		return errors.New("starting a confined process: it ended at once")
	}
	return nil
}

func reap(pid int) {
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}
