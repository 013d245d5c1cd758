//go:build unix

package disk

import (
	"io/fs"
	"syscall"
)

// block is the unit of Stat_t.Blocks, whatever the file system's own is.
const block = 512

func identify(info fs.FileInfo) (id inode, names uint64, bytes int64, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, 1, info.Size(), false
	}
	return inode{uint64(st.Dev), uint64(st.Ino)}, uint64(st.Nlink), int64(st.Blocks) * block, true
}
