package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// All is the group over all instances. It is not to be entered.
func (r *Root) All() Group {
	var g Group
	for _, p := range r.places {
		g.Dirs = append(g.Dirs, p.dir)
	}
	return g
}

// Leave removes the group over all instances if there are none in it. Open
// makes it again.
func (r *Root) Leave() {
	for _, p := range r.places {
		_ = os.Remove(p.dir) // one that holds groups stays
	}
}

// Group is the group of one instance, whether it has been made or not.
func (r *Root) Group(id string) (Group, error) {
	var g Group
	if err := checkName(id); err != nil {
		return g, err
	}
	for _, p := range r.places {
		g.Dirs = append(g.Dirs, filepath.Join(p.dir, id))
	}
	return g, nil
}

// Groups lists the ids of the groups that are there, those included of which
// only a part is.
func (r *Root) Groups() ([]string, error) {
	var ids []string
	for _, p := range r.places {
		below, err := os.ReadDir(p.dir)
		if err != nil {
			return nil, fmt.Errorf("listing control groups: %w", err)
		}
		for _, e := range below {
			if e.IsDir() && checkName(e.Name()) == nil {
				ids = append(ids, e.Name())
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Make makes the group of one instance. Where there is one it is given these
// limits.
func (r *Root) Make(id string, l Limits) (Group, error) {
	g, err := r.Group(id)
	if err != nil {
		return g, err
	}
	made := false
	for i, p := range r.places {
		m, err := p.make(g.Dirs[i], l)
		made = made || m
		if err != nil {
			err = fmt.Errorf("making control group %s: %w", id, err)
			if made {
				err = errors.Join(err, g.Remove())
			}
			return Group{}, err
		}
	}
	return g, nil
}

func (p place) make(dir string, l Limits) (made bool, err error) {
	if made, err = mkdir(dir); err != nil {
		return false, err
	}
	if p.v2 { // systemd takes controllers away where it knows of nobody who needs them
		if err := enable(filepath.Dir(p.dir), p.controllers); err != nil {
			return made, err
		}
		if err := enable(p.dir, p.controllers); err != nil {
			return made, err
		}
	}
	for _, c := range p.controllers {
		switch c {
		case memory:
			err = p.limitMemory(dir, l.Memory)
		case pids:
			err = write(dir, "pids.max", orMax(int64(l.PIDs)))
		case cpu:
			err = p.limitCPU(dir, l.CPU)
		}
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

func orMax(n int64) string {
	if n <= 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// limitMemory limits memory and swap together: the limit is to mean that.
func (p place) limitMemory(dir string, limit int64) error {
	if !p.v2 {
		return limitMemory1(dir, limit)
	}
	if has(dir, "memory.swap.max") {
		swap := "max"
		if limit > 0 {
			swap = "0"
		}
		if err := write(dir, "memory.swap.max", swap); err != nil {
			return err
		}
	}
	return write(dir, "memory.max", orMax(limit))
}

func limitMemory1(dir string, limit int64) error {
	const alone, withSwap = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	value := "-1"
	if limit > 0 {
		value = strconv.FormatInt(limit, 10)
	}
	if !has(dir, withSwap) {
		// Swap is not counted here. What is never swapped out needs no counting.
		if limit > 0 && has(dir, "memory.swappiness") {
			if err := write(dir, "memory.swappiness", "0"); err != nil {
				return err
			}
		}
		return write(dir, alone, value)
	}
	files := []string{alone, withSwap} // the second may never be below the first
	if limit <= 0 || limit > number(dir, withSwap) {
		files = []string{withSwap, alone}
	}
	for _, file := range files {
		if err := write(dir, file, value); err != nil {
			return err
		}
	}
	return nil
}

func (p place) limitCPU(dir string, cores float64) error {
	if p.v2 {
		return write(dir, "cpu.weight", weight(cores, 100, 1, 10000))
	}
	return write(dir, "cpu.shares", weight(cores, 1024, 2, 1<<18))
}

// weight is that of a number of cores, one being the kernel's default.
func weight(cores, one, lowest, highest float64) string {
	if cores <= 0 || math.IsNaN(cores) {
		cores = 1
	}
	return strconv.FormatFloat(math.Round(min(max(cores*one, lowest), highest)), 'f', 0, 64)
}
