package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-ml/sluice"
)

const (
	maxIgnoreFile = 1 << 20 // bytes of one ignore file
	maxScanDepth  = 200     // folders within folders
	maxScanned    = 1 << 20 // names looked at, ignored ones and folders included
	hashers       = 2       // files read at once
)

// Scan reads a folder, or a single file, into a tree. base is the folder's own
// name, and "" for a single file, which the tree holds under its name. open
// opens a file of the tree by its path there; reading one that has changed
// since ends in an error that says so.
//
// What .amlignore names is left out, by git's rules; a folder without one is
// held to its .gitignore. Both are looked for in every folder. Always left out
// are .git, __pycache__, .ipynb_checkpoints and .DS_Store. Links are followed
// and stand for what they point to; one that leaves the folder is refused, as
// are broken links, sockets, pipes and devices, each by name
// ([sluice.CodeInvalid]).
func Scan(ctx context.Context, path string) (t sluice.Tree, base string, open func(path string) (io.ReadCloser, error), err error) {
	return ScanWith(ctx, path, func(int64, int64) {})
}

// ScanWith is Scan that tells how far it is: progress is called from one
// goroutine at a time with the bytes read so far and all there are.
func ScanWith(ctx context.Context, path string, progress func(done, total int64)) (t sluice.Tree, base string, open func(path string) (io.ReadCloser, error), err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return t, "", nil, fmt.Errorf("reading %s: %w", path, err)
	}
	info, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return t, "", nil, &sluice.Error{Code: sluice.CodeInvalid, Message: fmt.Sprintf("there is no file or folder %s", path),
			Cause: &sluice.Cause{Code: sluice.CauseFileMissing, Message: fmt.Sprintf("there is no file or folder %s (%s)", path, abs)}}
	}
	if err != nil {
		return t, "", nil, fmt.Errorf("reading %s: %w", path, err)
	}
	s := &scanner{ctx: ctx, shown: path, progress: progress}
	if info.IsDir() {
		base = filepath.Base(abs)
		err = s.folder(abs)
	} else {
		err = s.add(filepath.Base(abs), abs, info)
	}
	if err != nil {
		return t, "", nil, err
	}
	if len(s.found) == 0 {
		return t, "", nil, refuse("folder %s has no files to upload (%d names are ignored)", path, s.left)
	}
	t, sources, err := s.hash()
	if err != nil {
		return t, "", nil, err
	}
	return t, base, sources.open, t.Check()
}

func refuse(format string, args ...any) *sluice.Error {
	return sluice.Errorf(sluice.CodeInvalid, format, args...)
}

// scanner walks one folder.
type scanner struct {
	ctx     context.Context
	shown   string // the path as the user wrote it
	real    string // the scanned folder, without links
	found   []source
	visited int
	left    int // names left out

	progress func(done, total int64)
	mu       sync.Mutex // guards done, and makes progress come one at a time
	done     int64
	total    int64
}

// source is where one file of a tree lies on the user's disk.
type source struct {
	file sluice.TreeFile
	disk string
}

func (s *scanner) folder(abs string) error {
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.shown, err)
	}
	s.real = real
	return s.walk(real, nil, nil, []string{real})
}

// walk reads the folder at disk, whose path in the tree has the given
// segments. chain holds the real folders on the way, so that a link to one of
// them is seen as the loop it is.
func (s *scanner) walk(disk string, segments []string, above ignores, chain []string) error {
	if len(segments) > maxScanDepth {
		return refuse("folder %s is nested more than %d deep", s.name(segments), maxScanDepth)
	}
	entries, err := os.ReadDir(disk)
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.name(segments), err)
	}
	rules, err := readIgnores(disk, entries)
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.name(segments), err)
	}
	if rules != nil {
		above = append(slices.Clip(above), ignoreFile{len(segments), rules})
	}
	for _, e := range entries {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if s.visited++; s.visited > maxScanned {
			return refuse("folder %s holds more than %d names", s.shown, maxScanned)
		}
		if err := s.entry(disk, append(slices.Clip(segments), e.Name()), e, above, chain); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) entry(parent string, segments []string, e fs.DirEntry, above ignores, chain []string) error {
	// A link to a folder is ignored as git would ignore it: as a file.
	if above.ignored(segments, e.IsDir()) {
		s.left++
		return nil
	}
	disk := filepath.Join(parent, e.Name())
	if e.Type()&fs.ModeSymlink != 0 {
		target, err := filepath.EvalSymlinks(disk)
		if err != nil {
			return refuse("%s is a link that leads nowhere", s.name(segments)).WithHint("remove it, or name it in .amlignore")
		}
		if target != s.real && !strings.HasPrefix(target, s.real+string(filepath.Separator)) {
			return refuse("%s is a link that leaves the folder: it leads to %s", s.name(segments), target).
				WithHint("copy the file into the folder, or name the link in .amlignore")
		}
		disk = target
	}
	info, err := os.Lstat(disk)
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.name(segments), err)
	}
	if !info.IsDir() {
		return s.add(strings.Join(segments, "/"), disk, info)
	}
	if slices.Contains(chain, disk) {
		return refuse("%s is a link to a folder that it lies in", s.name(segments))
	}
	return s.walk(disk, segments, above, append(slices.Clip(chain), disk))
}

