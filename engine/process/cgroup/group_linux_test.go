package cgroup

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
	if errors.Is(err, ErrUnavailable) {
		absent(t, err.Error())
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
		absent(t, fmt.Sprintf("this machine does not limit everything: %q", gaps))
	}
	return r, name
}

// absent skips a test, but not where everything has to be there.
func absent(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		absent(t, "this takes root")
	}
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
	want := []string{"1024", "100"} // one service among others
	for _, p := range r.places {
		if has(p.dir, "cpu.stat") && len(words(filepath.Dir(p.dir), "cgroup.procs")) > 0 { // beside single processes
			want = []string{strconv.Itoa(1024 * runtime.NumCPU()), strconv.Itoa(100 * runtime.NumCPU())}
		}
	}
	if got := read(t, r.All(), "cpu.shares", "cpu.weight"); !slices.Contains(want, got) {
		t.Errorf("all weigh %s, want one of %q", got, want)
	}
	start(t, g, "work")
	until(t, "CPU time is counted", func() bool { return usage(t, g).CPU > 50*time.Millisecond })
}

func TestWhatIsWritten(t *testing.T) {
	r, _ := open(t, 0)
	g := newGroup(t, r, "one", Limits{Memory: 50 << 20, PIDs: 9})
	if !g.Bounds("pids.max") || !g.Bounds("memory.max") && !g.Bounds("memory.limit_in_bytes") || g.Bounds("nothing.max") || (Group{}).Bounds("pids.max") {
		t.Error("what bounds it is not known")
	}
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

func TestTheGroupIsShownInside(t *testing.T) {
	asRoot(t)
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
