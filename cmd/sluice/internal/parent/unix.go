//go:build unix

package parent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// ErrRunning says that a parent runs already.
var ErrRunning = errors.New("sluice is running already")

// acquire takes the lock that only one parent holds; the system releases it
// however the parent ends.
func acquire(path string) (*os.File, error) {
	return flock(path, os.O_CREATE|os.O_RDWR, syscall.LOCK_EX)
}

// probe takes the lock together with others who only ask whether a parent
// holds it: two of them must not take each other for one. It needs no right to
// write: a parent runs on when its disk has become read-only.
func probe(path string) (*os.File, error) { return flock(path, os.O_RDONLY, syscall.LOCK_SH) }

func flock(path string, open, how int) (*os.File, error) {
	f, err := os.OpenFile(path, open, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the parent: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("taking the lock of the parent: %w", err)
	}
	return f, nil
}

// own writes our process ID into the lock file, for [holder].
func own(lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	return err
}

// holder gives the process that wrote itself into the lock file.
func holder(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 2 {
		return 0, fmt.Errorf("%s does not name a process", path)
	}
	return pid, nil
}

// alive reports whether the process still runs. One that has ended but that
// nobody has waited for, as in a container without an init, does not.
func alive(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		after := stat[bytes.LastIndexByte(stat, ')')+1:]
		return !bytes.HasPrefix(after, []byte(" Z"))
	}
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// Detach makes the command survive this process and its terminal.
func Detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}
