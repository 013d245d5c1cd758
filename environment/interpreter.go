package environment

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
)

// Interpreter is one Python on this machine.
type Interpreter struct {
	Path           string  `json:"path"` // of the program itself, links resolved
	Version        Version `json:"version"`
	Implementation string  `json:"implementation"` // "cpython"
	Platform       string  `json:"platform"`       // "linux-x86_64"
	FreeThreaded   bool    `json:"freeThreaded,omitempty"`
	Final          bool    `json:"final"`         // not an alpha, beta or candidate
	Venv           bool    `json:"venv"`          // has the module venv
	Pip            string  `json:"pip,omitempty"` // the folder of its own pip
	Stamp          string  `json:"stamp"`         // of the program's file
	Broken         string  `json:"broken,omitempty"`
}

// usable reports whether the scoring server runs on it.
func (i Interpreter) usable() bool {
	return i.Broken == "" && i.Implementation == "cpython" && !i.FreeThreaded && i.Final && i.Venv &&
		i.Version.Compare(oldestPython) >= 0 && i.Version.Series() != "" &&
		Version{i.Version.Major, i.Version.Minor, 0}.Compare(newestPython) <= 0
}

// askPython is what an interpreter is asked, once. It must be understood by
// every Python there is.
const askPython = `
import json, os, sys, sysconfig
def place(name):
    try:
        from importlib.util import find_spec
        found = find_spec(name)
        return found.origin if found else ""
    except Exception:
        return ""
v = sys.version_info
print(json.dumps({
    "version": {"major": v[0], "minor": v[1], "patch": v[2]}, "final": v[3] == "final",
    "implementation": getattr(getattr(sys, "implementation", None), "name", "other"),
    "platform": sysconfig.get_platform(),
    "freeThreaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "venv": bool(place("venv")), "pip": os.path.dirname(place("pip") or ""),
    "broken": "" if sys.prefix == getattr(sys, "base_prefix", sys.prefix) else "a virtual environment",
}))
`

// askTimeout bounds how long one interpreter may take to answer.
const askTimeout = 20 * time.Second

// interpreters finds the Pythons of this machine, running each of them once
// in its life.
type interpreters struct {
	find func() []string
	file string // where the answers are kept

	mu    sync.Mutex // guards known and loaded
	known map[string]Interpreter
	read  bool
}

// list gives the usable interpreters, oldest version first. ran is called for
// every process started.
func (s *interpreters) list(ctx context.Context, ran func()) ([]Interpreter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.read {
		s.load()
	}
	var all []Interpreter
	changed := false
	seen := map[string]bool{}
	for _, candidate := range s.find() {
		path, err := filepath.EvalSymlinks(candidate)
		if err != nil || seen[path] {
			continue
		}
		seen[path] = true
		stamp, ok := stampOf(path)
		if !ok {
			continue
		}
		i, known := s.known[path]
		if !known || i.Stamp != stamp {
			if i, err = ask(ctx, path, ran); err != nil {
				return nil, err
			}
			i.Stamp = stamp
			s.known[path] = i
			changed = true
		}
		if i.usable() {
			all = append(all, i)
		}
	}
	if changed {
		s.save()
	}
	slices.SortStableFunc(all, func(a, b Interpreter) int { return a.Version.Compare(b.Version) })
	return all, nil
}

// forget makes the next list ask path again: its pip is not where it was.
func (s *interpreters) forget(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, path)
}

func (s *interpreters) load() {
	s.read = true
	s.known = map[string]Interpreter{}
	text, err := os.ReadFile(s.file)
	if err != nil || json.Unmarshal(text, &s.known) != nil {
		s.known = map[string]Interpreter{} // nothing is lost but the time to ask
	}
}

func (s *interpreters) save() {
	text, err := json.MarshalIndent(s.known, "", "  ")
	if err == nil {
		_ = writeAtomic(s.file, text, 0o600) // asked again next time
	}
}

// stampOf changes when the file does.
func stampOf(path string) (string, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || runtime.GOOS != "windows" && info.Mode()&0o111 == 0 {
		return "", false
	}
	return fmt.Sprintf("%d-%d", info.ModTime().UnixNano(), info.Size()), true
}

// ask runs an interpreter to learn what it is. One that does not answer is
// remembered as broken.
func ask(ctx context.Context, path string, ran func()) (Interpreter, error) {
	ran()
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(asked, path, "-I", "-c", askPython)
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := startAndWait(cmd, func() {})
	if ctx.Err() != nil {
		return Interpreter{}, context.Cause(ctx)
	}
	i := Interpreter{}
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &i)
	}
	if err != nil {
		i.Broken = err.Error()
	}
	i.Path = path
	return i, nil
}

