package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Enter puts the calling process into the group, with all its threads. What it
// has allocated stays counted where it was, so the caller is to be small.
func (g Group) Enter() error {
	for _, dir := range g.Dirs {
		if err := write(dir, "cgroup.procs", "0"); err != nil {
			return fmt.Errorf("entering a control group: %w", err)
		}
	}
	return nil
}

// Bounds reports whether the group has a file of this name, by which it is
// bounded.
func (g Group) Bounds(file string) bool {
	return slices.ContainsFunc(g.Dirs, func(dir string) bool { return has(dir, file) })
}

// Usage says what the group takes now. Of a group that is gone it says so with
// an error that is [fs.ErrNotExist].
func (g Group) Usage() (Usage, error) {
	var u Usage
	for _, dir := range g.Dirs {
		if _, err := os.Stat(dir); err != nil {
			return Usage{}, fmt.Errorf("measuring a control group: %w", err)
		}
		u.add(dir)
	}
	return u, nil
}

func (p place) memoryLimit() int64 {
	var u Usage
	u.add(p.dir)
	return u.Limit
}

// unlimited is where version 1 begins to mean no limit, which it has no word for.
const unlimited = 1 << 62

func (u *Usage) add(dir string) {
	u.PIDs += int(number(dir, "pids.current"))
	u.CPU += time.Duration(number(dir, "cpuacct.usage"))
	switch {
	case has(dir, "cgroup.controllers"): // version 2
		if u.CPU == 0 { // else version 1, which comes first, has counted it
			u.CPU = time.Duration(keyed(dir, "cpu.stat", "usage_usec")) * time.Microsecond
		}
		u.Memory += number(dir, "memory.current")
		u.Peak += number(dir, "memory.peak")
		u.Limit += number(dir, "memory.max")
		u.Reclaimable += keyed(dir, "memory.stat", "inactive_file")
		u.OOMKills += keyed(dir, "memory.events", "oom_kill")
	case has(dir, mark[memory]):
		u.Memory = number(dir, "memory.usage_in_bytes")
		u.Peak = number(dir, "memory.max_usage_in_bytes")
		u.Limit = number(dir, mark[memory])
		u.Reclaimable = keyed(dir, "memory.stat", "total_inactive_file")
		u.OOMKills = oomKills1(dir)
	}
	if u.Limit >= unlimited {
		u.Limit = 0
	}
}

// oomKills1 adds up what version 2 does by itself: the kills in the groups below.
func oomKills1(dir string) (n int64) {
	for _, d := range tree(dir) {
		n += keyed(d, "memory.oom_control", "oom_kill")
	}
	return n
}

// tree lists a group and all below it, the lowest first.
func tree(dir string) []string {
	var all []string
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all = append(all, path)
		}
		return nil // it may go while we look
	})
	slices.Reverse(all)
	return all
}

// removeTime is how long after the end of its last process a group may still
// be in the kernel's use.
const removeTime = 2 * time.Second

// Remove removes the group, and those that were made in it. With a process in
// it, it fails. One that is gone already is no error.
func (g Group) Remove() error {
	var failed error
	for _, dir := range g.Dirs {
		if err := remove(dir); err != nil {
			failed = errors.Join(failed, fmt.Errorf("removing a control group: %w", err))
		}
	}
	return failed
}

func remove(dir string) error {
	deadline := time.Now().Add(removeTime)
	for pause := time.Millisecond; ; pause = min(2*pause, longestPause) {
		err := removeTree(dir)
		if !errors.Is(err, unix.EBUSY) || len(listed(dir)) > 0 || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

func removeTree(dir string) error {
	for _, d := range tree(dir) {
		if err := unix.Rmdir(d); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "rmdir", Path: d, Err: err}
		}
	}
	return nil
}

// Mounts says what to show of the group inside the instance, in place of the
// whole hierarchies of the machine, so that what runs there finds its limits,
// and what it was killed for, where it looks in any container. On version 2
// that fits /proc/self/cgroup in a cgroup namespace that was made after
// entering the group.
func (g Group) Mounts() []Mount {
	var mounts []Mount
	for _, dir := range g.Dirs {
		if point := mountPoint(dir); point != "" {
			mounts = append(mounts, Mount{Source: dir, Target: point})
		}
	}
	return mounts
}

// mountPoint is the highest directory above that is of the same file system.
// It is empty where the directory is not there.
func mountPoint(dir string) string {
	var here, above unix.Stat_t
	if unix.Stat(dir, &here) != nil {
		return ""
	}
	for {
		parent := filepath.Dir(dir)
		if parent == dir || unix.Stat(parent, &above) != nil || above.Dev != here.Dev {
			return dir
		}
		dir = parent
	}
}
