package cgroup

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const patience = 60 * time.Second // an emulated machine is slow

// slack is what the kernel may take beyond a limit, in bytes, to end what has
// reached it.
const slack = 1 << 20

var roots atomic.Int64

// open makes a root for one test.
func open(t *testing.T, limit int64) (*Root, string) {
	t.Helper()
	name := fmt.Sprintf("sluice-test-%d-%d", os.Getpid(), roots.Add(1))
	r, err := Open(name, limit)
	if errors.Is(err, ErrUnavailable) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill(t, r.All())
		if err := r.All().Remove(); err != nil {
			t.Error(err)
		}
	})
	if version := os.Getenv(versionVariable); version != "" && (version == "2") != r.places[0].v2 {
		t.Fatalf("the groups at %q are not of version %s", r.All().Dirs, version)
	}
	if gaps := r.Gaps(); len(gaps) > 0 {
		t.Fatalf("this machine does not limit everything: %q", gaps)
	}
	return r, name
}

func kill(t *testing.T, g Group) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := g.Kill(ctx); err != nil {
		t.Fatal(err)
	}
}

func newGroup(t *testing.T, r *Root, id string, l Limits) Group {
	t.Helper()
	g, err := r.Make(id, l)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func usage(t *testing.T, g Group) Usage {
	t.Helper()
	u, err := g.Usage()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// read finds a file of a group, by its name on version 1 or 2.
func read(t *testing.T, g Group, names ...string) string {
	t.Helper()
	for _, dir := range g.Dirs {
		for _, name := range names {
			if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				return strings.TrimSpace(string(text))
			}
		}
	}
	t.Fatalf("%q has none of %q", g.Dirs, names)
	return ""
}

func ready(t *testing.T, out io.Reader) {
	t.Helper()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("a child says %q, %v", line, err)
	}
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func killed(cmd *exec.Cmd) bool {
	var exit *exec.ExitError
	return errors.As(cmd.Wait(), &exit) && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGKILL
}

func TestMemoryIsLimited(t *testing.T) {
	r, _ := open(t, 256<<20)
	g := newGroup(t, r, "one", Limits{Memory: 64 << 20})
	other := newGroup(t, r, "two", Limits{Memory: 64 << 20})
	_, out := start(t, g, "hold", "32")
	ready(t, out)
	if u := usage(t, g); u.Memory < 32<<20 || u.Memory > 64<<20 || u.Limit != 64<<20 || u.OOMKills != 0 || u.PIDs == 0 {
		t.Errorf("with 32 MiB it takes %+v", u)
	}
	if cmd, _ := start(t, other, "hold", "128"); !killed(cmd) {
		t.Error("128 MiB were to be had")
	}
	if u := usage(t, other); u.OOMKills != 1 || u.Peak < 60<<20 || u.Peak > 64<<20+slack {
		t.Errorf("after 128 MiB were wanted: %+v", u)
	}
	if u := usage(t, g); u.OOMKills != 0 {
		t.Errorf("the kill is counted with another: %+v", u)
	}
	if u := usage(t, r.All()); u.OOMKills != 1 || u.Limit != 256<<20 || u.Memory < 32<<20 {
		t.Errorf("all take %+v", u)
	}
}

// One process is killed and not the whole group: the supervisor of a worker is
// to see its end.
func TestAnotherProcessOfTheGroupSurvives(t *testing.T) {
	r, _ := open(t, 0)
	g := newGroup(t, r, "one", Limits{Memory: 64 << 20})
	small, out := start(t, g, "hold", "1")
	ready(t, out)
	if cmd, _ := start(t, g, "hold", "128"); !killed(cmd) {
		t.Error("128 MiB were to be had")
	}
	if err := small.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the small one is gone: %v", err)
	}
	if u := usage(t, g); u.OOMKills != 1 || u.PIDs == 0 {
		t.Errorf("the group takes %+v", u)
	}
}

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

