package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// systemFolders hold the programs and libraries of the machine. They are
// anybody's to read, and what is set-user-ID in them has no effect in a world.
var systemFolders = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"}

// systemFiles are what programs expect of the rest of a system: where
// libraries are, how names are resolved, whose certificates are trusted, what
// time it is here, how many cores there are.
var systemFiles = []string{
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives",
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf",
	"/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/ca-certificates",
	"/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/magic", "/etc/fonts", "/etc/os-release",
	"/sys/devices/system/cpu", "/sys/devices/system/node",
}

// plainDevices are the nodes that harm nobody.
var plainDevices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// hiddenProcFiles say of the whole machine what is nobody's business.
var hiddenProcFiles = []string{"kcore", "keys", "key-users", "kallsyms", "timer_list", "sched_debug", "sysrq-trigger", "kpagecount", "kpageflags", "kpagecgroup", "modules", "iomem", "ioports"}

// world is a root under construction.
type world struct {
	at    string
	bound []string // real paths that are there, with all below them
}

// buildWorld makes the new root and moves into it.
func buildWorld(s Spec) error {
	if s.World == nil {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leaving the machine's mounts alone: %w", err)
	}
	w := &world{at: s.World.At}
	if err := w.build(s); err != nil {
		return fmt.Errorf("building its world: %w", err)
	}
	if err := w.move(); err != nil {
		return fmt.Errorf("moving into its world: %w", err)
	}
	if err := unix.Sethostname([]byte(s.World.Hostname)); err != nil {
		return fmt.Errorf("naming its world: %w", err)
	}
	if s.World.Network {
		return loopbackUp()
	}
	return nil
}

func (w *world) build(s Spec) error {
	const noNodes = unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("sluice", w.at, "tmpfs", noNodes, "mode=0755,size=4m,nr_inodes=16k"); err != nil {
		return fmt.Errorf("mounting its root: %w", err)
	}
	for _, step := range []func(*World) error{w.system, w.scratch, w.machine, w.interpreters, w.binds, w.devices, w.processes} {
		if err := step(s.World); err != nil {
			return err
		}
	}
	if err := w.people(s); err != nil {
		return err
	}
	if err := unix.Mount("", w.at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|noNodes, ""); err != nil {
		return fmt.Errorf("closing its root: %w", err)
	}
	return nil
}

