package environment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where a confined program finds its own folder, and the program we give it.
const (
	boxPlace    = "/build"
	driverPlace = "/sluice_build.py"
)

// confinement is what a program sees that runs code of strangers: its own
// folder, what it may read of this machine, and nothing else. It is another
// user, without any right to become one more, without network, and gone with
// all its children when it ends.
type confinement struct {
	user   User
	root   string   // an empty folder, on which the program's root is made
	box    string   // the folder it may write to
	driver string   // the file that is run
	read   []string // folders it may read, at their own places
}

// systemFolders are what programs, compilers and libraries need of a machine.
var systemFolders = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store",
	"/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime"}

// devices are the ones that can do no harm.
var devices = []string{"null", "zero", "full", "random", "urandom"}

// canConfine tells why nothing can be confined here; nil when it can.
func canConfine() error {
	if os.Geteuid() != 0 {
		return errors.New("the server does not run as root, and could not keep a build away from its own files")
	}
	return nil
}

// confined runs a command inside the confinement. The thread it is started
// from is given up afterwards: it has a view of the file system of its own.
func confined(c confinement, cmd *exec.Cmd, started func()) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- c.run(cmd, started)
	}()
	return <-result
}

func (c confinement) run(cmd *exec.Cmd, started func()) error {
	err := c.prepare()
	if err == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Chroot: c.root, Pdeathsig: syscall.SIGKILL, Setsid: true,
			Credential: &syscall.Credential{Uid: c.user.UID, Gid: c.user.GID, Groups: []uint32{}},
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		}
		// The first process of its own number space: killing it kills all.
		cmd.Cancel = func() error { return cmd.Process.Kill() }
		cmd.Dir = boxPlace
		err = cmd.Start()
	}
	started()
	if err != nil {
		return fmt.Errorf("confining a build: %w", err)
	}
	return cmd.Wait()
}

// prepare gives this thread a file system of its own, with the program's root.
func (c confinement) prepare() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("leaving the file system: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("leaving the file system: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving rights up: %w", err)
	}
	// The session's keys, where the kernel keeps any and lets us leave them.
	if _, _, e := unix.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); e != 0 && e != unix.ENOSYS && e != unix.EPERM {
		return fmt.Errorf("giving keys up: %w", e)
	}
	if err := unix.Mount("root", c.root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("making the root: %w", err)
	}
	for _, path := range slices.Concat(systemFolders, c.read) {
		if err := c.show(path); err != nil {
			return fmt.Errorf("showing %s: %w", path, err)
		}
	}
	if err := c.special(); err != nil {
		return err
	}
	if err := c.bind(c.box, boxPlace, unix.MS_NOSUID|unix.MS_NODEV); err != nil {
		return fmt.Errorf("showing its folder: %w", err)
	}
	if err := c.bind(c.driver, driverPlace, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV); err != nil {
		return fmt.Errorf("showing the program: %w", err)
	}
	if err := os.Symlink(filepath.Join(boxPlace, "tmp"), filepath.Join(c.root, "tmp")); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making /tmp: %w", err)
	}
	return unix.Mount("", c.root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// show makes a path of this machine readable at its own place, a link as a
// link. One that is not there is not shown.
func (c confinement) show(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		to, err := os.Readlink(path)
		if err != nil {
			return err
		}
		place := filepath.Join(c.root, path)
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			return err
		}
		return os.Symlink(to, place)
	}
	return c.bind(path, path, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV)
}

// bind shows a file or folder of this machine at a place below the root.
func (c confinement) bind(path, at string, flags uintptr) error {
	place := filepath.Join(c.root, at)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(place); err != nil { // else it stands in a folder shown already
		if err := emptyPlace(place, info.IsDir()); err != nil {
			return err
		}
	}
	if err := unix.Mount(path, place, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", place, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
}

func emptyPlace(place string, folder bool) error {
	if folder {
		return os.MkdirAll(place, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return err
	}
	return os.WriteFile(place, nil, 0o644)
}

// special shows the devices, shared memory, and the processes, which build
// tools ask about themselves.
func (c confinement) special() error {
	for _, name := range devices {
		if err := c.bind(filepath.Join("/dev", name), filepath.Join("/dev", name), unix.MS_NOSUID|unix.MS_NOEXEC); err != nil {
			return fmt.Errorf("showing /dev/%s: %w", name, err)
		}
	}
	shm := filepath.Join(c.root, "dev", "shm")
	if err := os.MkdirAll(shm, 0o755); err != nil {
		return fmt.Errorf("making /dev/shm: %w", err)
	}
	if err := unix.Mount("shm", shm, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=256m"); err != nil {
		return fmt.Errorf("making /dev/shm: %w", err)
	}
	if err := c.bind("/proc", "/proc", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
		return fmt.Errorf("showing /proc: %w", err)
	}
	return nil
}

// prefixOf gives the folder that an interpreter and its library stand in, to be
// shown to a build; "" when it is shown anyway.
func prefixOf(python, secret string) (string, error) {
	prefix := filepath.Dir(filepath.Dir(python))
	if prefix == "/usr" || strings.HasPrefix(prefix, "/usr/") || prefix == "/" {
		return "", nil
	}
	home, err := os.UserHomeDir()
	if rel, e := filepath.Rel(prefix, secret); e == nil && filepath.IsLocal(rel) || err == nil && prefix == filepath.Clean(home) {
		return "", fmt.Errorf("the Python %s stands beside things that a build must not see", python)
	}
	return prefix, nil
}
