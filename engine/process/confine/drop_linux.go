package confine

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// limit sets the bounds that hold without control groups.
func limit(s Spec) error {
	if s.Nice > 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, s.Nice); err != nil {
			return fmt.Errorf("letting others go first: %w", err)
		}
	}
	limits := []struct {
		what  int
		bound uint64
		name  string
	}{
		{unix.RLIMIT_CORE, 0, "core dumps"},
		{unix.RLIMIT_NOFILE, s.Files, "open files"},
		{unix.RLIMIT_NPROC, s.Processes, "processes"},
	}
	for _, l := range limits {
		if l.bound == 0 && l.what != unix.RLIMIT_CORE {
			continue
		}
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.what, &now); err != nil {
			return fmt.Errorf("bounding %s: %w", l.name, err)
		}
		bound := min(l.bound, now.Max) // only ever down
		if err := syscall.Setrlimit(l.what, &syscall.Rlimit{Cur: bound, Max: bound}); err != nil {
			return fmt.Errorf("bounding %s: %w", l.name, err)
		}
	}
	return nil
}

// lastCapability is beyond what any kernel has.
const lastCapability = 63

// dropUser becomes the command's own user, without capabilities now or later.
// The calls are made for this thread alone, which is the one that goes on.
func dropUser(s Spec) error {
	for c := range uintptr(lastCapability + 1) {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err != nil && err != unix.EINVAL && err != unix.EPERM { // unknown, or not ours to give up
			return fmt.Errorf("giving up capability %d: %w", c, err)
		}
	}
	if s.User != 0 {
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
			return fmt.Errorf("giving up groups: %w", e)
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(s.Group), uintptr(s.Group), uintptr(s.Group)); e != 0 {
			return fmt.Errorf("becoming group %d: %w", s.Group, e)
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(s.User), uintptr(s.User), uintptr(s.User)); e != 0 {
			return fmt.Errorf("becoming user %d: %w", s.User, e)
		}
	}
	var none [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("refusing new privileges: %w", err)
	}
	return nil
}

// checkInterpreter says which file or folder keeps the command's user from its
// interpreter: the command itself could only say that it did not start.
func checkInterpreter(s Spec) error {
	if s.Interpreter == "" {
		return nil
	}
	switch unix.Access(s.Interpreter, unix.R_OK|unix.X_OK) {
	case nil:
		return nil
	case unix.ENOENT:
		return &Failure{Missing: true, Message: fmt.Sprintf("the interpreter %s is not there any more", s.Interpreter)}
	}
	real, err := filepath.EvalSymlinks(s.Interpreter)
	if err != nil {
		real = s.Interpreter
	}
	blame, mode := obstacle(real)
	return &Failure{Denied: true, Message: fmt.Sprintf(
		"the interpreter %s cannot be read by the user of the instance: %s has mode %04o; chmod a+rX %s, or install a Python that everybody may read",
		real, blame, mode, blame)}
}

// obstacle gives the first folder on the way to a path that cannot be entered,
// or the path itself.
func obstacle(path string) (string, fs.FileMode) {
	at := "/"
	for _, name := range strings.Split(filepath.Clean(path), "/")[1:] {
		at = filepath.Join(at, name)
		info, err := os.Stat(at)
		if err != nil {
			return at, 0
		}
		if info.IsDir() && unix.Access(at, unix.X_OK) != nil || at == path {
			return at, info.Mode().Perm()
		}
	}
	return path, 0
}
