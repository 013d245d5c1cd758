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

// runPath says where the private directory of an instance is: in its own
// directory, or, where that path is too long for sockets, under a name below
// the system's temporary directory that nobody can guess.
func runPath(instanceDir string) string {
	run := filepath.Join(instanceDir, runDir)
	if len(run) <= longestRun {
		return run
	}
	return filepath.Join(os.TempDir(), "sluice-"+filepath.Base(instanceDir))
}

// makeRun makes the private directory, empty. One that is there already must
// be ours alone: others may write to the system's temporary directory.
func makeRun(instanceDir, run string) error {
	if err := removeRun(instanceDir, run); err != nil {
		return err
	}
	if err := os.Mkdir(run, 0o700); err != nil {
		return fmt.Errorf("making the private directory of an instance: %w", err)
	}
	return nil
}

// removeRun removes the private directory. Outside the instance's directory it
// removes only what a run of ours made: a folder of this user, not a link.
func removeRun(instanceDir, run string) error {
	if run != filepath.Join(instanceDir, runDir) {
		if filepath.Base(run) != "sluice-"+filepath.Base(instanceDir) {
			return fmt.Errorf("removing the private directory of an instance: %s is not one", run)
		}
		info, err := os.Lstat(run)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !info.IsDir() || !ownedByUs(info) {
			return fmt.Errorf("removing the private directory of an instance: %s is not ours", run)
		}
	}
	return removeTree(run)
}
