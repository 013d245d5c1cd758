// Vminit is the first process of a machine of package vmtest. It mounts what
// programs expect, runs one, says how that ended, and turns the machine off.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Println("vminit:", err)
		code = 255
	}
	fmt.Printf("\nvminit: exit %d\n", code)
	unix.IoctlSetInt(1, unix.TCSBRK, 1) // wait until the line has sent it all
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// spec is the file that vmtest writes.
type spec struct {
	Args, Env []string
	Version1  bool
}

func run() (int, error) {
	text, err := os.ReadFile("/spec.json")
	if err != nil {
		return 0, err
	}
	var s spec
	if err := json.Unmarshal(text, &s); err != nil {
		return 0, err
	}
	if err := mountAll(s.Version1); err != nil {
		return 0, err
	}
	if err := loopback(); err != nil {
		return 0, err
	}
	return supervise(s)
}

func mount(kind, point, data string) error {
	if err := os.MkdirAll(point, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(kind, point, kind, 0, data); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", kind, point, err)
	}
	return nil
}

func mountAll(version1 bool) error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"devpts", "/dev/pts"},
		{"tmpfs", "/dev/shm"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}} {
		if err := mount(m[0], m[1], ""); err != nil {
			return err
		}
	}
	for _, shared := range []string{"/tmp", "/dev/shm"} {
		if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	const top = "/sys/fs/cgroup"
	if !version1 {
		return mount("cgroup2", top, "")
	}
	if err := mount("tmpfs", top, "mode=755"); err != nil {
		return err
	}
	for _, controllers := range []string{"memory", "pids", "cpu,cpuacct"} { // as systemd does it
		if err := mount("cgroup", filepath.Join(top, controllers), controllers); err != nil {
			return err
		}
		for name := range strings.SplitSeq(controllers, ",") {
			if name == controllers {
				continue
			}
			if err := os.Symlink(controllers, filepath.Join(top, name)); err != nil {
				return err
			}
		}
	}
	return mount("cgroup2", filepath.Join(top, "unified"), "")
}

func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// supervise runs the program and collects what anybody leaves behind, as the
// first process has to. A signal that ended the program is told as shells do.
func supervise(s spec) (int, error) {
	p, err := os.StartProcess(s.Args[0], s.Args, &os.ProcAttr{Dir: "/tmp", Env: s.Env,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR || err == nil && pid != p.Pid:
		case err != nil:
			return 0, err
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}
