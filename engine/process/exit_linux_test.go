package process

import "syscall"

// exitNow ends this process. Under the race detector os.Exit would wait a second.
func exitNow(code int) { syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(code), 0, 0) }
