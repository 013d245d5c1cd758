//go:build unix

package scoring

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// close gives the memory back. What it returns says nothing a caller could act
// on: the mapping is ours and the file has no name.
func (s *segment) close() {
	_ = unix.Munmap(s.data)
	_ = s.file.Close()
}

func errJoinClose(err error, file *os.File) error {
	return errors.Join(err, file.Close())
}
