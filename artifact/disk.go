package artifact

import (
	"syscall"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// isDiskFull reports whether err says that the disk or a quota is full.
func isDiskFull(err error) bool { return disk.IsFull(err) }

// diskFull says that what could not be written below dir for lack of space. It
// is an error by which callers know a full disk, as the system's own is.
func diskFull(what, dir string) error {
	return sluice.DiskFull(disk.Sentence(what, dir), syscall.ENOSPC)
}
