package killpoint

import "golang.org/x/sys/unix"

// older are those that newer machines do not have any more.
var older = map[int]call{
	unix.SYS_OPEN:    {name: "create", path: []int{0}, flags: 1},
	unix.SYS_CREAT:   {name: "create", path: []int{0}},
	unix.SYS_MKDIR:   {name: "mkdir", path: []int{0}},
	unix.SYS_RMDIR:   {name: "unlink", path: []int{0}},
	unix.SYS_UNLINK:  {name: "unlink", path: []int{0}},
	unix.SYS_SYMLINK: {name: "symlink", path: []int{1}},
	unix.SYS_LINK:    {name: "link", path: []int{0, 1}},
	unix.SYS_RENAME:  {name: "rename", path: []int{0, 1}},
}