func TestForkBombIsLimitedAndKilled(t *testing.T) {
	const most = 100
	r, _ := open(t, 256<<20)
	g := newGroup(t, r, "one", Limits{Memory: 128 << 20, PIDs: most})
	other := newGroup(t, r, "two", Limits{})
	_, held := start(t, other, "hold", "1")
	ready(t, held)
	_, out := start(t, g, "bomb")
	ready(t, out)
	until(t, "the bomb fills its group", func() bool {
		n := usage(t, g).PIDs
		if n > most {
			t.Fatalf("%d processes, and %d were allowed", n, most)
		}
		return n == most
	})
	if err := g.Remove(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removing a group with processes: %v", err)
	}
	kill(t, g)
	if left := listed(g.Dirs[0]); len(left) > 0 {
		t.Errorf("%d are left", len(left))
	}
	if u := usage(t, other); u.PIDs == 0 {
		t.Error("a process of another group was killed")
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

func TestKillLeavesTheGroupUsable(t *testing.T) {
	r, _ := open(t, 0)
	g := newGroup(t, r, "one", Limits{PIDs: 77})
	for range 2 {
		cmd, out := start(t, g, "hold", "1")
		ready(t, out)
		kill(t, g)
		if !killed(cmd) {
			t.Error("it was not killed")
		}
	}
	if got := read(t, g, "pids.max"); got != "77" {
		t.Errorf("the limit has become %s", got)
	}
}

// A process that cannot be named from here must not be taken for process 0,
// which in kill(2) is everything around us.
func TestKillEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := (Group{Dirs: []string{dir}}).Kill(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("killing what cannot be killed: %v", err)
	}
}

func TestGroupsWithinAreKilledAndRemoved(t *testing.T) {
	r, _ := open(t, 0)
	g := newGroup(t, r, "one", Limits{})
	var within Group
	for _, dir := range g.Dirs {
		inner := filepath.Join(dir, "made", "by it")
		if err := os.MkdirAll(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		within.Dirs = append(within.Dirs, inner)
	}
	cmd, out := start(t, within, "hold", "1")
	ready(t, out)
	kill(t, g)
	if !killed(cmd) {
		t.Error("it was not killed")
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

func TestProcessorTime(t *testing.T) {
	r, _ := open(t, 0)
	g := newGroup(t, r, "one", Limits{CPU: 0.5})
	if got := read(t, g, "cpu.shares", "cpu.weight"); got != "512" && got != "50" {
		t.Errorf("half a core weighs %s", got)
	}
	newGroup(t, r, "one", Limits{CPU: 2})
	if got := read(t, g, "cpu.shares", "cpu.weight"); got != "2048" && got != "200" {
		t.Errorf("two cores weigh %s", got)
	}
	start(t, g, "work")
	until(t, "CPU time is counted", func() bool { return usage(t, g).CPU > 50*time.Millisecond })
}

func TestWhatIsWritten(t *testing.T) {
	r, _ := open(t, 0)
	g := newGroup(t, r, "one", Limits{Memory: 50 << 20, PIDs: 9})
	want, version2 := strconv.Itoa(50<<20), r.places[0].v2
	if version2 {
		for file, want := range map[string]string{"memory.max": want, "memory.swap.max": "0", "memory.oom.group": "0", "pids.max": "9"} {
			if got := read(t, g, file); got != want {
				t.Errorf("%s is %s, want %s", file, got, want)
			}
		}
	} else {
		for _, file := range []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"} {
			if got := read(t, g, file); got != want {
				t.Errorf("%s is %s, want %s", file, got, want)
			}
		}
	}
	for _, l := range []int64{90 << 20, 40 << 20, 0} { // up, down, away
		newGroup(t, r, "one", Limits{Memory: l})
		if got := usage(t, g).Limit; got != l {
			t.Errorf("the limit is %d, want %d", got, l)
		}
		if got := read(t, g, "pids.max"); got != "max" {
			t.Errorf("the limit of processes is %s", got)
		}
	}
}

// Where the kernel counts no swap, what is limited is not swapped out.
func TestNoSwapAccounting(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"memory.limit_in_bytes", "memory.swappiness"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := limitMemory1(dir, 5000); err != nil {
		t.Fatal(err)
	}
	g := Group{Dirs: []string{dir}}
	if limit, swap := read(t, g, "memory.limit_in_bytes"), read(t, g, "memory.swappiness"); limit != "5000" || swap != "0" {
		t.Errorf("the limit is %s, the swappiness %s", limit, swap)
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

func TestTheGroupIsShownInside(t *testing.T) {
	r, _ := open(t, 0)
	g := newGroup(t, r, "one", Limits{Memory: 80 << 20, CPU: 3, PIDs: 333})
	_, out := start(t, g, "look")
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("it says %q: %v", text, err)
	}
	want := map[string]string{"memory/memory.limit_in_bytes": "83886080\n", "pids/pids.max": "333\n", "cpu/cpu.shares": "3072\n"}
	if r.places[0].v2 {
		want = map[string]string{"memory.max": "83886080\n", "pids.max": "333\n", "cpu.weight": "300\n"}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inside there is (-want +got):\n%s", diff)
	}
}

// Of a user's own part of the tree, which systemd delegates, groups are made.
func TestDelegatedGroups(t *testing.T) {
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
}
