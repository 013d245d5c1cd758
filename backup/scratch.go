package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice/disk"
)

// Scratch is a folder beside what is being made, for as long as it is made.
type Scratch struct {
	Dir  string
	lock *os.File
}

// lockName is the file in a scratch folder that its maker holds locked: one that
// nobody holds is what a killed process left. A folder without it is none of
// ours, or is finished.
const lockName = ".unfinished"

// What follows the name of what is being made, and of what was there before.
const (
	scratchMark = ".unfinished-"
	beforeMark  = ".before-"
)

func isScratch(name string) bool {
	return strings.HasPrefix(name, ".") && strings.Contains(name, scratchMark)
}

// NewScratch makes a folder in dir for the making of what will be called name,
// and removes those that killed processes left for it.
func NewScratch(dir, name string) (*Scratch, error) {
	prefix := "." + name + scratchMark
	if entries, err := os.ReadDir(dir); err == nil {
		for _, e := range entries {
			if e.IsDir() && (strings.HasPrefix(e.Name(), prefix) || strings.HasPrefix(e.Name(), name+beforeMark)) {
				removeLeft(filepath.Join(dir, e.Name()))
			}
		}
	}
	for try := 0; ; try++ {
		s, err := newMarked(dir, prefix)
		// Another one that begins may have taken ours for a leftover.
		if err == nil || try == 3 || !errors.Is(err, fs.ErrNotExist) {
			return s, disk.Explain(name, dir, err)
		}
	}
}

func newMarked(dir, prefix string) (*Scratch, error) {
	made, err := os.MkdirTemp(dir, prefix) // 0700
	if err != nil {
		return nil, fmt.Errorf("making a folder for what is under way: %w", err)
	}
	s := &Scratch{Dir: made}
	if s.lock, err = os.OpenFile(filepath.Join(made, lockName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
		_, err = lockFile(s.lock)
	}
	if err == nil {
		err = s.named(filepath.Base(made))
	}
	if err != nil {
		s.Remove()
		return nil, fmt.Errorf("making a folder for what is under way: %w", err)
	}
	return s, nil
}

// removeLeft removes a folder whose maker was killed. What stays is tried again
// the next time. The folder may lie where anybody can write: it is opened once,
// must be ours, and nothing is removed but what is in it.
func removeLeft(dir string) {
	folder, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer folder.Close()
	if !isOurs(folder) {
		return
	}
	f, err := openMark(folder)
	if err != nil {
		_ = os.Remove(dir) // killed before it had a mark, and so before it had anything
		return
	}
	defer f.Close()
	if ok, err := lockFile(f); !ok || err != nil {
		return
	}
	// Under any other name it is what its maker was killed too late to unmark,
	// and somebody's now.
	text, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err == nil && isMarked(string(text), filepath.Base(dir)) {
		removeMarked(folder, dir)
	}
}

// isMarked reports whether a mark with this text is that of a folder of this
// name: one of its lines is the name, or its first was not written to its end.
func isMarked(text, name string) bool {
	names := strings.Split(text, "\n")
	return slices.Contains(names, name) || len(names) == 1 && strings.HasPrefix(name, text)
}

// named notes in the mark what the folder is called while it is under way, beside
// what it was called before.
func (s *Scratch) named(name string) error {
	_, err := s.lock.WriteString(name + "\n")
	return errors.Join(err, s.lock.Sync())
}

// removeMarked removes a folder, the mark last: until then it is known for what
// it is.
func removeMarked(folder *os.Root, dir string) {
	entries, err := fs.ReadDir(folder.FS(), ".")
	for _, e := range entries {
		if e.Name() != lockName {
			err = errors.Join(err, folder.RemoveAll(e.Name()))
		}
	}
	if err == nil && folder.Remove(lockName) == nil {
		_ = os.Remove(dir)
	}
}

// Remove removes the folder, if it still has its name.
func (s *Scratch) Remove() {
	if s.lock == nil {
		_ = os.Remove(s.Dir) // there is nothing in it
		return
	}
	defer s.lock.Close()
	folder, err := os.OpenRoot(s.Dir)
	if err != nil {
		return
	}
	defer folder.Close()
	ours, err := s.lock.Stat()
	mark, markErr := folder.Lstat(lockName)
	if err == nil && markErr == nil && os.SameFile(ours, mark) {
		removeMarked(folder, s.Dir)
	}
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !ignoreFolderSync(err) {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
