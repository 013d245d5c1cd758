//go:build unix && !linux

package artifact

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

func accessTime(info fs.FileInfo) time.Time {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Now()
	}
	return time.Unix(st.Atimespec.Unix())
}

// openUnused opens a file for reading. Where that sets the time of its last
// use, it is collected a little later.
func openUnused(path string) (*os.File, error) { return os.Open(path) }
