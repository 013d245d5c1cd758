package shim

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// BootID names this run of the machine.
func BootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}

// StartTime says when a process started, in microseconds. A process that has
// ended and was not yet collected counts as gone.
func StartTime(pid int) (uint64, error) {
	const zombie = 5 // SZOMB
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return 0, fmt.Errorf("looking for process %d: %w", pid, err)
	}
	if int(info.Proc.P_pid) != pid || info.Proc.P_stat == zombie {
		return 0, fmt.Errorf("looking for process %d: %w", pid, os.ErrNotExist)
	}
	t := info.Proc.P_starttime
	return uint64(t.Sec)*1e6 + uint64(t.Usec), nil
}

const tracksOrphans = false

// adoptOrphans does nothing: macOS gives orphans to its first process. What
// leaves the command's process group escapes the shim there.
func adoptOrphans() error { return nil }

func descendants(int) []int { return nil }

// WithVariable finds nothing: macOS does not show other processes'
// environments.
func WithVariable(string, string) []int { return nil }

func selfPID() int            { return os.Getpid() }
func outerPID(pid int) int    { return pid }
func familyOf(int, int) []int { return nil }

func held([]int, *Scratch, int64) (memory, threads int64) { return 0, 0 }

func carry(*os.File, int, int) error { return errUnsupported }

func mountScratch(Scratch) error { return errUnsupported }

var errUnsupported = errors.New("commands are confined on Linux only")

// oomWatch knows nothing on macOS.
type oomWatch struct{}

func watchOOM() *oomWatch        { return &oomWatch{} }
func (*oomWatch) look()          {}
func (*oomWatch) happened() bool { return false }
