package artifact

import (
	"context"
	"syscall"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// isDiskFull reports whether err says that the disk or a quota is full.
func isDiskFull(err error) bool { return disk.IsFull(err) }

// diskFull says that what could not be written below dir for lack of space. It
// is an error by which callers know a full disk, as the system's own is.
func (s *Store) diskFull(ctx context.Context, what, dir string) error {
	next := ""
	if s.options.NextStep != nil {
		next = s.options.NextStep(ctx)
	}
	return sluice.DiskFullThen(disk.Sentence(what, dir), next, syscall.ENOSPC)
}