// name gives a path as the user knows it.
func (s *scanner) name(segments []string) string {
	return filepath.Join(append([]string{s.shown}, segments...)...)
}

// add takes a file into the tree, if it is one.
func (s *scanner) add(path, disk string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return refuse("%s is %s: only files and folders can be uploaded", disk, kindOf(info.Mode()))
	}
	if !utf8.ValidString(path) || strings.ContainsAny(path, "\\\x00") {
		return refuse("the name of %q has a backslash or is not UTF-8, and cannot be uploaded", disk)
	}
	if len(s.found) >= sluice.MaxTreeFiles {
		return refuse("folder %s has more than %d files", s.shown, sluice.MaxTreeFiles)
	}
	executable := runtime.GOOS != "windows" && info.Mode()&0o111 != 0
	s.found = append(s.found, source{sluice.TreeFile{Path: path, Size: info.Size(), Executable: executable}, disk})
	return nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}

// readIgnores gives the rules of the folder's .amlignore, else of its
// .gitignore, and nil when it has neither.
func readIgnores(dir string, entries []fs.DirEntry) ([]ignoreRule, error) {
	for _, name := range []string{".amlignore", ".gitignore"} {
		i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name && e.Type().IsRegular() })
		if i < 0 {
			continue
		}
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
		if err != nil {
			return nil, err
		}
		if len(text) > maxIgnoreFile {
			return nil, refuse("%s is larger than %d bytes", filepath.Join(dir, name), maxIgnoreFile)
		}
		return parseIgnore(string(text)), nil
	}
	return nil, nil
}

// sources finds the files of a tree on the user's disk again.
type sources map[string]source

// hash digests what was found, a few files at once, and gives the tree.
func (s *scanner) hash() (sluice.Tree, sources, error) {
	group, ctx := errgroup.WithContext(s.ctx)
	group.SetLimit(hashers)
	for _, f := range s.found {
		s.total += f.file.Size
	}
	for i := range s.found {
		group.Go(func() error { return digestSource(ctx, &s.found[i], s.read) })
	}
	var t sluice.Tree
	if err := group.Wait(); err != nil {
		return t, nil, err
	}
	where := make(sources, len(s.found))
	for _, f := range s.found {
		t.Files = append(t.Files, f.file)
		where[f.file.Path] = f
	}
	t.Sort()
	return t, where, nil
}

// read notes that bytes were read.
func (s *scanner) read(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done += int64(n)
	s.progress(s.done, s.total)
}

func digestSource(ctx context.Context, s *source, read func(n int)) error {
	f, err := os.Open(s.disk)
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.disk, err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(sum, counting(read)), &contextReader{ctx, f})
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.disk, err)
	}
	if n != s.file.Size {
		return changed(s.disk)
	}
	s.file.Digest = digestOf(sum)
	return nil
}

// counting is a writer that only counts.
type counting func(n int)

func (c counting) Write(p []byte) (int, error) {
	c(len(p))
	return len(p), nil
}

func changed(disk string) error {
	return refuse("%s changed while it was read", disk).WithHint("try again when nothing writes to it")
}

// open opens a file of the tree for its upload.
func (w sources) open(path string) (io.ReadCloser, error) {
	src, ok := w[path]
	if !ok {
		return nil, sluice.Errorf(sluice.CodeNotFound, "the tree has no file %q", path)
	}
	f, err := os.Open(src.disk)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", src.disk, err)
	}
	return &checkedFile{File: f, want: src, sum: sha256.New()}, nil
}

// checkedFile reads a file, never beyond its size, and fails in place of the
// end when what was read is not what was scanned.
type checkedFile struct {
	*os.File
	want source
	sum  hash.Hash
	n    int64
}

// Read implements io.Reader.
func (c *checkedFile) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	if c.n > c.want.file.Size || errors.Is(err, io.EOF) && (c.n < c.want.file.Size || digestOf(c.sum) != c.want.file.Digest) {
		return 0, changed(c.want.disk)
	}
	return n, err
}

// WriteTo hides the file's own, which would pass the check by.
func (c *checkedFile) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}
