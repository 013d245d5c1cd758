package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Grace is how long what was uploaded, or asked for, stays at least although
// nothing needs it yet: an upload URL lives an hour, and its holder asks what
// is missing before it begins. The time of last access is where the last use
// is kept. Reading a file by other means may move it too, and then the file
// only stays for longer.
const Grace = 90 * time.Minute

// touchEvery is how exact the last use is kept, so that asking for a tree
// again and again writes nothing.
const touchEvery = 10 * time.Minute

// expired reports whether the last use is so long ago that a file stays no
// longer on its account. One from the future is none that is known.
func expired(use, now time.Time) bool { return now.Sub(use) > Grace+touchEvery }

// touch notes that a sealed file is used now.
func touch(path, digest string, info fs.FileInfo) error {
	if since := time.Since(lastUse(info)); since >= 0 && since < touchEvery {
		return nil
	}
	if err := os.Chtimes(path, time.Now(), sealTime(digest)); err != nil {
		return fmt.Errorf("noting the use of %s: %w", digest, err)
	}
	return nil
}

// lockShared keeps the collection from removing anything until unlock is
// called: what is seen and touched meanwhile stays. It is held by whoever is
// about to tell somebody that something is there.
func (s *Store) lockShared() (unlock func(), err error) {
	return lockFile(filepath.Join(s.dir, "lock"), false)
}

// Freeze keeps everything that is there from being collected until release is
// called: for a backup, which must find out what is needed before it can ask for
// it. Nothing but the collection waits for it.
func (s *Store) Freeze() (release func(), err error) { return s.lockShared() }

// lockAlone lets nobody look while something is removed.
func (s *Store) lockAlone() (unlock func(), err error) {
	return lockFile(filepath.Join(s.dir, "lock"), true)
}

// use touches the blob, fs.ErrNotExist when there is none that is whole. The
// caller holds the lock.
func (s *Store) use(ctx context.Context, digest string) error {
	info, err := s.sound(ctx, digest)
	if err != nil {
		return err
	}
	return touch(s.blobPath(digest), digest, info)
}

// useTree touches the tree if it is there. The caller holds the lock.
func (s *Store) useTree(ctx context.Context, digest string) (bool, error) {
	info, err := s.soundTree(ctx, digest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for tree %s: %w", digest, err)
	}
	return true, touch(s.treePath(digest), digest, info)
}
