// Package disk knows a full disk when it sees one, says in one way what could
// not be written, and where, and how much room there is; and it counts what
// files take ([Count]).
//
//	if disk.IsFull(err) {
//		return sluice.DiskFull(disk.Sentence("the routes", dir), err)
//	}
//
// A quota that is used up counts as a full disk.
package disk

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
)

// IsFull reports whether err says that the disk or a quota on it is full.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
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
