package artifact

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/sluice-ml/sluice"
)

// isDiskFull reports whether err says that the disk or a quota is full.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// diskFull says that what could not be written below dir for lack of space.
func diskFull(what, dir string) error {
	room := ""
	free, ok := freeSpace(dir)
	for at := dir; !ok && at != filepath.Dir(at); at = filepath.Dir(at) {
		free, ok = freeSpace(filepath.Dir(at)) // dir itself may not be there yet
	}
	if ok {
		room = fmt.Sprintf(": %d MiB are free", free>>20)
	}
	return &sluice.Cause{
		Code:    sluice.CauseDiskFull,
		Message: fmt.Sprintf("the disk is full: writing %s to %s%s", what, dir, room),
		Hint:    "delete endpoints and model versions that are no longer needed, or free space on that disk",
	}
}
