package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// backend is a tool that resolves and installs.
type backend interface {
	name() string
	// resolve finds exact versions and digests for a plan.
	resolve(ctx context.Context, j *job, requirements, options []string) ([]lockedPackage, error)
	// install makes the environment dir, which does not exist, from a lock.
	install(ctx context.Context, j *job, dir string, packages []lockedPackage, lockFile string, options []string) error
	// elsewhere gives the first of the Pythons for which the index has a wheel
	// that meets a requirement.
	elsewhere(ctx context.Context, j *job, requirement string, pythons []Version, options []string) (Version, bool)
	// settings gives a text of the tool's that names its default index.
	settings(ctx context.Context, j *job) (string, error)
}

// job is one resolution or one build.
type job struct {
	builder  *Builder
	python   Interpreter
	all      []Interpreter // every one installed
	settings settings
	log      *runLog
	held     *os.File // the lock file, handed to every tool
	work     string   // a folder of its own for temporary files, 0700
	progress func(step, detail string)
	mute     bool                   // the tool's standard output is of no interest
	built    []builtWheel           // what was built for it from source
	files    map[string][]indexFile // what the index was found to have, by package
}

// run runs a tool in the job's own folder, which is its TMPDIR too.
func (j *job) run(ctx context.Context, env []string, line func(string), path string, args ...string) error {
	return j.builder.run(ctx, j.log, command{
		path: path, args: args, dir: j.work, held: j.held, line: line, mute: j.mute,
		env: append(env[:len(env):len(env)], "TMPDIR="+j.work),
	})
}

// write writes a file for a tool. It may hold passwords.
func (j *job) write(name string, lines ...[]string) (string, error) {
	var b strings.Builder
	for _, part := range lines {
		for _, l := range part {
			b.WriteString(l + "\n")
		}
	}
	path := filepath.Join(j.work, name)
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return "", fmt.Errorf("writing %s: %w", name, err)
	}
	return path, nil
}

// constrained gives a plan's options for resolving it, its constraints as a
// file that they name.
func (j *job) constrained(plan Plan) ([]string, error) {
	if len(plan.Constraints) == 0 {
		return plan.Options, nil
	}
	path, err := j.write("constraints.txt", plan.Constraints)
	return append(slices.Clip(plan.Options), "-c "+path), err
}

// envPython gives the interpreter of an environment.
func envPython(dir string) string { return filepath.Join(dir, "bin", "python") }

// wheelsDir is where the wheels of a lock wait for its build.
func (b *Builder) wheelsDir(lockHash string) string {
	return filepath.Join(b.dir, "wheels", lockHash)
}

// wheelsFolder is where a job leaves what it downloaded.
const wheelsFolder = "wheels"

// keepWheels puts what was downloaded for a resolution, if anything, where the
// build of its lock looks. Another resolution may have brought the same.
func (j *job) keepWheels(lockHash string) error {
	err := os.Rename(filepath.Join(j.work, wheelsFolder), j.builder.wheelsDir(lockHash))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("keeping the wheels: %w", err)
	}
	return nil
}

// wheels gives the folder with all the packages' wheels, "" when it is not
// there.
func (j *job) wheels(packages []lockedPackage) string {
	dir := j.builder.wheelsDir(hash(renderLock(j.python.Version, j.python.Platform, packages)))
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(found) < len(packages) {
		return ""
	}
	return dir
}
