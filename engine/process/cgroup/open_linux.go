package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is the group over the groups of all instances.
type Root struct {
	places []place
	gaps   []string
}

// place is the root's directory in one hierarchy.
type place struct {
	dir         string
	v2          bool
	controllers []string
}

// Open finds where this process may make control groups and makes, or finds
// again, the group of this name over all instances, whose memory is capped at
// limit bytes; zero is no cap. It fails with [ErrUnavailable] where neither
// memory nor the number of processes could be limited. A process that was
// started elsewhere in the tree may make another root than the one before it:
// the groups below that are known from where they were kept.
func Open(name string, limit int64) (*Root, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	r := &Root{}
	failed := map[string]error{} // by controller
	for _, h := range find(string(mounts), string(own)) {
		p, err := h.settle(name)
		if err == nil {
			r.places = append(r.places, p)
			err = fmt.Errorf("it is not offered at %s", filepath.Dir(p.dir))
		}
		for _, c := range h.controllers {
			failed[c] = err // unless the place has it
		}
	}
	if !r.limits(memory) && !r.limits(pids) {
		for _, p := range r.places {
			os.Remove(p.dir)
		}
		return nil, unavailable(failed)
	}
	r.note(memory, "memory is not limited", failed)
	r.note(pids, "the number of processes is not limited", failed)
	r.note(cpu, "CPU time is not shared by weight", failed)
	if err := r.cap(limit); err != nil {
		return nil, err
	}
	return r, nil
}

var errNone = errors.New("the kernel shows no such controller here")

func (r *Root) limits(controller string) bool {
	return slices.ContainsFunc(r.places, func(p place) bool { return slices.Contains(p.controllers, controller) })
}

func (r *Root) note(controller, what string, failed map[string]error) {
	if r.limits(controller) {
		return
	}
	r.gaps = append(r.gaps, fmt.Sprintf("%s: %v", what, cmp.Or(failed[controller], errNone)))
}

// Gaps says, in a sentence each, what is not limited here although it should.
func (r *Root) Gaps() []string { return slices.Clone(r.gaps) }

// cap limits the memory of all instances together. Version 1 refuses a limit
// below what is in use: then the former stays until somebody opens it anew.
func (r *Root) cap(limit int64) error {
	for _, p := range r.places {
		if !slices.Contains(p.controllers, memory) {
			continue
		}
		err := p.limitMemory(p.dir, limit)
		if errors.Is(err, unix.EBUSY) {
			r.gaps = append(r.gaps, fmt.Sprintf("the memory of all instances stays capped at %d bytes and not %d: they are using more", p.memoryLimit(), limit))
		} else if err != nil {
			return fmt.Errorf("capping the memory of all instances: %w", err)
		}
	}
	return nil
}

func unavailable(failed map[string]error) error {
	advice := "run Sluice as root, as a systemd service with Delegate=yes and DelegateSubgroup=main, or in a session with: systemd-run --user --scope"
	if os.Geteuid() == 0 {
		advice = "a container must be privileged for this, and have its control groups mounted writable"
	}
	why := cmp.Or(failed[memory], failed[pids], errors.New("no cgroup file system with memory or pids is mounted"))
	return fmt.Errorf("%w: %w (%s)", ErrUnavailable, why, advice)
}

// settle makes the root's directory at the first candidate where that can be
// done. One that can limit both memory and processes is the better one.
func (h hierarchy) settle(name string) (place, error) {
	if !h.v2 {
		return h.try(func(dir string) (place, error) { return settle1(dir, name, h.controllers) })
	}
	var first error
	for _, must := range [][]string{{memory, pids}, {memory}, {pids}, {cpu}} {
		if !subset(must, h.controllers) {
			continue
		}
		p, err := h.try(func(dir string) (place, error) { return settle2(dir, name, must, h.controllers) })
		if err == nil {
			return p, nil
		}
		if first == nil {
			first = err
		}
	}
	return place{}, first
}

func (h hierarchy) try(settle func(dir string) (place, error)) (place, error) {
	failed := failures{}
	for _, dir := range h.dirs {
		p, err := settle(dir)
		if err == nil {
			p.weigh()
			return p, nil
		}
		failed.add(err)
	}
	return place{}, failed
}

