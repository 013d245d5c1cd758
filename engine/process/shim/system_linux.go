package shim

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BootID names this run of the machine.
func BootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// StartTime says when a process started, in clock ticks since boot. A process
// that has ended and was not yet collected counts as gone.
func StartTime(pid int) (uint64, error) {
	s, err := readStat(pid)
	if err != nil {
		return 0, fmt.Errorf("looking for process %d: %w", pid, err)
	}
	if s.state == 'Z' || s.state == 'X' {
		return 0, fmt.Errorf("looking for process %d: %w", pid, os.ErrNotExist)
	}
	return s.start, nil
}

type stat struct {
	state  byte
	parent int
	start  uint64
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// parseStat reads a line of proc(5). The name of the program, second, may hold
// anything, brackets and blanks too; what follows its last bracket does not.
func parseStat(text []byte) (stat, error) {
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("process state of %d fields", len(fields))
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return stat{}, err
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return stat{state: fields[0][0], parent: parent, start: start}, err
}

// tracksOrphans says that descendants finds all that the command started.
const tracksOrphans = true

// adoptOrphans makes what the command's children leave behind children of ours.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of orphans: %w", err)
	}
	return nil
}

// descendants lists all living processes below root.
func descendants(root int) []int {
	children := map[int][]int{}
	for _, pid := range processes() {
		if s, err := readStat(pid); err == nil {
			children[s.parent] = append(children[s.parent], pid)
		}
	}
	var all []int
	for queue := children[root]; len(queue) > 0; queue = queue[1:] {
		all = append(all, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return all
}

func processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// WithVariable lists the processes whose environment was given name=value when
// they started. It finds what an instance left behind after its shim was
// killed, wherever that has moved to.
func WithVariable(name, value string) []int {
	want := []byte(name + "=" + value)
	var found []int
	for _, pid := range processes() {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		if err != nil || pid == os.Getpid() {
			continue
		}
		for entry := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(entry, want) {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// oomInterval is how often the kernel's count of processes that it killed for
// want of memory is noted.
const oomInterval = 10 * time.Second

// oomWatch tells whether the kernel has lately killed something for want of
// memory. The count is that of the machine, so only a kill close to the end of
// the command is taken for its own.
type oomWatch struct{ before, seen int64 }

func watchOOM() *oomWatch {
	n := oomKills()
	return &oomWatch{before: n, seen: n}
}

// look notes the count; the note before it is kept, so that a kill just before
// a look is not forgotten by it.
func (w *oomWatch) look() { w.before, w.seen = w.seen, oomKills() }

func (w *oomWatch) happened() bool { return oomKills() > w.before }

func oomKills() int64 {
	text, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	return parseOOMKills(text)
}

func parseOOMKills(text []byte) int64 {
	for line := range bytes.Lines(text) {
		if count, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			n, _ := strconv.ParseInt(string(bytes.TrimSpace(count)), 10, 64)
			return n
		}
	}
	return 0
}
