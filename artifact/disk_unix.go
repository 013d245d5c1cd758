//go:build unix

package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice/disk"
)

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	defer f.Close()
	// Some file systems cannot sync a folder, and need not.
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

// lastUse gives when a file was last asked for, or read.
func lastUse(info fs.FileInfo) time.Time { return accessTime(info) }

// lockFile locks a file, shared or alone, until unlock is called. Nobody holds
// it for longer than a few looks at the disk take.
func lockFile(path string, alone bool) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, disk.Explain("the lock of the artifact store", filepath.Dir(path), fmt.Errorf("locking the artifact store: %w", err))
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how); {
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, unix.EINTR):
			f.Close()
			return nil, fmt.Errorf("locking the artifact store: %w", err)
		}
	}
}
