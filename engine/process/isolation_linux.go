package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/sluice-ml/sluice/engine/process/cgroup"
	"github.com/sluice-ml/sluice/engine/process/confine"
)

// keepApart finds out what can be done here, at most what is wanted.
func keepApart(dir string, wanted Isolation) (keeping, error) {
	_, memory, err := machine()
	if err != nil {
		return keeping{}, err
	}
	k := keeping{isolation: Worlds, memory: memory - memory/10}
	if why := noWorlds(); why != "" || wanted > Worlds {
		k.isolation = Landlock
		k.weaker = append(k.weaker, "instances share the user of Sluice, and Landlock keeps them from files that are not theirs; they may make no Unix sockets, and share /dev/shm ("+firstOf(why, "as configured")+")",
			"the files that instances write are on the disk of Sluice, without a bound, and in TMPDIR only, not in /tmp; changing a file's mode, owner or times does nothing there, and which files the user has can be seen")
	} else if abi := confine.LandlockABI(); abi < confine.LandlockScopes {
		k.weaker = append(k.weaker, fmt.Sprintf("instances can reach the abstract Unix sockets of this machine: this kernel has version %d of Landlock, which does not prevent it", abi))
	}
	if k.isolation == Landlock {
		switch abi := confine.LandlockABI(); {
		case abi == 0 || wanted > Landlock:
			k.isolation = None
			k.weaker = []string{"model code is not isolated: it runs as the user of Sluice with all that user's files; run only code you trust (" +
				firstOf(noLandlock(abi), "as configured") + ")"}
		case abi < confine.LandlockScopes:
			k.weaker = append(k.weaker, fmt.Sprintf("instances can send signals to other processes of this user: this kernel has version %d of Landlock, which does not prevent it", abi))
		}
	}
	k.groups, err = cgroup.Open(groupName(dir), k.memory)
	switch {
	case err != nil:
		k.groups = nil
		k.weaker = append(k.weaker, "the memory and the threads of instances are looked at ten times a second instead of being bounded by the kernel, and they only let other processes go first on the CPU: "+err.Error())
	default:
		k.weaker = append(k.weaker, k.groups.Gaps()...)
	}
	var broken []string
	k.gpus, broken = findGPUs(context.Background(), driverGPUs)
	k.weaker = append(k.weaker, broken...)
	if k.isolation != None && runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		k.weaker = append(k.weaker, "system calls are not filtered on "+runtime.GOARCH)
	}
	return k, nil
}

func noLandlock(abi int) string {
	if abi == 0 {
		return "this kernel has no Landlock, and Sluice does not run as root"
	}
	return ""
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// worldCapabilities are those that building a world takes: to change owners,
// to pass over permissions, to become other users, and to mount.
var worldCapabilities = map[string]uint{"CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SYS_CHROOT": 18, "CAP_SYS_ADMIN": 21}

// noWorlds says why instances can have no worlds, "" when they can.
func noWorlds() string {
	if os.Geteuid() != 0 {
		return "Sluice does not run as root"
	}
	have, err := effectiveCapabilities()
	if err != nil {
		return err.Error()
	}
	for name, bit := range worldCapabilities {
		if have&(1<<bit) == 0 {
			return "Sluice runs as root without " + name
		}
	}
	// What forbids namespaces (a filter of a container's, a setting) is found
	// out by trying: the program is not there, so that nothing runs.
	_, err = syscall.ForkExec("/nonexistent", nil, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}})
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return fmt.Sprintf("namespaces cannot be made here: %v", err)
}

func effectiveCapabilities() (uint64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	return 0, errors.New("the kernel does not say which capabilities there are")
}

// shimAttributes puts the shim into a session of its own, so that nothing that
// is sent to ours reaches it. For an instance with a world it is the first of a
// process namespace, with mounts that nobody else sees.
func shimAttributes(world bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if world {
		a.Cloneflags = syscall.CLONE_NEWPID
		a.Unshareflags = syscall.CLONE_NEWNS
	}
	return a
}

// threadsOf counts what a user runs.
func threadsOf(user int) (n int) {
	all, _ := filepath.Glob("/proc/[0-9]*/task")
	for _, path := range all {
		info, err := os.Stat(path)
		if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != user {
			continue
		}
		threads, _ := os.ReadDir(path)
		n += len(threads)
	}
	return n
}
