//go:build unix && !linux

package scoring

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// segment is memory that a worker can be given by descriptor. Where there are
// no memory files it is a file without a name.
type segment struct {
	file *os.File
	data []byte // mapped
	size int
}

func newSegment(size int) (*segment, error) {
	file, err := os.CreateTemp("", "sluice-body-")
	if err != nil {
		return nil, fmt.Errorf("making memory for a body: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errJoinClose(fmt.Errorf("unlinking memory for a body: %w", err), file)
	}
	if err := file.Truncate(int64(size)); err != nil {
		return nil, errJoinClose(fmt.Errorf("sizing memory for a body: %w", err), file)
	}
	data, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errJoinClose(fmt.Errorf("mapping memory for a body: %w", err), file)
	}
	return &segment{file: file, data: data, size: size}, nil
}
