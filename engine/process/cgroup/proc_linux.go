package cgroup

import (
	"path"
	"slices"
	"strings"
)

// The controllers that are of use here. Version 2 counts CPU time without one.
const (
	memory  = "memory"
	pids    = "pids"
	cpu     = "cpu"
	cpuacct = "cpuacct"
)

// hierarchy is one tree of control groups, and where in it to make ours.
type hierarchy struct {
	v2          bool
	controllers []string
	dirs        []string // to be tried in this order
}

// find reads the texts of /proc/self/mountinfo and /proc/self/cgroup. Each
// controller is in one hierarchy alone. What it finds need not be there: a
// mount may hide under another, and our own group may have been removed.
func find(mountinfo, own string) []hierarchy {
	mounts, member := parseMounts(mountinfo), parseOwn(own)
	var all []hierarchy
	rest := []string{memory, pids, cpu} // for version 2, which has what version 1 has not
	for _, m := range mounts {
		if m.kind != "cgroup" {
			continue
		}
		var has []string
		for _, c := range []string{memory, pids, cpu, cpuacct} {
			if slices.Contains(m.options, c) {
				has = append(has, c)
			}
		}
		if len(has) > 0 {
			rest = slices.DeleteFunc(rest, func(c string) bool { return slices.Contains(has, c) })
			all = add(all, hierarchy{controllers: has, dirs: m.candidates(member[has[0]])})
		}
	}
	if len(rest) == 0 {
		return all
	}
	for _, m := range mounts {
		if m.kind == "cgroup2" {
			all = add(all, hierarchy{v2: true, controllers: rest, dirs: m.candidates(member[""])})
		}
	}
	return all
}

// add joins what several mounts show of the same hierarchy.
func add(all []hierarchy, h hierarchy) []hierarchy {
	for i := range all {
		if all[i].v2 == h.v2 && slices.Equal(all[i].controllers, h.controllers) {
			for _, dir := range h.dirs {
				if !slices.Contains(all[i].dirs, dir) {
					all[i].dirs = append(all[i].dirs, dir)
				}
			}
			return all
		}
	}
	return append(all, h)
}

// mount is a line of mountinfo, proc_pid_mountinfo(5).
type mount struct {
	root, point string // what of the file system is shown, and where
	kind        string
	options     []string // of the file system; on version 1 with its controllers
}

// candidates lists our own group, as this mount shows it, and those above it.
// Where the mount shows another part of the tree, there is only its top.
func (m mount) candidates(own string) []string {
	rel, within := strings.CutPrefix(own, strings.TrimSuffix(m.root, "/"))
	if within = within && (rel == "" || rel[0] == '/'); !within || outside(own) || outside(m.root) {
		rel = ""
	}
	var dirs []string
	for rel = path.Clean("/" + rel); ; rel = path.Dir(rel) {
		dirs = append(dirs, path.Join(m.point, rel))
		if rel == "/" {
			return dirs
		}
	}
}

// outside says that a path leads out of the cgroup namespace we are in.
func outside(p string) bool {
	return slices.Contains(strings.Split(p, "/"), "..")
}

func parseMounts(text string) []mount {
	var all []mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 6 || len(kind) < 1 {
			continue
		}
		m := mount{root: unescape(place[3]), point: unescape(place[4]), kind: kind[0]}
		if len(kind) > 2 {
			m.options = strings.Split(kind[len(kind)-1], ",")
		}
		if path.IsAbs(m.root) && path.IsAbs(m.point) {
			all = append(all, m)
		}
	}
	return all
}

// parseOwn gives the path of our group for each controller, and for "" that of
// version 2. The path of a group that was removed ends in " (deleted)"; as
// that leads nowhere, the group above it is the next to be tried.
func parseOwn(text string) map[string]string {
	own := map[string]string{}
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && path.IsAbs(parts[2]) {
			for controller := range strings.SplitSeq(parts[1], ",") {
				own[controller] = parts[2]
			}
		}
	}
	return own
}

// unescape undoes what mountinfo does to blanks: \040 and the like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1], '3') && octal(s[i+2], '7') && octal(s[i+3], '7') {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c, highest byte) bool { return c >= '0' && c <= highest }
