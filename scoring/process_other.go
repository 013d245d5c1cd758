//go:build unix && !linux

package scoring

import "syscall"

func workerAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// waitExited does nothing where a process cannot be watched without reaping it.
func waitExited(int) {}

// guard does nothing where instances have no users of their own.
func guard() {}
