//go:build unix

package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lockFile takes a lock if nobody has it.
func lockFile(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// openMark opens the mark of a folder that anybody may have made: it follows no
// link and waits for nobody.
func openMark(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

// Some file systems cannot sync a folder, and need not.
func ignoreFolderSync(err error) bool { return errors.Is(err, syscall.EINVAL) }

// isMount reports whether a folder is the root of a file system.
func isMount(dir string) bool {
	here, ok := device(dir)
	above, okAbove := device(filepath.Dir(dir))
	return ok && okAbove && here != above
}

func device(path string) (uint64, bool) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return uint64(st.Dev), true
}
