package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// longestRun bounds the path of ${run}, in bytes. A Unix socket's path holds
// 107 on Linux and 103 on macOS, and what Python's multiprocessing puts below
// TMPDIR takes some 35.
const longestRun = 64

// runPath says where the run folder of an instance is: in its own directory,
// or, where that path is too long for sockets, in a folder of ours below the
// system's temporary directory.
func (e *Engine) runPath(instanceDir string) string {
	run := filepath.Join(instanceDir, runDir)
	if len(run) <= longestRun {
		return run
	}
	return filepath.Join(e.shortDir(), filepath.Base(instanceDir))
}

// shortDir holds the run folders of an engine whose own directory has a long
// path. It stays when they go, so that nobody else can put anything where
// somebody may still look for a socket.
func (e *Engine) shortDir() string {
	return filepath.Join(os.TempDir(), groupName(e.dir))
}

// makeRun makes the run folder, empty. The folder around it must be ours alone:
// others may write to the system's temporary directory.
func (e *Engine) makeRun(instanceDir, run string) error {
	if err := e.removeRun(instanceDir, run); err != nil {
		return err
	}
	if run == filepath.Join(e.shortDir(), filepath.Base(instanceDir)) {
		if err := os.Mkdir(e.shortDir(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making the run folder of an instance: %w", err)
		}
		if err := ours(e.shortDir()); err != nil {
			return fmt.Errorf("making the run folder of an instance: %w", err)
		}
	}
	if err := os.Mkdir(run, 0o700); err != nil {
		return fmt.Errorf("making the run folder of an instance: %w", err)
	}
	return nil
}

// ours refuses what is not a folder that only this user can change.
func ours(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || !ownedByUs(info) || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a folder of this user alone", dir)
	}
	return nil
}

// removeRun removes the run folder. Outside the instance's directory it removes
// only what is in the folder of ours.
func (e *Engine) removeRun(instanceDir, run string) error {
	if run == filepath.Join(instanceDir, runDir) {
		return removeWritten(run)
	}
	around := filepath.Dir(run) // where the temporary directory was when it was made
	if filepath.Base(run) != filepath.Base(instanceDir) || filepath.Base(around) != groupName(e.dir) {
		return fmt.Errorf("removing the run folder of an instance: %s is not one", run)
	}
	err := ours(around)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the run folder of an instance: %w", err)
	}
	return removeWritten(run)
}
