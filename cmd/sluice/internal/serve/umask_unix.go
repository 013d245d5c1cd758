//go:build unix

package serve

import "syscall"

// makeReadable has what this process makes, and what it starts, be readable by
// all whom no folder above keeps out: environments and files are read by users
// of instances' own. What is to stay closed is made so one by one.
func makeReadable() { syscall.Umask(0o022) }
