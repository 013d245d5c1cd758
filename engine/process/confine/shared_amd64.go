//go:build linux

package confine

import "golang.org/x/sys/unix"

// Calls that newer machines have not: others do the same.
var (
	olderCalls       = []uint32{unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT}
	olderAbsentCalls = []uint32{unix.SYS_INOTIFY_INIT}
)
