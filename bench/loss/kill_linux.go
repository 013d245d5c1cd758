package loss

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// Kill kills the process and returns when it is gone, and those with it that end
// by its end. What is the role it has: requests on connections that a "gateway"
// had accepted were inside of it.
func (l *Load) Kill(what string, pid int, with ...int) error {
	k := kill{what: what, began: time.Now()}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing the %s (process %d): %w", what, pid, err)
	}
	alive := func(pid int) bool { return !dead(pid) }
	for deadline := k.began.Add(10 * time.Second); alive(pid) || slices.ContainsFunc(with, alive); {
		if time.Now().After(deadline) {
			return fmt.Errorf("the %s (process %d) does not die", what, pid)
		}
		time.Sleep(200 * time.Microsecond)
	}
	k.gone = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kills = append(l.kills, k)
	return nil
}

// dead reports whether a process is no more, but for what its parent has yet to
// read.
func dead(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	rest := text[bytes.LastIndexByte(text, ')')+1:]
	return len(rest) > 1 && (rest[1] == 'Z' || rest[1] == 'X')
}
