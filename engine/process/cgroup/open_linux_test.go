package cgroup

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestMemoryOfAllIsCapped(t *testing.T) {
	r, name := open(t, 96<<20)
	one := newGroup(t, r, "one", Limits{Memory: 80 << 20})
	two := newGroup(t, r, "two", Limits{Memory: 80 << 20})
	_, out := start(t, one, "hold", "60")
	ready(t, out)
	start(t, two, "hold", "60")
	until(t, "a kill for the cap", func() bool { return usage(t, r.All()).OOMKills > 0 })
	if u := usage(t, r.All()); u.Memory > 96<<20+slack || u.Peak > 96<<20+slack {
		t.Errorf("all take %+v", u)
	}
	if a, b := usage(t, one), usage(t, two); a.OOMKills+b.OOMKills < 1 || a.Peak > 80<<20 || b.Peak > 80<<20 {
		t.Errorf("they take %+v and %+v", a, b)
	}
	for _, limit := range []int64{200 << 20, 150 << 20, 0, 300 << 20} {
		again, err := Open(name, limit)
		if err != nil {
			t.Fatal(err)
		}
		if got := usage(t, again.All()).Limit; got != limit {
			t.Errorf("the cap is %d, want %d", got, limit)
		}
	}
}

// Version 1 refuses a cap below what is in use, version 2 makes it true.
func TestCapBelowUse(t *testing.T) {
	r, name := open(t, 96<<20)
	g := newGroup(t, r, "one", Limits{})
	cmd, out := start(t, g, "hold", "60")
	ready(t, out)
	again, err := Open(name, 32<<20)
	if err != nil {
		t.Fatal(err)
	}
	if r.places[0].v2 {
		if !killed(cmd) || usage(t, g).OOMKills != 1 {
			t.Errorf("under a cap of half of it the group takes %+v", usage(t, g))
		}
		return
	}
	if gaps := again.Gaps(); len(gaps) != 1 || !strings.Contains(gaps[0], strconv.Itoa(96<<20)) {
		t.Errorf("the cap that could not be has gaps %q", gaps)
	}
	if u := usage(t, again.All()); u.Limit != 96<<20 {
		t.Errorf("the cap is %d", u.Limit)
	}
}

func TestGroupsAreFoundAgain(t *testing.T) {
	r, name := open(t, 0)
	for _, id := range []string{"b", "a", "c"} {
		newGroup(t, r, id, Limits{})
	}
	c, err := r.Group("c")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.Dirs[len(c.Dirs)-1]); err != nil { // as when a removal was cut off
		t.Fatal(err)
	}
	again, err := Open(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "b", "c"}
	if len(c.Dirs) == 1 {
		want = want[:2]
	}
	if got, err := again.Groups(); err != nil || !slices.Equal(got, want) {
		t.Errorf("found %q, %v; want %q", got, err, want)
	}
	for _, id := range []string{"a", "b", "c", "never"} {
		g, err := again.Group(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		if err := g.Remove(); err != nil {
			t.Errorf("again: %v", err)
		}
		if _, err := g.Usage(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the usage of a group that is gone: %v", err)
		}
		if err := g.Enter(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("entering a group that is gone: %v", err)
		}
	}
	if got, err := again.Groups(); err != nil || len(got) > 0 {
		t.Errorf("after the removal there are %q, %v", got, err)
	}
}

func TestNames(t *testing.T) {
	r, _ := open(t, 0)
	for _, name := range []string{"", ".", "..", "a/b", "../a", "cgroup.procs", "a b", "a\x00", strings.Repeat("a", 256)} {
		if _, err := r.Make(name, Limits{}); err == nil {
			t.Errorf("%q names a group", name)
		}
		if _, err := Open(name, 0); err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("opening %q: %v", name, err)
		}
	}
	if !r.places[0].v2 {
		if _, err := r.Make("tasks", Limits{}); err == nil { // a file of the kernel's
			t.Error("a file was taken for a group")
		}
	}
}

// Of a user's own part of the tree, which systemd delegates, groups are made.
func TestDelegatedGroups(t *testing.T) {
	asRoot(t)
	r, name := open(t, 0)
	users := newGroup(t, r, "user", Limits{})
	var unit Group
	for _, dir := range users.Dirs {
		unit.Dirs = append(unit.Dirs, filepath.Join(dir, "app", "unit"))
		if err := os.MkdirAll(filepath.Join(dir, "app", "unit"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, d := range tree(dir) {
			for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
				if err := os.Chown(filepath.Join(d, file), nobody, nobody); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
	}
	_, out := start(t, unit, "open", name)
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	var got Group
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("it says %q: %v", text, err)
	}
	want := filepath.Join(unit.Dirs[0], name, "one")
	if r.places[0].v2 {
		want = filepath.Join(users.Dirs[0], name, "one")
	}
	if got.Dirs[0] != want || usage(t, got).Limit != 32<<20 {
		t.Errorf("it made %q, want %q; it takes %+v", got.Dirs, want, usage(t, got))
	}
}

func TestUnavailable(t *testing.T) {
	asRoot(t)
	r, _ := open(t, 0) // so that this user's group is not the one whose rights are asked for
	_, out := start(t, newGroup(t, r, "one", Limits{}), "open", "sluice-test-unavailable")
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{ErrUnavailable.Error(), "permission denied", "run Sluice as root", "Delegate=yes"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%q is not in %q", part, text)
		}
	}
	if n := strings.Count(string(text), "denied"); n != 1 {
		t.Errorf("the reason is given %d times in %q", n, text)
	}
}

// gapsVariable names what the kernel was told to be without.
const gapsVariable = "TEST_CGROUP_GAPS"

func TestGaps(t *testing.T) {
	r, err := Open("sluice-test-gaps", 1<<30)
	if errors.Is(err, ErrUnavailable) {
		absent(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.All().Remove(); err != nil {
			t.Error(err)
		}
	}()
	g := newGroup(t, r, "one", Limits{Memory: 1 << 20, CPU: 1, PIDs: 5}) // what can be is limited
	if got := read(t, g, "pids.max"); got != "5" {
		t.Errorf("the limit of processes is %s", got)
	}
	var want []string
	if os.Getenv(gapsVariable) == "memory" {
		want = []string{"memory is not limited: it is not offered at /sys/fs/cgroup"}
	}
	if got := r.Gaps(); !slices.Equal(got, want) {
		t.Errorf("gaps %q, want %q", got, want)
	}
}
