//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fileLock keeps other engines out, those of this process too.
type fileLock struct{ f *os.File }

// tryLock gives nil if somebody else has the lock.
func tryLock(path string) (*fileLock, error) { return lockFile(path, unix.LOCK_EX|unix.LOCK_NB) }

// waitLock waits for a lock that is only ever held for a moment.
func waitLock(path string) (*fileLock, error) { return lockFile(path, unix.LOCK_EX) }

func lockFile(path string, how int) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err == nil {
		return &fileLock{f}, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("locking %s: %w", path, err)
}

func (l *fileLock) unlock() { l.f.Close() }
