package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// maxFile is the most, in bytes, that is read of any file of ours.
const maxFile = 1 << 20

// readSecret reads a file that only its owner may read. Its error is
// fs.ErrNotExist when there is none.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if openToOthers(info) {
		return nil, sluice.Errorf(sluice.CodeInvalid, "%s holds a secret and has mode %04o: others than its owner can read it", path, info.Mode().Perm()).
			WithHint("chmod 600 %s", path)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// readOrMake gives the contents of a secret file, made by fill when there is
// no such file. Of several processes that make it at once, one wins.
func readOrMake(path string, fill func() ([]byte, error)) ([]byte, error) {
	data, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	fresh, err := fill()
	if err != nil {
		return nil, err
	}
	temp, err := writeTemp(path, fresh, 0o600)
	if err != nil {
		return nil, explain(path, err)
	}
	defer os.Remove(temp)
	// A link, unlike a rename, fails when the name is taken.
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, explain(path, err)
	}
	if err := syncDir(path); err != nil {
		return nil, explain(path, err)
	}
	return readSecret(path)
}

// replace puts data at path, whole or not at all.
func replace(path string, data []byte, mode fs.FileMode) error {
	temp, err := writeTemp(path, data, mode)
	if err != nil {
		return explain(path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return explain(path, errors.Join(err, os.Remove(temp)))
	}
	return explain(path, syncDir(path))
}

// explain says of a write that the disk refused which file it was about.
func explain(path string, err error) error {
	return disk.Explain(filepath.Base(path), filepath.Dir(path), err)
}

// writeTemp writes data to a new file beside path and gives its name.
func writeTemp(path string, data []byte, mode fs.FileMode) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// syncDir makes a new name in the directory of path last.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !ignoreDirSync {
		return err
	}
	return nil
}
