package artifact

import (
	"context"
	"syscall"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// isDisk reports whether err says that the disk takes no more, or nothing any
// more.
func isDisk(err error) bool { return disk.IsFull(err) || disk.HasFailed(err) }

// explain gives err its cause when it says so of what could not be written below
// dir.
func (s *Store) explain(ctx context.Context, what, dir string, err error) error {
	if disk.IsFull(err) {
		return s.diskFull(ctx, what, dir)
	}
	return disk.Explain(what, dir, err)
}

// diskFull says that what could not be written below dir for lack of space. It
// is an error by which callers know a full disk, as the system's own is.
func (s *Store) diskFull(ctx context.Context, what, dir string) error {
	next := ""
	if s.options.NextStep != nil {
		next = s.options.NextStep(ctx)
	}
	return sluice.DiskFullThen(disk.Sentence(what, dir), next, syscall.ENOSPC)
}
