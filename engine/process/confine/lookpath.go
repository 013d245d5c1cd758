package confine

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// LookPath finds a program as a shell in dir would, with the command's own
// PATH rather than ours.
func LookPath(name, path, dir string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // the kernel says what is wrong with it
	}
	var denied error
	for _, entry := range filepath.SplitList(path) {
		if entry == "" {
			continue
		}
		if !filepath.IsAbs(entry) {
			entry = filepath.Join(dir, entry)
		}
		candidate := filepath.Join(entry, name)
		info, err := os.Stat(candidate)
		switch {
		case err != nil || info.IsDir():
		case info.Mode()&0o111 == 0:
			denied = fmt.Errorf("starting %s: %w", candidate, fs.ErrPermission)
		default:
			return candidate, nil
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fmt.Errorf("starting %s: it is in no directory of the PATH %q: %w", name, path, fs.ErrNotExist)
}
