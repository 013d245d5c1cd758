// Package cgroup bounds what an instance may take of the machine, and finds
// and ends all that runs in it, by Linux control groups, version 1 or 2.
//
//	root, err := cgroup.Open("sluice", 8<<30)   // the engine, once
//	group, err := root.Make(id, cgroup.Limits{Memory: 1 << 30, CPU: 1, PIDs: 512})
//	err = group.Enter()                         // a child that is to become the instance
//	usage, err := group.Usage()
//	err = group.Kill(ctx)
//	err = group.Remove()
//
// The groups of all instances stand in one group whose memory is capped as
// well, so that together they cannot take what the machine needs. It stands in
// the control group of the process that opened it where that can be, so that
// what bounds us bounds them. Version 2 allows no groups with limits beside
// processes: there it stands next to us, or as far up as is needed.
//
// A memory limit counts swap in. When a group reaches its limit the kernel
// kills one process in it, which [Usage.OOMKills] counts, and not all.
//
// Everything here may be called at once from several goroutines, and processes
// too. The package imports nothing of ours: it goes into the runner.
package cgroup

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrUnavailable says that this process may make no control groups. The error
// around it says what was tried and what to do.
var ErrUnavailable = errors.New("control groups cannot be made here")

// Limits bounds a group. Where a field is zero the kernel's default stays.
type Limits struct {
	Memory int64   // bytes, swap included
	CPU    float64 // cores: a weight, which counts only when there are too few
	PIDs   int     // processes and threads
}

// Group is the control group of one instance. It is plain data, to be kept:
// its methods work in any process that may see these directories. The zero
// Group bounds nothing and holds nothing.
type Group struct {
	// Dirs are the directories that make up the group: one on version 2, one in
	// each hierarchy on version 1.
	Dirs []string `json:"dirs"`
}

// Usage is what a group takes. What its kernel does not count is zero.
type Usage struct {
	Memory      int64         // bytes, with the files the kernel caches for it
	Reclaimable int64         // bytes of Memory that are cached files it would drop first
	Peak        int64         // the most that Memory ever was
	Limit       int64         // of Memory; zero where there is none
	CPU         time.Duration // used since the group was made
	PIDs        int           // processes and threads
	OOMKills    int64         // processes that were killed for want of memory
}

// Mount is a directory to show, read-only, inside an instance.
type Mount struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

// longestID is, in bytes, what a name in a file system may have.
const longestID = 255

// checkName refuses a name that could lead elsewhere. The dot is not allowed
// because files of the kernel's own have one in their names.
func checkName(name string) error {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}
	if name == "" || len(name) > longestID || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%q does not name a control group: use letters, digits, - and _", name)
	}
	return nil
}
