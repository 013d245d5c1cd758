//go:build unix

package disk

import "golang.org/x/sys/unix"

func look(dir string) (Room, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Room{}, false
	}
	const readOnly = 1 // ST_RDONLY of Linux, MNT_RDONLY elsewhere
	room := Room{ReadOnly: st.Flags&readOnly != 0, Bytes: int64(st.Bavail) * int64(st.Bsize), Files: -1, Size: int64(st.Blocks) * int64(st.Bsize)}
	if st.Files > 0 {
		room.Files = int64(st.Ffree)
	}
	return room, true
}
