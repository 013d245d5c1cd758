package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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

// selfPID gives our process ID as the machine knows it: /proc is its view.
func selfPID() int {
	if pid, err := os.Readlink("/proc/self"); err == nil {
		if n, err := strconv.Atoi(pid); err == nil {
			return n
		}
	}
	return os.Getpid()
}

// outerPID gives the process ID by which the machine knows a child of ours.
func outerPID(pid int) int {
	self := selfPID()
	if self == os.Getpid() {
		return pid
	}
	for _, outer := range familyOf(self, 0) {
		if innermostPID(outer) == pid {
			return outer
		}
	}
	return 0 // it has ended already
}

// familyOf lists all living processes below root, as descendants does, but asks
// the kernel for the children of each instead of looking at every process of the
// machine: it is cheap enough to do often. It stops once it knows of more than
// most (0: never). Where the kernel does not say, it is as dear.
func familyOf(root, most int) []int {
	first, err := childrenFile(root)
	if err != nil {
		return descendants(root)
	}
	all := first
	for i := 0; i < len(all) && (most <= 0 || len(all) <= most); i++ {
		more, err := childrenFile(all[i])
		if err == nil { // else it has ended
			all = append(all, more...)
		}
	}
	return all
}

func childrenFile(pid int) ([]int, error) {
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil || len(tasks) == 0 {
		return nil, fs.ErrNotExist
	}
	var children []int
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		for _, field := range bytes.Fields(text) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				children = append(children, child)
			}
		}
	}
	return children, nil
}

// innermostPID gives the process ID that a process has in its own namespace.
func innermostPID(pid int) int {
	ids := bytes.Fields(statusField(pid, "NSpid:"))
	if len(ids) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(string(ids[len(ids)-1]))
	return n
}

func statusField(pid int, name string) []byte {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil
	}
	return fieldOf(text, name)
}

func fieldOf(status []byte, name string) []byte {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(name)); ok {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}

// holdings is what processes hold together.
type holdings struct {
	own, shared int64 // bytes of memory that no file on a disk could give back
	threads     int64
}

// look adds up, quickly: what several share counts for each.
func (h *holdings) look(pids []int) {
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			continue // gone
		}
		h.own += numberOf(text, "RssAnon:") << 10
		h.shared += numberOf(text, "RssShmem:") << 10
		h.threads += numberOf(text, "Threads:")
	}
}

// lookClosely adds up what several share in shares, which takes the kernel
// longer. Children that were forked hold nothing until they write.
func (h *holdings) lookClosely(pids []int) {
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
		if err != nil {
			continue
		}
		h.own += numberOf(text, "Pss_Anon:") << 10
		h.shared += numberOf(text, "Pss_Shmem:") << 10
	}
}

// held gives the bytes of memory that processes hold, and their threads. Files
// in memory count whether they are mapped or not, those in a folder of memory
// too. Where that seems to be beyond a bound it is looked at closely.
func held(pids []int, scratch *Scratch, bound int64) (memory, threads int64) {
	var h holdings
	h.look(pids)
	files := memoryFiles(pids, scratch)
	memory = h.own + max(h.shared, files)
	if bound > 0 && memory > bound {
		var close holdings
		close.lookClosely(pids)
		memory = close.own + max(close.shared, files)
	}
	return memory, h.threads
}

// memoryFiles adds up the files in memory that processes have open, and those
// in a folder of memory.
func memoryFiles(pids []int, scratch *Scratch) (sum int64) {
	files := map[[2]uint64]int64{} // bytes by device and number
	for _, pid := range pids {
		addMemoryFiles(files, pid)
	}
	for _, size := range files {
		sum += size
	}
	if scratch != nil {
		var fs unix.Statfs_t
		if err := unix.Statfs(scratch.Path, &fs); err == nil {
			sum += int64(fs.Blocks-fs.Bfree) * fs.Bsize
		}
	}
	return sum
}

// numberOf reads a field of what the kernel says of a process, in the units it
// has there.
func numberOf(status []byte, name string) int64 {
	word, _, _ := bytes.Cut(fieldOf(status, name), []byte(" "))
	n, _ := strconv.ParseInt(string(word), 10, 64) // not there: nothing
	return n
}

// addMemoryFiles notes the files in memory that a process has open.
func addMemoryFiles(files map[[2]uint64]int64, pid int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		path := dir + "/" + name
		if target, err := os.Readlink(path); err != nil || !strings.HasPrefix(target, "/memfd:") {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			files[[2]uint64{uint64(st.Dev), st.Ino}] = st.Blocks * 512
		}
	}
}

// mountScratch mounts memory as a folder, in our own mount namespace.
func mountScratch(s Scratch) error {
	if os.Getpid() != 1 {
		// The machine would see it, and keep it when we are gone.
		return errors.New("mounting memory for the command: the shim has no namespace of its own")
	}
	options := fmt.Sprintf("mode=0700,size=%d,nr_inodes=%d,uid=%d,gid=%d", s.Size, scratchFiles, s.User, s.Group)
	if err := unix.Mount("sluice", s.Path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mounting memory for the command: %w", err)
	}
	for _, name := range []string{"tmp", "shm"} {
		dir := filepath.Join(s.Path, name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Lchown(dir, s.User, s.Group)); err != nil {
			return fmt.Errorf("mounting memory for the command: %w", err)
		}
	}
	return nil
}

// scratchFiles bounds how many files a scratch folder holds: each costs the
// kernel a kilobyte that no size counts.
const scratchFiles = 200_000

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
