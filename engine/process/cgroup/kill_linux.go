package cgroup

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// longestPause is the longest pause between two looks at what is left.
const longestPause = 50 * time.Millisecond

// Kill kills all processes in the group, those that it is about to start too,
// and returns when none is left or ctx is done.
func (g Group) Kill(ctx context.Context) error {
	defer g.forbidForks()()
	for pause := time.Millisecond; ; pause = min(2*pause, longestPause) {
		left := false
		for _, dir := range g.Dirs {
			if write(dir, "cgroup.kill", "1") != nil { // version 2 from Linux 5.14 on
				killListed(dir)
			}
			left = left || populated(dir)
		}
		if !left {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("killing what is in control group %s: %w", g.Dirs[0], ctx.Err())
		case <-time.After(pause):
		}
	}
}

// forbidForks keeps processes from being started faster than we kill them,
// until the function it returns is called.
func (g Group) forbidForks() func() {
	former := map[string]string{}
	for _, dir := range g.Dirs {
		if limit := words(dir, "pids.max"); len(limit) == 1 && !has(dir, "cgroup.kill") {
			if write(dir, "pids.max", "0") == nil {
				former[dir] = limit[0]
			}
		}
	}
	return func() {
		for dir, limit := range former {
			write(dir, "pids.max", limit) // where it fails the group is gone
		}
	}
}

func populated(dir string) bool {
	if has(dir, "cgroup.events") {
		return keyed(dir, "cgroup.events", "populated") > 0
	}
	return len(listed(dir)) > 0
}

// killListed kills what is in a group. A process is killed only if it was in
// the group after we took hold of it: its ID may have become another's before.
func killListed(dir string) {
	held := map[int]int{} // descriptors by process
	for _, pid := range listed(dir) {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			defer unix.Close(fd)
			held[pid] = fd
		}
	}
	for _, pid := range listed(dir) {
		if fd, ok := held[pid]; ok {
			unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	}
}

// listed gives the processes in a group and in those below it. One that cannot
// be named from here, being in another PID namespace, is 0.
func listed(dir string) []int {
	var all []int
	for _, d := range tree(dir) {
		for _, word := range words(d, "cgroup.procs") {
			if pid, err := strconv.Atoi(word); err == nil {
				all = append(all, pid)
			}
		}
	}
	return all
}
