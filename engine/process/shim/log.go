package shim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// How much of a command's output is kept.
const (
	logBytes = 10 << 20 // of one file
	logFiles = 5
	longLine = 1 << 20 // a line that began before logBytes may run over it this far
)

// LogName is the name of the nth log file of an instance, from 1.
func LogName(n int) string { return fmt.Sprintf("%06d.log", n) }

// LogNumber is the reverse of LogName.
func LogNumber(name string) (int, bool) {
	digits, ok := strings.CutSuffix(name, ".log")
	if !ok || len(digits) < 6 {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n > 0 && LogName(n) == name
}

// rotated writes to numbered files, each at most about limit bytes, and keeps
// the newest. A file ends with a whole line unless a line is longer than
// longLine. Writing never fails: what the disk does not take is counted and
// told once it does, because a full disk must not stop the command.
type rotated struct {
	dir     string
	limit   int64
	keep    int
	number  int
	file    *os.File
	size    int64
	dropped int64
}

func newRotated(dir string, limit int64, keep int) *rotated {
	return &rotated{dir: dir, limit: limit, keep: keep}
}

// Write implements io.Writer.
func (r *rotated) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		chunk := rest[:r.fits(rest)]
		rest = rest[len(chunk):]
		r.write(chunk)
		full := r.size >= r.limit && chunk[len(chunk)-1] == '\n'
		if full || r.size >= r.limit+longLine {
			r.next()
		}
	}
	return len(p), nil
}

// fits says how much of p goes into the current file: up to the first line end
// at or after the limit.
func (r *rotated) fits(p []byte) int {
	room := int(max(r.limit-r.size-1, 0))
	if room >= len(p) {
		return len(p)
	}
	end := len(p)
	if i := bytes.IndexByte(p[room:], '\n'); i >= 0 {
		end = room + i + 1
	}
	return min(end, max(int(r.limit+longLine-r.size), 1))
}

func (r *rotated) write(p []byte) {
	if r.file == nil && !r.open() {
		r.dropped += int64(len(p))
		return
	}
	if r.dropped > 0 {
		note := fmt.Sprintf("\n[sluice: %d bytes of output were lost here: they could not be written]\n", r.dropped)
		if n, err := r.file.WriteString(note); err != nil {
			r.file.Truncate(r.size) // the next attempt starts clean
			r.file.Seek(r.size, 0)
			r.dropped += int64(len(p))
			return
		} else {
			r.dropped, r.size = 0, r.size+int64(n)
		}
	}
	n, err := r.file.Write(p)
	r.size += int64(n)
	if err != nil {
		r.dropped += int64(len(p) - n)
	}
}

func (r *rotated) open() bool {
	f, err := os.OpenFile(filepath.Join(r.dir, LogName(r.number+1)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return false
	}
	r.number++
	r.file, r.size = f, 0
	return true
}

func (r *rotated) next() {
	r.Close()
	os.Remove(filepath.Join(r.dir, LogName(r.number+1-r.keep)))
	r.open()
}

// Close closes the current file.
func (r *rotated) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
