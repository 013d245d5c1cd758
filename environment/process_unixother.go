//go:build unix && !linux

package environment

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// groupAttr starts a child in its own group.
func groupAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// syncAll asks for everything to be written.
func syncAll(string) error {
	return unix.Sync()
}
