//go:build unix

package scoring

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a started interpreter with its connections: the socket (descriptor
// 3), the shared page (descriptor 4), what it says of its faults (descriptor 5)
// and its output.
type process struct {
	cmd            *exec.Cmd
	conn           *net.UnixConn
	stdout, stderr *os.File
}

// startProcess starts an interpreter in a process group of its own. It does not
// outlive us: its socket ends, and where the system knows how, it is killed.
func startProcess(spawn *spawner, python, program string, env []string, memory, faults *segment) (*process, error) {
	// No other worker may be started between the two, or it inherits them.
	syscall.ForkLock.RLock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("making worker's socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "worker"), os.NewFile(uintptr(pair[1]), "server")
	conn, err := net.FileConn(ours)
	if err := errors.Join(err, ours.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("opening worker's socket: %w", err), theirs.Close())
	}
	p := &process{conn: conn.(*net.UnixConn)}
	p.cmd = exec.Command(python, "-c", program)
	p.cmd.Env = env
	p.cmd.ExtraFiles = []*os.File{theirs, memory.file, faults.file}
	p.cmd.SysProcAttr = workerAttributes()
	err = p.start(spawn)
	if err := errors.Join(err, theirs.Close()); err != nil {
		return nil, errors.Join(err, p.conn.Close())
	}
	return p, nil
}

func (p *process) start(spawn *spawner) error {
	stdoutR, stdoutW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making worker's output: %w", err)
	}
	stderrR, stderrW, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("making worker's output: %w", err), stdoutR.Close(), stdoutW.Close())
	}
	p.cmd.Stdout, p.cmd.Stderr = stdoutW, stderrW
	p.stdout, p.stderr = stdoutR, stderrR
	err = spawn.run(p.cmd.Start)
	if err := errors.Join(err, stdoutW.Close(), stderrW.Close()); err != nil {
		return errors.Join(err, stdoutR.Close(), stderrR.Close())
	}
	return nil
}

// wait waits for the interpreter's end, ends what it has left behind, and gives
// its exit code or the signal that killed it.
func (p *process) wait() (code int, signal syscall.Signal) {
	// While the process is not reaped its group cannot become another's.
	waitExited(p.cmd.Process.Pid)
	_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) // nobody may be left; that is fine
	_ = p.cmd.Wait()                                // the state says it all
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 0, status.Signal()
	}
	return p.cmd.ProcessState.ExitCode(), 0
}

// kill ends the interpreter. What it has left behind is ended by wait.
func (p *process) kill() { _ = p.cmd.Process.Kill() } // it may be gone already

// interrupt makes the script's run() raise TimeoutError.
func (p *process) interrupt() { _ = p.cmd.Process.Signal(unix.SIGUSR1) } // likewise

// askStack makes the interpreter write its main thread's stack where its faults
// go. The signal is the one that a process without a handler for it ignores: a
// script may have taken the handler away, or have become another program.
func (p *process) askStack() { _ = p.cmd.Process.Signal(unix.SIGURG) } // likewise

func monotonicNS() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0 // the clock exists on every system this is built for
	}
	return now.Nano()
}

func sendFiles(conn *net.UnixConn, buf []byte, files []*os.File) (int, error) {
	fds := make([]int, len(files))
	for i, file := range files {
		fds[i] = int(file.Fd())
	}
	n, _, err := conn.WriteMsgUnix(buf, unix.UnixRights(fds...), nil)
	return n, err
}

// receiveFiles reads into buf, and takes the files that came along.
func receiveFiles(conn *net.UnixConn, buf []byte) (int, []*os.File, error) {
	var rights [512]byte
	n, rn, flags, _, err := conn.ReadMsgUnix(buf, rights[:])
	if err != nil || rn == 0 {
		return n, nil, err
	}
	files, err := parseFiles(rights[:rn])
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = errors.New("worker passed too many files at once")
	}
	return n, files, err
}

func parseFiles(rights []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("reading files passed by worker: %w", err)
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // something else came along, which we did not ask for
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "worker-answer"))
		}
	}
	return files, nil
}

func signalName(s syscall.Signal) string { return unix.SignalName(s) }

// listenPrivately makes the socket with mode 0600 from its first moment. It
// must be called before anything else makes files: the mask is the process's.
func listenPrivately(path string) (net.Listener, error) {
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	return net.Listen("unix", path)
}
