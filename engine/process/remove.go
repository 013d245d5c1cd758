package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// removeTree removes a tree of ours, read-only folders too.
func removeTree(root string) error {
	err := os.RemoveAll(root)
	if err == nil {
		return nil
	}
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(root)
}

// removeWritten removes a tree that an instance has written. It may be deeper
// than a process may have open files, or a path be long, and somebody may still
// be there to put links into the way: nothing is followed out of the tree, and
// what is below a folder is moved up before that is removed.
func removeWritten(path string) error {
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing what an instance has written: %w", err)
	}
	defer root.Close()
	flat := flattening{root: root}
	for {
		names, err := flat.list(".")
		if err == nil && len(names) == 0 {
			return os.Remove(path)
		}
		if err == nil {
			err = flat.round(names)
		}
		if err != nil {
			return fmt.Errorf("removing what an instance has written: %w", err)
		}
	}
}

// flattening removes a tree level by level.
type flattening struct {
	root  *os.Root
	moved int // folders so far; part of their new names
}

// round removes all that is at the top, and moves the folders one level below
// up to there.
func (f *flattening) round(names []string) error {
	for _, name := range names {
		err := f.root.Remove(name) // a file, a link, an empty folder
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		below, listed := f.list(name)
		if listed != nil {
			return errors.Join(err, listed)
		}
		for _, inner := range below {
			if err := f.up(filepath.Join(name, inner)); err != nil {
				return err
			}
		}
		if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// up removes what is there, or moves it to the top.
func (f *flattening) up(name string) error {
	err := f.root.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f.root.Chmod(name, 0o700) // a folder that is moved must be writable
	for {
		f.moved++
		to := fmt.Sprintf(".moved-%d", f.moved)
		if _, err := f.root.Lstat(to); err == nil { // the instance's own idea
			continue
		}
		return f.root.Rename(name, to)
	}
}

func (f *flattening) list(folder string) ([]string, error) {
	d, err := f.root.Open(folder)
	if errors.Is(err, fs.ErrPermission) {
		if err := f.root.Chmod(folder, 0o700); err != nil {
			return nil, err
		}
		d, err = f.root.Open(folder)
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
