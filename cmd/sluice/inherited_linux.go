package main

import (
	"math"

	"golang.org/x/sys/unix"
)

// closeOnExec keeps the descriptors that we inherited beyond the standard three
// (a lock of the calling script, a pipe of make) from what we start and leave
// running: it would hold them for as long as it lives. A kernel too old for it
// changes nothing.
func closeOnExec() { _ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) }
