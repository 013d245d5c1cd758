package scoring

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// pythonPath gives the folder of the modules that scripts may import of the
// original server, for a Python that is no worker: PYTHONPATH in tests of a
// script, or in an editor. It is made in the cache when it is not there, or not
// as it should be.
func pythonPath(cache string) (string, error) {
	files := map[string][]byte{}
	sum := sha256.New()
	err := eachProvided(func(path string, source []byte) error {
		files[path] = source
		fmt.Fprintf(sum, "%s\x00%d\x00%s", path, len(source), source)
		return nil
	})
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "sluice", fmt.Sprintf("python-%x", sum.Sum(nil)[:8]))
	if holds(dir, files) {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", fmt.Errorf("making folder of modules: %w", err)
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), "python-")
	if err != nil {
		return "", fmt.Errorf("making folder of modules: %w", err)
	}
	for path, source := range files {
		path = filepath.Join(made, filepath.FromSlash(path))
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, source, 0o600))
	}
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err == nil {
		err = os.Rename(made, dir)
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(made))
		// Another process may have made it at the same time.
		if !holds(dir, files) {
			return "", fmt.Errorf("making folder of modules: %w", err)
		}
	}
	return dir, nil
}

// holds reports whether a folder has just these files, beside what Python
// compiles them to.
func holds(dir string, files map[string][]byte) bool {
	for path, source := range files {
		have, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil || !bytes.Equal(have, source) {
			return false
		}
	}
	sources := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".py" {
			sources++
		}
		return err
	})
	return err == nil && sources == len(files)
}
