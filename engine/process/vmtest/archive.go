package vmtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// archive writes the form of cpio(5) that the kernel unpacks: "newc". Its
// first error stays and is told at the end.
type archive struct {
	w     *bufio.Writer
	size  int64
	inode int
	dirs  map[string]bool
	err   error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriter(w), dirs: map[string]bool{".": true, "/": true}}
}

// The kinds of a file, as in stat(2).
const (
	regular   = 0o100000
	directory = 0o040000
	device    = 0o020000
)

func (a *archive) dir(name string) {
	if !a.dirs[name] {
		a.dir(path.Dir(name))
		a.dirs[name] = true
		a.entry(name, directory|0o755, 0, 0, 0, strings.NewReader(""))
	}
}

func (a *archive) console(name string) {
	a.entry(name, device|0o600, 0, 5, 1, strings.NewReader(""))
}

func (a *archive) content(name string, text []byte) {
	a.dir(path.Dir(name))
	a.entry(name, regular|0o644, int64(len(text)), 0, 0, strings.NewReader(string(text)))
}

func (a *archive) file(name, from string) {
	f, err := os.Open(from)
	if err != nil {
		a.fail(err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		a.fail(err)
		return
	}
	a.dir(path.Dir(name))
	a.entry(name, regular|int64(info.Mode().Perm()), info.Size(), 0, 0, io.LimitReader(f, info.Size()))
}

func (a *archive) entry(name string, mode, size int64, major, minor int, content io.Reader) {
	name = strings.TrimPrefix(name, "/") + "\x00"
	a.inode++
	fields := []int64{int64(a.inode), mode, 0, 0, 1, 0, size, 0, 0, int64(major), int64(minor), int64(len(name)), 0}
	header := "070701"
	for _, f := range fields {
		header += fmt.Sprintf("%08x", f)
	}
	a.copy(strings.NewReader(header+name), int64(len(header)+len(name)))
	a.copy(content, size)
}

// copy writes so many bytes, and zeros up to the next multiple of four.
func (a *archive) copy(r io.Reader, size int64) {
	if a.err != nil {
		return
	}
	n, err := io.Copy(a.w, r)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	a.fail(err)
	for a.size += n; a.size%4 != 0; a.size++ {
		a.fail(a.w.WriteByte(0))
	}
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, 0, 0, strings.NewReader(""))
	a.fail(a.w.Flush())
	return a.err
}
