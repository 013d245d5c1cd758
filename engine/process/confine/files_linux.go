package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// LandlockABI gives the version of Landlock that the kernel has, 0 for none.
func LandlockABI() int {
	v, err := llsys.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return v
}

const (
	readFiles  = landlock.AccessFSSet(llsys.AccessFSExecute | llsys.AccessFSReadFile)
	readAll    = readFiles | landlock.AccessFSSet(llsys.AccessFSReadDir)
	writeFiles = landlock.AccessFSSet(llsys.AccessFSReadFile | llsys.AccessFSWriteFile | llsys.AccessFSTruncate)
	device     = writeFiles | landlock.AccessFSSet(llsys.AccessFSIoctlDev)
	// Names in a shared folder can be used but not listed.
	sharedDir = writeFiles | landlock.AccessFSSet(llsys.AccessFSMakeReg|llsys.AccessFSRemoveFile)
)

// restrictFiles holds the command to its part of the file system, and where the
// kernel can, to signals and abstract sockets of its own. In a world of its own
// only the latter is left to do.
func restrictFiles(s Spec) error {
	abi := LandlockABI()
	switch {
	case s.World != nil && abi < LandlockScopes, s.World == nil && s.Reach == nil:
		return nil
	case abi == 0:
		return errors.New("holding it to its files: this kernel has no Landlock")
	}
	config := landlock.V9.BestEffort()
	var rules []landlock.Rule
	if s.World != nil {
		config = landlock.Config{Scoped: llsys.ScopeAbstractUnixSocket | llsys.ScopeSignal}
	} else {
		rules = s.Reach.rules()
		// Which ports may be used is not for Landlock to say.
		config.HandledAccessNet = 0
	}
	fd, flags, err := config.NewRulesetFD(rules...)
	if err != nil {
		return fmt.Errorf("holding it to its files: %w", err)
	}
	if fd < 0 {
		return errors.New("holding it to its files: Landlock has nothing to enforce")
	}
	defer unix.Close(fd)
	if err := llsys.LandlockRestrictSelf(fd, flags); err != nil {
		return fmt.Errorf("holding it to its files: %w", err)
	}
	return nil
}

// procFiles are those of /proc that say nothing of other processes.
var procFiles = []string{"/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/loadavg", "/proc/uptime",
	"/proc/sys/kernel/osrelease", "/proc/sys/kernel/pid_max", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/random/boot_id"}

func (r *Reach) rules() []landlock.Rule {
	var rules []landlock.Rule
	add := func(dir, file landlock.AccessFSSet, paths ...string) {
		for _, path := range paths {
			switch info, err := os.Stat(path); {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission): // nothing to reach
			case err == nil && info.IsDir():
				rules = append(rules, landlock.PathAccess(dir, path))
			default:
				rules = append(rules, landlock.PathAccess(file, path))
			}
		}
	}
	add(readAll, readFiles, systemFolders...)
	add(readAll, readFiles, systemFiles...)
	add(readFiles, readFiles, procFiles...)
	add(readFiles, readFiles, "/etc/passwd", "/etc/group") // who they are; a world has its own
	add(readAll, readFiles, r.Read...)
	for _, program := range r.Interpreters {
		real, err := filepath.EvalSymlinks(program)
		if err != nil {
			continue // checkInterpreter has said so
		}
		add(readAll, readFiles, real)
		for _, folder := range prefixFolders {
			add(readAll, readFiles, filepath.Join(filepath.Dir(filepath.Dir(real)), folder))
		}
	}
	add(writeFiles, writeFiles, plainDevices...)
	add(device, device, r.Devices...)
	add(sharedDir, writeFiles, "/dev/shm")
	for _, path := range r.Write {
		rules = append(rules, landlock.RWDirs(path).WithRefer())
	}
	return rules
}

// KeepSignals has the signals of this thread, which it locks to the calling
// goroutine, reach only what is started from it from now on. It fails where the
// kernel cannot see to that. Each thread would have a domain of its own, and
// could not reach what another has started.
func KeepSignals() error {
	if abi := LandlockABI(); abi < LandlockScopes {
		return fmt.Errorf("keeping signals: version %d of Landlock cannot", abi)
	}
	fd, flags, err := landlock.Config{Scoped: llsys.ScopeSignal}.NewRulesetFD()
	if err != nil {
		return fmt.Errorf("keeping signals: %w", err)
	}
	defer unix.Close(fd)
	runtime.LockOSThread()
	err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = llsys.LandlockRestrictSelf(fd, flags)
	}
	if err != nil {
		return fmt.Errorf("keeping signals: %w", err)
	}
	// Signals to everybody will be sent: be sure.
	if err := unix.Kill(unix.Getppid(), 0); err != unix.EPERM {
		return fmt.Errorf("keeping signals: whoever started us can still be sent one (%v)", err)
	}
	return nil
}
