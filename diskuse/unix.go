//go:build unix

package diskuse

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
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

func room(dir string) (free, size int64, ok bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), true
}