func (w *world) system(*World) error {
	for _, path := range slices.Concat(systemFolders, systemFiles) {
		if err := w.show(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (w *world) machine(own *World) error {
	for _, path := range own.Visible {
		// What is not there the command will miss by name.
		if err := w.show(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (w *world) interpreters(own *World) error {
	for _, program := range own.Interpreters {
		real, err := w.trace(program)
		if errors.Is(err, fs.ErrNotExist) {
			continue // checkInterpreter says so
		}
		if err != nil {
			return err
		}
		if err := w.bindAt(real, real); err != nil {
			return err
		}
		prefix := filepath.Dir(filepath.Dir(real))
		for _, folder := range prefixFolders {
			err := w.show(filepath.Join(prefix, folder))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func (w *world) binds(own *World) error {
	for _, b := range own.Binds {
		err := w.bindAt(b.From, b.To)
		if err != nil && !(b.Optional && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// scratch gives the command the one folder that it may write, in its places.
// What is shown later may lie below them.
func (w *world) scratch(own *World) error {
	for to, from := range map[string]string{own.Run: "", "/tmp": "tmp", "/var/tmp": "tmp", "/dev/shm": "shm"} {
		if err := w.folder(to); err != nil {
			return err
		}
		if err := unix.Mount(filepath.Join(own.Scratch, from), w.at+to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", to, err)
		}
	}
	return nil
}

func (w *world) devices(own *World) error {
	for _, node := range slices.Concat(plainDevices, own.Devices) {
		if err := w.file(node, ""); err != nil {
			return err
		}
		if err := unix.Mount(node, w.at+node, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("showing %s: %w", node, err)
		}
		// Not "no devices": a bound node is one.
		if err := unix.Mount("", w.at+node, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("showing %s: %w", node, err)
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := w.link("/dev/"+name, target); err != nil {
			return err
		}
	}
	return nil
}

// processes mounts the process table of the command's own process namespace.
func (w *world) processes(*World) error {
	if err := w.folder("/proc"); err != nil {
		return err
	}
	at := w.at + "/proc"
	if err := unix.Mount("proc", at, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, name := range hiddenProcFiles {
		path := filepath.Join(at, name)
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if err := unix.Mount("/dev/null", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hiding %s: %w", name, err)
		}
	}
	return nil
}

// people are the users that there are: nobody but the command's own.
func (w *world) people(s Spec) error {
	passwd := fmt.Sprintf("root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nsluice:x:%d:%d:instance:%s:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		s.User, s.Group, s.World.Run)
	group := fmt.Sprintf("root:x:0:\nsluice:x:%d:\nnogroup:x:65534:\n", s.Group)
	return errors.Join(w.file("/etc/passwd", passwd), w.file("/etc/group", group))
}

// show makes a path of the machine appear at its own place, with the links that
// lead there.
func (w *world) show(path string) error {
	real, err := w.trace(path)
	if err != nil {
		return err
	}
	return w.bindAt(real, real)
}

// maxLinks bounds how many links one path may lead through.
const maxLinks = 40

// trace makes the links on the way to a path and gives where it really is.
func (w *world) trace(path string) (string, error) {
	rest := strings.Split(filepath.Clean(path), "/")[1:]
	at := "/"
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at, rest = next, rest[1:]
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s leads through too many links", path)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if err := w.link(next, target); err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		// A link's ".." is of the real folder it stands in, which at is.
		clean := filepath.Clean(filepath.Join(at, target))
		at, rest = "/", append(strings.Split(clean, "/")[1:], rest[1:]...)
		if clean == "/" {
			rest = rest[1:]
		}
	}
	return at, nil
}

// covered reports whether a real path is there already, with what is above it.
func (w *world) covered(path string) bool {
	return slices.ContainsFunc(w.bound, func(b string) bool { return path == b || strings.HasPrefix(path, b+"/") })
}

// link makes a link, unless it stands in a folder that is there with all it
// holds.
func (w *world) link(path, target string) error {
	if w.covered(path) {
		return nil
	}
	if err := w.folder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Symlink(target, w.at+path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// file writes a small file of the new root.
func (w *world) file(path, text string) error {
	if err := w.folder(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.OpenFile(w.at+path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// folder makes a folder of the new root and those above it. A link on the way
// is refused: its target could be a place of the machine.
func (w *world) folder(path string) error {
	at := w.at
	for _, name := range strings.Split(filepath.Clean("/"+path), "/") {
		at = filepath.Join(at, name)
		info, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Mkdir(at, 0o755)
		} else if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s cannot be placed: %s is no folder", path, strings.TrimPrefix(at, w.at))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bindAt makes a file or folder of the machine appear, read-only. What lies
// mounted below it does not come along.
func (w *world) bindAt(from, to string) error {
	to = filepath.Clean("/" + to)
	if w.covered(to) {
		if from == to {
			return nil
		}
		return fmt.Errorf("%s cannot be placed: it is a folder of the system", to)
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	at := w.at + to
	if info.IsDir() {
		err = w.folder(to)
	} else {
		err = w.file(to, "")
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("showing %s: %w", to, err)
	}
	const readOnly = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("", at, "", readOnly, ""); err != nil {
		return fmt.Errorf("making %s read-only: %w", to, err)
	}
	w.bound = append(w.bound, to)
	return nil
}

// move makes the new root the root, and lets go of the machine's.
func (w *world) move() error {
	if err := unix.Chdir(w.at); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// loopbackUp starts the one device of a new network.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("starting its network: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("starting its network: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("starting its network: %w", err)
	}
	return nil
}
