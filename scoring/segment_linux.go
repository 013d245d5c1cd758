package scoring

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// segment is memory that a worker can be given by descriptor.
type segment struct {
	file *os.File
	data []byte // mapped
	size int
}

// newSegment makes one. It is sealed against shrinking, because a mapping whose
// file a worker has shortened would kill this process when touched.
func newSegment(size int) (*segment, error) {
	fd, err := unix.MemfdCreate("sluice-body", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("making memory for a body: %w", err)
	}
	file := os.NewFile(uintptr(fd), "sluice-body")
	if err := file.Truncate(int64(size)); err != nil {
		return nil, errJoinClose(fmt.Errorf("sizing memory for a body: %w", err), file)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, errJoinClose(fmt.Errorf("sealing memory for a body: %w", err), file)
	}
	data, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errJoinClose(fmt.Errorf("mapping memory for a body: %w", err), file)
	}
	return &segment{file: file, data: data, size: size}, nil
}