// failures are what was tried, with each reason once: what is forbidden in one
// directory mostly is so in those above.
type failures []error

func (f *failures) add(err error) {
	var now, before unix.Errno
	for _, e := range *f {
		if errors.As(err, &now) && errors.As(e, &before) && now == before {
			return
		}
	}
	*f = append(*f, err)
}

func (f failures) Error() string {
	var all []string
	for _, err := range f {
		all = append(all, err.Error())
	}
	return strings.Join(all, ", ")
}

func (f failures) Unwrap() []error { return f }

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// mark is a file that tells of a controller on version 1.
var mark = map[string]string{
	memory:  "memory.limit_in_bytes",
	pids:    "pids.max",
	cpu:     "cpu.shares",
	cpuacct: "cpuacct.usage",
}

func settle1(dir, name string, controllers []string) (place, error) {
	p := place{dir: filepath.Join(dir, name), controllers: controllers}
	made, err := makeIn(dir, name, unix.CGROUP_SUPER_MAGIC)
	if err != nil {
		return p, err
	}
	for _, c := range controllers {
		if !has(p.dir, mark[c]) { // a mount of something else hides it
			err = fmt.Errorf("%s has no %s", p.dir, mark[c])
		}
	}
	if err == nil && has(p.dir, "memory.use_hierarchy") && number(p.dir, "memory.use_hierarchy") == 0 {
		err = write(p.dir, "memory.use_hierarchy", "1") // else the cap would not count the groups below
	}
	if err != nil && made {
		os.Remove(p.dir)
	}
	return p, err
}

func settle2(dir, name string, must, want []string) (place, error) {
	p := place{dir: filepath.Join(dir, name), v2: true}
	if offered := words(dir, "cgroup.controllers"); !subset(must, offered) {
		return p, fmt.Errorf("%s offers %q only", dir, offered)
	}
	// Whoever moves a process needs to write to the group above both ends.
	if err := unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK); err != nil {
		return p, &os.PathError{Op: "open", Path: filepath.Join(dir, "cgroup.procs"), Err: err}
	}
	made, err := makeIn(dir, name, unix.CGROUP2_SUPER_MAGIC)
	if err != nil {
		return p, err
	}
	err = enable(dir, want)
	for _, c := range words(p.dir, "cgroup.controllers") {
		if slices.Contains(want, c) {
			p.controllers = append(p.controllers, c)
		}
	}
	if subset(must, p.controllers) {
		err = enable(p.dir, p.controllers)
	}
	if err != nil && made {
		os.Remove(p.dir)
	}
	return p, err
}

// enable has the groups below a directory limited by these controllers, as far
// as they are offered.
func enable(dir string, controllers []string) error {
	offered, enabled := words(dir, "cgroup.controllers"), words(dir, "cgroup.subtree_control")
	for _, c := range controllers {
		if !slices.Contains(offered, c) || slices.Contains(enabled, c) {
			continue
		}
		if err := write(dir, "cgroup.subtree_control", "+"+c); err != nil {
			return fmt.Errorf("enabling %s: %w", c, err)
		}
	}
	return nil
}

// makeIn makes a group, in a file system of control groups only: a mount of
// something else may hide the one that was found.
func makeIn(dir, name string, magic int64) (made bool, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return false, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if int64(fs.Type) != magic {
		return false, fmt.Errorf("%s is not of the cgroup file system it should be of", dir)
	}
	return mkdir(filepath.Join(dir, name))
}

// mkdir makes a group, unless it is there.
func mkdir(dir string) (made bool, err error) {
	if err = os.Mkdir(dir, 0o755); err == nil {
		return true, nil
	}
	if info, e := os.Lstat(dir); e == nil && info.IsDir() {
		return false, nil
	}
	return false, err
}

// weigh gives all instances together the weight of a process on each core
// where they would otherwise count no more than one of the processes beside
// them. Among groups the default is right: one service among others.
func (p place) weigh() {
	if slices.Contains(p.controllers, cpu) && len(words(filepath.Dir(p.dir), "cgroup.procs")) > 0 {
		p.limitCPU(p.dir, float64(runtime.NumCPU()))
	}
}
