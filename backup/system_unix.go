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

// openMark opens the mark of a folder: it follows no link and waits for nobody.
func openMark(folder *os.Root) (*os.File, error) {
	f, err := folder.OpenFile(lockName, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fs.ErrInvalid, err, f.Close())
	}
	return f, nil
}

// isOurs reports whether a folder belongs to who runs this program.
func isOurs(folder *os.Root) bool {
	info, err := folder.Stat(".")
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
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
