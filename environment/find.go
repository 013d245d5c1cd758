package environment

import (
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

var pythonName = regexp.MustCompile(`^python(3(\.\d+)?)?(\.exe)?$`)

// Pythons gives the programs on this machine that may be Pythons, those on PATH
// first. None of them was run.
func Pythons(env func(string) string) []string { return findPythons(env)() }

// findPythons gives the programs that may be Pythons: those on PATH, and those
// that pyenv, uv, conda and the system keep.
func findPythons(env func(string) string) func() []string {
	listed := &listings{known: map[string]listing{}}
	return func() []string {
		home := env("HOME")
		dirs := filepath.SplitList(env("PATH"))
		dirs = append(dirs, "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
		for _, pattern := range []string{
			filepath.Join(firstOf(env("PYENV_ROOT"), filepath.Join(home, ".pyenv")), "versions", "*", "bin"),
			filepath.Join(firstOf(env("UV_PYTHON_INSTALL_DIR"), filepath.Join(firstOf(env("XDG_DATA_HOME"), filepath.Join(home, ".local", "share")), "uv", "python")), "*", "bin"),
			filepath.Join(home, "*conda3", "bin"), filepath.Join(home, "*conda3", "envs", "*", "bin"),
			filepath.Join(home, "mini*3", "bin"), filepath.Join(home, "mini*3", "envs", "*", "bin"),
			"/opt/*conda*/bin", "/opt/*conda*/envs/*/bin", "/opt/mini*3/bin", "/opt/mini*3/envs/*/bin", "/opt/python/*/bin",
		} {
			found, _ := filepath.Glob(pattern) // the patterns are well formed
			dirs = append(dirs, found...)
		}
		var all []string
		seen := map[string]bool{}
		for _, dir := range dirs {
			if seen[dir] || filepath.Base(dir) == "shims" { // of pyenv: scripts, whose programs are found above
				continue
			}
			seen[dir] = true
			for _, name := range listed.of(dir) {
				all = append(all, filepath.Join(dir, name))
			}
		}
		return all
	}
}

// listings remembers which files of a folder may be Pythons for as long as the
// folder does not change: /usr/bin has thousands.
type listings struct {
	mu    sync.Mutex // guards known
	known map[string]listing
}

type listing struct {
	changed time.Time
	names   []string
}

// settled is how old a folder's last change must be to tell it from the next.
const settled = 2 * time.Second

func (l *listings) of(dir string) []string {
	info, err := os.Stat(dir)
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, ok := l.known[dir]; ok && k.changed.Equal(info.ModTime()) {
		return k.names
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	k := listing{changed: info.ModTime()}
	for _, e := range entries {
		if pythonName.MatchString(e.Name()) {
			k.names = append(k.names, e.Name())
		}
	}
	if time.Since(k.changed) > settled {
		l.known[dir] = k
	}
	return k.names
}