// choose picks the interpreter for a pin from those installed, and says what
// is worth saying about it. It decides only.
func choose(pin Pin, installed []Interpreter) (Interpreter, []string, error) {
	if len(installed) == 0 {
		return Interpreter{}, nil, &sluice.Cause{
			Code:    sluice.CausePythonMissing,
			Message: fmt.Sprintf("the environment needs Python %s, and no Python from %s to %s is installed on the server", pinOr(pin, "3"), oldestPython.Series(), newestPython.Series()),
			Hint:    "install it, for example: " + installCommand(pin.wanted()),
		}
	}
	if i, ok := pick(pin, installed); ok {
		return i, nil, nil
	}
	if loose, changed := pin.anyPatch(); changed {
		if i, ok := pick(loose, installed); ok {
			return i, []string{fmt.Sprintf("Python %s is not installed: %s is used", pin, i.Version)}, nil
		}
	}
	want := pin.wanted()
	i := slices.MinFunc(installed, func(a, b Interpreter) int {
		if d := distance(a.Version, want) - distance(b.Version, want); d != 0 {
			return d
		}
		return b.Version.Compare(a.Version) // the newer of two as near
	})
	return i, []string{fmt.Sprintf("Python %s is not installed: %s, the nearest, is used (to have it: %s)", pin, i.Version, installCommand(want))}, nil
}

// pick gives the interpreter to use of those that the pin accepts: the newest
// that is not newer than the common one, else the oldest.
func pick(pin Pin, installed []Interpreter) (Interpreter, bool) {
	var best *Interpreter
	common := func(v Version) bool { return Version{v.Major, v.Minor, 0}.Compare(commonPython) <= 0 }
	for n := range installed { // oldest first
		i := &installed[n]
		if !pin.Accepts(i.Version) {
			continue
		}
		if best == nil || common(i.Version) || best.Version.Series() == i.Version.Series() {
			best = i
		}
	}
	if best == nil {
		return Interpreter{}, false
	}
	return *best, true
}

func distance(a, b Version) int {
	d := (a.Major-b.Major)*100 + a.Minor - b.Minor
	if d < 0 {
		return -d
	}
	return d
}

func pinOr(p Pin, other string) string {
	if p.text == "" {
		return other
	}
	return p.text
}

// installCommand gives a command that installs a Python where Sluice finds it.
func installCommand(v Version) string {
	if _, err := exec.LookPath("uv"); err == nil {
		return "uv python install " + v.Series()
	}
	if _, err := exec.LookPath("pyenv"); err == nil {
		return "pyenv install " + v.Series()
	}
	return "pip install uv && uv python install " + v.Series()
}

var pipVersionLine = regexp.MustCompile(`(?m)^__version__ = ["'](\d+)\.(\d+)(?:\.(\d+))?`)

// pipOf gives the version of the pip in dir, and the script that runs it with
// any interpreter.
func pipOf(dir string) (v Version, runner string, ok bool) {
	if dir == "" {
		return v, "", false
	}
	text, err := os.ReadFile(filepath.Join(dir, "__init__.py"))
	if err != nil {
		return v, "", false
	}
	m := pipVersionLine.FindStringSubmatch(string(text))
	runner = filepath.Join(dir, "__pip-runner__.py")
	if _, err := os.Stat(runner); err != nil || m == nil {
		return v, "", false
	}
	v.Major, _ = strconv.Atoi(m[1])
	v.Minor, _ = strconv.Atoi(m[2])
	v.Patch, _ = strconv.Atoi(m[3])
	return v, runner, true
}

// drives reports whether a pip of that version resolves and installs for a
// Python of the other, as we ask it to.
func drives(pip, python Version) bool {
	switch {
	case pip.Compare(Version{23, 0, 0}) < 0: // no stable report
		return false
	case pip.Compare(Version{26, 0, 0}) >= 0:
		return python.Compare(Version{3, 10, 0}) >= 0
	case pip.Compare(Version{25, 1, 0}) >= 0:
		return python.Compare(Version{3, 9, 0}) >= 0
	case pip.Compare(Version{23, 1, 0}) < 0:
		return python.Compare(Version{3, 12, 0}) < 0
	case pip.Compare(Version{24, 1, 0}) < 0:
		return python.Compare(Version{3, 13, 0}) < 0
	}
	return true
}

// choosePip gives the pip to use for an interpreter: its own if that will do,
// else the newest of another that will.
func choosePip(target Interpreter, installed []Interpreter) (runner string, ok bool) {
	if v, runner, ok := pipOf(target.Pip); ok && drives(v, target.Version) {
		return runner, true
	}
	var best Version
	for _, i := range installed {
		if v, r, ok := pipOf(i.Pip); ok && drives(v, target.Version) && v.Compare(best) > 0 {
			best, runner = v, r
		}
	}
	return runner, runner != ""
}

// describe names an interpreter in a log.
func (i Interpreter) describe() string { return strings.TrimSpace(i.Version.String() + " " + i.Path) }
