package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-ml/sluice/disk"
)

// Config is how a Builder works. Only Dir is needed.
type Config struct {
	// Dir is where environments, locks and logs are kept.
	Dir string
	// UV is the path of uv, "" to look for it, "off" to use venv and pip.
	UV string
	// FindPythons gives the paths of programs that may be Pythons. By default
	// they are looked for on PATH, in pyenv, uv, conda and /usr/bin.
	FindPythons func() []string
	// Environ is the environment to take the settings of pip, uv, proxies and
	// certificates from. By default it is the process's own.
	Environ []string
	// SourceBuilds lets specs that ask for it have packages built from source.
	SourceBuilds bool
	// BuildUser is who they are built as: nobody else's, and not root's. It
	// needs no account.
	BuildUser User
	// Logger gets what happens, without passwords. By default nobody does.
	Logger *slog.Logger
}

// User is a user of this machine, by number.
type User struct{ UID, GID uint32 }

// defaultBuildUser is a number that no system gives to anybody.
var defaultBuildUser = User{60987, 60987}

// Builder makes environments and keeps them. The caller closes it.
type Builder struct {
	dir     string
	backend backend
	pythons *interpreters
	environ []string
	logger  *slog.Logger

	sourceBuilds bool
	buildUser    User
	boot         string // names this run of the machine; "" where it has no name

	started atomic.Int64 // processes started, ever

	ctx        context.Context // of what goes on in the background
	stop       context.CancelFunc
	background sync.WaitGroup

	mu        sync.Mutex // guards failed and finishing
	failed    map[string]failure
	finishing map[string]bool // by lock hash
}

// failure is how the last attempt at a key ended, for those who waited for it.
type failure struct {
	at  time.Time
	err error
}

// Open opens the environments in the configured directory and makes it when
// it is not there.
func Open(c Config) (*Builder, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening environments: %w", err)
	}
	for _, d := range []string{"specs", "locks", "envs", "logs", "held", "tmp", "wheels", "built"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, disk.Explain("the folder of environments", dir, fmt.Errorf("opening environments: %w", err))
		}
	}
	b := &Builder{dir: dir, environ: c.Environ, logger: c.Logger, sourceBuilds: c.SourceBuilds, buildUser: c.BuildUser, failed: map[string]failure{}, finishing: map[string]bool{}}
	if b.environ == nil {
		b.environ = os.Environ()
	}
	b.boot = bootID()
	if b.buildUser == (User{}) {
		b.buildUser = defaultBuildUser
	}
	if b.buildUser.UID == 0 || b.buildUser.GID == 0 {
		return nil, errors.New("opening environments: packages cannot be built from source as root")
	}
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	if b.backend, err = findBackend(c.UV, b.getenv); err != nil {
		return nil, fmt.Errorf("opening environments: %w", err)
	}
	find := c.FindPythons
	if find == nil {
		find = findPythons(b.getenv)
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.pythons = &interpreters{find: find, file: filepath.Join(dir, "interpreters.json")}
	b.sweep(time.Now().Add(-24 * time.Hour))
	return b, nil
}

func (b *Builder) getenv(name string) string {
	for _, kv := range slices.Backward(b.environ) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// findBackend gives the tool that the setting names.
func findBackend(setting string, getenv func(string) string) (backend, error) {
	switch setting {
	case "off":
		return pip{}, nil
	case "":
		dirs := append(filepath.SplitList(getenv("PATH")), filepath.Join(getenv("HOME"), ".local", "bin"), filepath.Join(getenv("HOME"), ".cargo", "bin"))
		for _, d := range dirs {
			if path, err := exec.LookPath(filepath.Join(d, "uv")); err == nil && filepath.IsAbs(path) {
				return uv{path}, nil
			}
		}
		return pip{}, nil
	}
	path, err := exec.LookPath(setting)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, fmt.Errorf("finding uv as configured: %w", err)
	}
	return uv{path}, nil
}

// sweep removes the working folders of processes that were killed, and wheels
// that nobody came back for.
func (b *Builder) sweep(before time.Time) {
	for _, dir := range []string{"tmp", "wheels"} {
		entries, err := os.ReadDir(filepath.Join(b.dir, dir))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
				os.RemoveAll(filepath.Join(b.dir, dir, e.Name())) // tried again the next time
			}
		}
	}
}

// writeAtomic writes a file aside and renames it into place, synced.
func writeAtomic(path string, text []byte, mode fs.FileMode) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(text); err != nil {
		return err
	}
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
