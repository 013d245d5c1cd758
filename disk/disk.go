// Package disk knows a full or a failing disk when it sees one, says in one way
// what could not be written, and where, and how much room there is; and it
// counts what files take ([Count]).
//
//	return disk.Explain("the routes", dir, err)
//
// A quota that is used up counts as a full disk.
package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sluice-ml/sluice"
)

// IsFull reports whether err says that the disk or a quota on it is full.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// HasFailed reports whether err says that the disk is read-only or broken.
func HasFailed(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO)
}

// Explain gives an error its cause when it says that the disk takes no more, or
// nothing any more: what could not be written below dir. Any other error, and
// one that has a cause, it gives as it is.
func Explain(what, dir string, err error) error {
	if _, known := errors.AsType[*sluice.Cause](err); known {
		return err
	}
	switch {
	case IsFull(err):
		return sluice.DiskFull(Sentence(what, dir), err)
	case HasFailed(err):
		return sluice.DiskFailed(Refusal(what, dir, err), err)
	}
	return err
}

// Refusal says that the disk refuses to have what written below dir, and why.
func Refusal(what, dir string, err error) string {
	why := "input/output error"
	if errors.Is(err, syscall.EROFS) {
		why = "read-only file system"
	}
	return fmt.Sprintf("the disk refuses to write (%s): writing %s to %s", why, what, dir)
}

// Sentence says that what could not be written below dir for lack of room.
func Sentence(what, dir string) string {
	s := fmt.Sprintf("the disk is full: writing %s to %s", what, dir)
	room, ok := At(dir)
	if !ok {
		return s
	}
	s += fmt.Sprintf(": %d MiB are free", room.Bytes>>20)
	if room.Files == 0 {
		s += ", but no more files can be made"
	}
	return s
}

// Room is what may still be written to a disk.
type Room struct {
	Bytes int64
	Files int64 // -1 where the file system does not count them
	Size  int64 // of the whole file system, in bytes

	ReadOnly bool // no writes at all
}

// At gives the room below dir, or below the nearest folder above it that is
// there. It is false where the system does not say.
func At(dir string) (Room, bool) {
	room, ok := look(dir)
	for !ok && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		room, ok = look(dir)
	}
	return room, ok
}

// ReadOnly reports whether the file system below dir takes no writes at all. It
// is false where the system does not say.
func ReadOnly(dir string) bool {
	room, ok := At(dir)
	return ok && room.ReadOnly
}

// Try writes a small file below dir and removes it, and says what becomes of
// that.
func Try(dir string) error {
	f, err := os.CreateTemp(dir, ".try-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("x")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}
