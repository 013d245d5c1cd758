package killpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// call is how to read one system call's arguments. Numbers are positions of
// arguments, counted from 0.
type call struct {
	name string
	fd   bool  // it is about an open file,
	to   int   // whose descriptor is at this position
	path []int // positions of paths
	at   []int // and of the folders they start from; none for the working directory
	// flags is the position of the flags of a call that opens; 0 for no such
	// call: it never is the first argument.
	flags int
}

// calls are the durable ones, by number.
var calls = union(everywhere, older)

// everywhere are those that every machine has.
var everywhere = map[int]call{
	unix.SYS_WRITE:           {name: "write", fd: true},
	unix.SYS_PWRITE64:        {name: "pwrite", fd: true},
	unix.SYS_WRITEV:          {name: "writev", fd: true},
	unix.SYS_PWRITEV:         {name: "pwritev", fd: true},
	unix.SYS_FSYNC:           {name: "fsync", fd: true},
	unix.SYS_FDATASYNC:       {name: "fsync", fd: true},
	unix.SYS_FTRUNCATE:       {name: "truncate", fd: true},
	unix.SYS_FALLOCATE:       {name: "allocate", fd: true},
	unix.SYS_OPENAT:          {name: "create", at: []int{0}, path: []int{1}, flags: 2},
	unix.SYS_MKDIRAT:         {name: "mkdir", at: []int{0}, path: []int{1}},
	unix.SYS_UNLINKAT:        {name: "unlink", at: []int{0}, path: []int{1}},
	unix.SYS_SYMLINKAT:       {name: "symlink", at: []int{1}, path: []int{2}},
	unix.SYS_LINKAT:          {name: "link", at: []int{0, 2}, path: []int{1, 3}},
	unix.SYS_RENAMEAT:        {name: "rename", at: []int{0, 2}, path: []int{1, 3}},
	unix.SYS_RENAMEAT2:       {name: "rename", at: []int{0, 2}, path: []int{1, 3}},
	unix.SYS_COPY_FILE_RANGE: {name: "copy", fd: true, to: 2},
}

func union(a, b map[int]call) map[int]call {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// subject is what a call is about.
type subject struct {
	fd    int      // the descriptor, where the call has one
	paths []string // below the root
}

// identify says which step a call is, if it is one of a file below the root.
func (r *Rig) identify(n notification) (c Call, s subject, ok bool) {
	how, known := calls[int(n.Call)]
	if !known {
		return Call{}, s, false
	}
	var paths, shapes []string
	if how.fd {
		s.fd = int(int32(n.Args[how.to]))
		paths = []string{descriptor(n.PID, s.fd)}
	}
	for i, position := range how.path {
		dir := unix.AT_FDCWD
		if how.at != nil {
			dir = int(int32(n.Args[how.at[i]]))
		}
		paths = append(paths, resolve(n.PID, dir, n.Args[position]))
	}
	for _, path := range paths {
		rel, err := filepath.Rel(r.root, path)
		if path == "" || err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return Call{}, s, false
		}
		s.paths = append(s.paths, rel)
		shapes = append(shapes, shape(rel))
	}
	if how.flags != 0 && n.Args[how.flags]&unix.O_TRUNC == 0 {
		if _, err := os.Lstat(paths[0]); err == nil {
			return Call{}, s, false // it is there: nothing is made
		}
	}
	return Call{program(n.PID), how.name, strings.Join(shapes, " -> ")}, s, true
}

func descriptor(pid uint32, fd int) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	if err != nil || !filepath.IsAbs(path) {
		return ""
	}
	return path
}

// resolve reads a path in the memory of a program.
func resolve(pid uint32, dir int, address uint64) string {
	text := string(memory(pid, address, unix.PathMax))
	path, _, ended := strings.Cut(text, "\x00")
	if !ended || path == "" {
		return ""
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	base := fmt.Sprintf("/proc/%d/cwd", pid)
	if dir != unix.AT_FDCWD {
		base = fmt.Sprintf("/proc/%d/fd/%d", pid, dir)
	}
	base, err := os.Readlink(base)
	if err != nil {
		return ""
	}
	return filepath.Join(base, path)
}

// memory reads up to so many bytes; fewer where the program has no more there.
func memory(pid uint32, address uint64, most int) []byte {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, most)
	n, err := f.ReadAt(b, int64(address))
	if err != nil && n == 0 {
		// A read that ends beyond the mapping gives nothing at all: up to the
		// end of the page, then.
		page := uint64(os.Getpagesize())
		n, _ = f.ReadAt(b[:min(uint64(most), page-address%page)], int64(address))
	}
	return b[:n]
}

// program names a process as its command line does.
func program(pid uint32) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "?"
	}
	args := strings.Split(string(line), "\x00")
	name := filepath.Base(args[0])
	if len(args) > 1 && args[1] != "" && strings.Trim(args[1], "abcdefghijklmnopqrstuvwxyz") == "" {
		name += " " + args[1]
	}
	return name
}

// groupOf gives the process of a thread.
func groupOf(thread uint32) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if id, ok := bytes.CutPrefix(line, []byte("Tgid:")); ok {
			return strconv.Atoi(string(bytes.TrimSpace(id)))
		}
	}
	return 0, errors.New("the thread has no process")
}

// half does the first half of a write for the program.
func half(n notification, process, fd int) error {
	pidfd, err := unix.PidfdOpen(process, 0)
	if err != nil {
		return fmt.Errorf("writing half of it: %w", err)
	}
	defer unix.Close(pidfd)
	mine, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return fmt.Errorf("writing half of it: %w", err)
	}
	f := os.NewFile(uintptr(mine), "half")
	defer f.Close()
	data := memory(n.PID, n.Args[1], int(n.Args[2]/2))
	var written int
	if calls[int(n.Call)].name == "pwrite" {
		written, err = unix.Pwrite(mine, data, int64(n.Args[3]))
	} else {
		written, err = f.Write(data)
	}
	if err == nil && written < len(data) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("writing half of it: %w", err)
	}
	return nil
}
