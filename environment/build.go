package environment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

const (
	// marker is the file that makes an environment whole. It names the boot of
	// the machine in which the environment was written.
	marker = ".complete"
	// synced is the file of an environment all of which is on the disk. Until
	// then it counts for as long as the machine runs.
	synced = ".synced"
	// bootLine starts the marker's line with the boot. An environment without
	// one was on the disk before it had its marker.
	bootLine = "boot "
)

// whole reports whether the environment is complete and its interpreter is
// still there. It starts no process.
func (b *Builder) whole(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, marker))
	if err != nil {
		return false
	}
	if _, err := os.Stat(envPython(dir)); err != nil { // follows the link to the interpreter
		return false
	}
	if _, boot, ok := strings.Cut(string(text), "\n"+bootLine); ok && strings.TrimSpace(boot) != b.boot {
		_, err := os.Stat(filepath.Join(dir, synced))
		return err == nil
	}
	return true
}

// build makes the environment aside and renames it into place.
func (r *request) build(ctx context.Context, env Env, held *os.File) error {
	started := time.Now()
	j, done, err := r.job(env.LockHash, held)
	if err != nil {
		return err
	}
	defer done()
	packages, err := parseLock(env.Lock)
	if err != nil {
		return err
	}
	r.progress(sluice.StepDownloading, fmt.Sprintf("%d packages", len(packages)))
	lockFile, err := j.write("lock.txt", []string{env.Lock})
	if err != nil {
		return err
	}
	aside := filepath.Join(j.work, "env")
	for _, p := range packages {
		if p.built != "" {
			j.built = append(j.built, builtWheel{p.name, p.version, p.built})
		}
	}
	if err := r.b.backend.install(ctx, j, aside, packages, lockFile, j.withBuilt(r.plan.Options)); err != nil {
		return r.explain(ctx, j, env.LockHash, err)
	}
	os.RemoveAll(r.b.wheelsDir(env.LockHash)) // swept later if it cannot be now
	r.progress(sluice.StepBuilding, "finishing")
	if err := relocate(aside, env.Dir); err != nil {
		return fmt.Errorf("finishing the environment: %w", err)
	}
	text := fmt.Sprintf("%s %s\n", r.b.backend.name(), r.python.describe())
	if r.b.boot != "" {
		text += bootLine + r.b.boot + "\n"
	}
	if err := os.WriteFile(filepath.Join(aside, marker), []byte(text), 0o644); err != nil {
		return fmt.Errorf("finishing the environment: %w", err)
	}
	if err := shareable(aside); err != nil {
		return fmt.Errorf("finishing the environment: %w", err)
	}
	if r.b.boot == "" { // else it can wait: see finish
		if err := syncAll(aside); err != nil {
			return err
		}
	}
	if err := j.settle(aside, env.Dir); err != nil {
		return fmt.Errorf("finishing the environment: %w", err)
	}
	r.b.logger.Info("environment built", "lock", env.LockHash, "packages", len(packages), "tool", r.b.backend.name(), "seconds", time.Since(started).Seconds())
	return nil
}

// settle renames an environment into place. What is there hangs on a Python
// that is gone.
func (j *job) settle(aside, dir string) error {
	if err := os.Rename(dir, filepath.Join(j.work, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(aside, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// removeEnv removes an environment, its marker first, so that no half of one
// is ever whole.
func removeEnv(dir string) error {
	if err := os.Remove(filepath.Join(dir, marker)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// Bounds on the programs of an environment that are looked at, and on the
// first line of one: the oldest systems cut it there.
const (
	maxScript  = 1 << 20
	maxShebang = 127
)

// relocate writes the place an environment will have into the files that name
// the one where it was built: its programs and its settings.
func relocate(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "bin", "*"))
	if err != nil {
		return err
	}
	for _, path := range append(files, filepath.Join(from, "pyvenv.cfg")) {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() > maxScript {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Contains(text, []byte(from)) {
			continue
		}
		// Another file, not the same changed, which may be a cache's too.
		if err := os.Remove(path); err != nil {
			return err
		}
		if err := os.WriteFile(path, relocated(text, from, to), info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// relocated gives a program's text at its new place. A first line that got too
// long is put into words that the shell and Python both understand.
func relocated(text []byte, from, to string) []byte {
	text = bytes.ReplaceAll(text, []byte(from), []byte(to))
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	program, ok := bytes.CutPrefix(first, []byte("#!"+to))
	if !ok || len(first) <= maxShebang {
		return text
	}
	return fmt.Appendf(nil, "#!/bin/sh\n'''exec' \"%s%s\" \"$0\" \"$@\"\n' '''\n%s", to, program, rest)
}

// shareable lets everybody read an environment and nobody else write to it,
// whatever the umask it was built under: scripts may run as another user.
func shareable(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		have := info.Mode().Perm()
		want := have&^0o022 | 0o444
		if e.IsDir() || have&0o100 != 0 {
			want |= 0o111
		}
		if want == have {
			return nil
		}
		return os.Chmod(path, want)
	})
}
