//go:build unix

package shim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lock takes the lock of an instance for this process. It is a record lock,
// because the kernel can then tell others who has it. Closing any descriptor of
// the file would release it, so this process opens it here only.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the instance: %w", err)
	}
	want := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &want); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the instance: %w", err)
	}
	return func() { f.Close() }, nil
}

// Holder gives the process ID of the living shim of an instance directory, or
// 0 if there is none. It must not be called by the shim itself.
func Holder(dir string) (int, error) {
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the shim: %w", err)
	}
	defer f.Close()
	ask := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &ask); err != nil {
		return 0, fmt.Errorf("asking for the shim: %w", err)
	}
	if ask.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(ask.Pid), nil
}
