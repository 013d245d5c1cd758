package manifest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sluice-ml/sluice"
)

var (
	errIsFolder = errors.New("it is a folder")
	errIsFile   = errors.New("it is a file")
)

var uriForm = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9+.-]+):`)

// scheme gives the scheme of a URI in lower case, "" for a local path. One
// letter is a drive.
func scheme(s string) string {
	if m := uriForm.FindStringSubmatch(s); m != nil {
		return strings.ToLower(m[1])
	}
	return ""
}

// isReference reports whether a text names an asset rather than a path.
func isReference(s string) bool {
	return scheme(s) == "azureml" || strings.HasPrefix(strings.ToLower(s), "/subscriptions/")
}

// resolve makes a path of the manifest absolute.
func (d *decoder) resolve(path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.dir, path)
}

// shown gives a path of the manifest as the user would type it.
func (d *decoder) shown(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.shownDir, filepath.FromSlash(path))
}

// local finds the file or folder a property names; nil when it is not there,
// which is then reported. what is "a folder" or "a file or folder".
func (d *decoder) local(n *node, property, what string) *Local {
	if n.text == "" {
		d.bad(n, "%s is empty: expected %s", property, what)
		return nil
	}
	path := d.resolve(n.text)
	info, err := os.Stat(path)
	if err == nil && what == "a folder" && !info.IsDir() {
		err = errIsFile
	}
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = errors.New("it is neither a file nor a folder")
	}
	if err != nil {
		d.add(missingPath(n.at, n.text, path, what, err))
		return nil
	}
	return &Local{Path: path, Base: filepath.Base(path), Dir: info.IsDir()}
}

// missingPath says that a path does not lead to what was wanted: as written,
// as resolved, and the nearest that exists.
func missingPath(at place, written, resolved, wanted string, err error) *sluice.Cause {
	why := err.Error()
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "it does not exist"
	case errors.As(err, &pe):
		why = pe.Err.Error()
	}
	as := ""
	if abs, err := filepath.Abs(resolved); err == nil && abs != written {
		as = " (" + abs + ")"
		resolved = abs
	}
	return at.cause(sluice.CauseFileMissing, nearestPath(resolved), "%s%s is not %s: %s", shorten(written), as, wanted, why)
}

// maxListed bounds how many names of a folder are compared for a hint.
const maxListed = 2000

// nearestPath gives a hint that names the nearest path that exists: the
// nearest spelling in the deepest folder of the path that is there.
func nearestPath(path string) string {
	rest := "" // of the path, below what could be opened
	for {
		dir := filepath.Dir(path)
		if dir == path {
			return ""
		}
		f, err := os.Open(dir)
		if err != nil {
			path, rest = dir, filepath.Join(filepath.Base(path), rest)
			continue
		}
		names, _ := f.Readdirnames(maxListed) // what could be read is enough for a hint
		f.Close()
		wanted := filepath.Base(path)
		if near := sluice.Nearest(wanted, names, 1); len(near) > 0 && near[0] != wanted {
			found := filepath.Join(dir, near[0])
			if _, err := os.Stat(filepath.Join(found, rest)); err == nil {
				found = filepath.Join(found, rest)
			}
			return "did you mean " + found + "?"
		}
		if len(names) == 0 {
			return "the nearest that exists is the empty folder " + dir
		}
		return "the nearest that exists is the folder " + dir
	}
}
