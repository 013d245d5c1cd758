package environment

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

//go:embed sluice_build.py
var buildDriver []byte

// Bounds on building from source.
const (
	maxBuilds    = 20               // packages of one environment
	maxRounds    = 3                // times a source may ask for more to be built with
	buildTimeout = 30 * time.Minute // of one step
	maxBuilt     = 4 << 30          // bytes of a wheel
	maxTold      = 1 << 20          // bytes of what a build tells
)

// builtWheel is a package that was built here.
type builtWheel struct {
	name, version string
	key           string // names it below built/
}

// resolveAnyway resolves, and builds from source what has no wheel, where that
// is allowed.
func (r *request) resolveAnyway(ctx context.Context, j *job, requirements, options []string) ([]lockedPackage, error) {
	for {
		packages, err := r.b.backend.resolve(ctx, j, requirements, j.withBuilt(options))
		if err == nil {
			return j.fromSource(packages), nil
		}
		requirement := r.wantsSource(ctx, err)
		if requirement == "" || len(j.built) == maxBuilds {
			return nil, err
		}
		w, ok, buildErr := r.buildSource(ctx, j, requirement)
		if buildErr != nil {
			return nil, buildErr
		}
		if !ok || slices.Contains(j.built, w) { // there is no source, or it did not help
			return nil, err
		}
		j.built = append(j.built, w)
	}
}

// withBuilt gives the options with where the wheels are that were built.
func (j *job) withBuilt(options []string) []string {
	options = slices.Clip(options)
	for _, w := range j.built {
		options = append(options, "--find-links "+j.builder.builtDir(w.key))
	}
	return options
}

// fromSource marks the packages that were built here.
func (j *job) fromSource(packages []lockedPackage) []lockedPackage {
	for i, p := range packages {
		for _, w := range j.built {
			if p.name == w.name && p.url == "" && isVersion(p.version, w.version) {
				packages[i].built = w.key
			}
		}
	}
	return packages
}

func (b *Builder) builtDir(key string) string { return filepath.Join(b.dir, "built", key) }

// haveBuilt reports whether all that a lock has of built packages is still
// here.
func (b *Builder) haveBuilt(packages []lockedPackage) bool {
	return !slices.ContainsFunc(packages, func(p lockedPackage) bool { return p.built != "" && b.builtIn(p.built) == "" })
}

// builtIn gives the wheel that was built under a key, "" for none.
func (b *Builder) builtIn(key string) string {
	found, err := filepath.Glob(filepath.Join(b.builtDir(key), "*.whl"))
	if err != nil || len(found) != 1 {
		return ""
	}
	return found[0]
}

// wantsSource gives the requirement without a wheel that made a resolution
// fail, "" when it was something else or source will not do.
func (r *request) wantsSource(ctx context.Context, err error) string {
	var failed *toolError
	if !errors.As(err, &failed) || ctx.Err() != nil || !r.plan.SourceBuilds || !r.b.sourceBuilds || canConfine() != nil {
		return ""
	}
	f := understand(failed.lines)
	if !f.ask {
		return ""
	}
	if name := requirementName(f.requirement); name == f.requirement || normalName(f.requirement) == name {
		for _, asked := range r.plan.Requirements { // the tool names it without what was asked of it
			if requirementName(asked) == name {
				return asked
			}
		}
	}
	return f.requirement
}

// buildSource builds a wheel of the newest source that meets a requirement;
// ok is false when there is none.
func (r *request) buildSource(ctx context.Context, j *job, requirement string) (w builtWheel, ok bool, err error) {
	f, err := r.fetcher(ctx, j)
	if err != nil {
		return w, false, err
	}
	found, err := f.sources(ctx, requirement, r.python.Version)
	if err != nil || len(found) == 0 {
		return w, false, err
	}
	s := slices.MaxFunc(found, func(a, b sdist) int { return a.release.compare(b.release) })
	r.progress(sluice.StepDownloading, s.file)
	j.log.add("# " + s.file + " is built from source")
	held, err := lock(ctx, filepath.Join(r.b.dir, "held", "build")) // one at a time: the user is one
	if err != nil {
		return w, false, err
	}
	defer held.Close()
	b, err := newSourceBuild(r, j, s)
	if err != nil {
		return w, false, err
	}
	defer os.RemoveAll(b.dir)
	key, err := b.build(ctx, f)
	if failed := (*toolError)(nil); errors.As(err, &failed) && ctx.Err() == nil {
		err = b.failed(failed)
	}
	return builtWheel{s.name, s.release.text, key}, err == nil, err
}

// sourceBuild is one package on its way from source to wheel.
type sourceBuild struct {
	*job
	r      *request
	sdist  sdist
	dir    string // of this build
	digest string // of the source
	env    string // the environment it is built in
	lock   string // of that environment
	prefix string // the folder of the interpreter
}

func newSourceBuild(r *request, j *job, s sdist) (*sourceBuild, error) {
	dir, err := os.MkdirTemp(j.work, "build-")
	if err != nil {
		return nil, fmt.Errorf("making a folder to build in: %w", err)
	}
	b := &sourceBuild{job: &job{}, r: r, sdist: s, dir: dir, env: filepath.Join(dir, "env")}
	*b.job = *j
	b.job.work, b.job.built = dir, nil
	user := r.b.buildUser
	box := filepath.Join(dir, "box")
	for _, d := range []string{filepath.Join(dir, "root"), box, filepath.Join(box, "sdist"), filepath.Join(box, "out"), filepath.Join(box, "home"), filepath.Join(box, "tmp")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, fmt.Errorf("making a folder to build in: %w", err)
		}
		if filepath.Base(d) == "root" {
			continue
		}
		if err := errors.Join(os.Chmod(d, 0o755), os.Chown(d, int(user.UID), int(user.GID))); err != nil {
			return nil, fmt.Errorf("making a folder to build in: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "driver.py"), buildDriver, 0o644); err != nil {
		return nil, fmt.Errorf("making a folder to build in: %w", err)
	}
	if err := os.Chmod(filepath.Join(dir, "driver.py"), 0o644); err != nil {
		return nil, fmt.Errorf("making a folder to build in: %w", err)
	}
	b.prefix, err = prefixOf(r.python.Path, r.b.dir)
	return b, err
}

// build gives the key of the wheel, which may have been built before of the
// same source with the same packages.
func (b *sourceBuild) build(ctx context.Context, f *fetcher) (key string, err error) {
	file, digest, err := f.fetch(ctx, b.sdist, filepath.Join(b.dir, "box", "sdist"))
	if err != nil {
		return "", err
	}
	b.digest = digest
	if err := os.Chmod(file, 0o644); err != nil {
		return "", fmt.Errorf("fetching %s: %w", b.sdist.file, err)
	}
	b.progress(sluice.StepBuilding, b.sdist.name+" "+b.sdist.release.text+" from source")
	requires, err := b.ask(ctx, b.python.Path, "unpack")
	if err != nil {
		return "", err
	}
	for range maxRounds {
		if err := b.install(ctx, requires); err != nil {
			return "", err
		}
		if key := b.key(); b.builder.builtIn(key) != "" {
			return key, nil
		}
		more, err := b.ask(ctx, envPython(b.env), "requires")
		if err != nil {
			return "", err
		}
		more = slices.DeleteFunc(more, func(m string) bool { return slices.Contains(requires, m) })
		if len(more) == 0 {
			break
		}
		requires = append(requires, more...)
	}
	if err := b.run(ctx, envPython(b.env), "wheel"); err != nil {
		return "", err
	}
	return b.key(), b.keep()
}

// key names a built wheel by all that could change it.
func (b *sourceBuild) key() string {
	return hash(strings.Join([]string{"built", b.sdist.name, b.sdist.release.text, b.digest, b.lock}, "\n"))
}

// install makes the environment that the source is built in, from wheels.
func (b *sourceBuild) install(ctx context.Context, requires []string) error {
	plan, _, err := Parse(Spec{Pip: requires, KeepPlatform: true})
	if err == nil && len(plan.Options) > 0 {
		err = errors.New("they hold options")
	}
	if err != nil {
		return b.cause("what it needs to be built cannot be had: " + err.Error())
	}
	if err := os.RemoveAll(b.env); err != nil {
		return fmt.Errorf("clearing the folder to build in: %w", err)
	}
	backend, options := b.builder.backend, b.r.plan.Options
	packages, err := backend.resolve(ctx, b.job, append(plan.Requirements, "wheel"), options)
	if err != nil {
		return err
	}
	b.lock = renderLock(b.python.Version, b.python.Platform, packages)
	if err := b.keepWheels(hash(b.lock)); err != nil {
		return err
	}
	file, err := b.write("lock.txt", []string{b.lock})
	if err != nil {
		return err
	}
	if err := backend.install(ctx, b.job, b.env, packages, file, options); err != nil {
		return err
	}
	os.RemoveAll(b.builder.wheelsDir(hash(b.lock))) // swept later if it cannot be now
	return shareable(b.env)
}

// run takes one step of the build, confined.
func (b *sourceBuild) run(ctx context.Context, python, step string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, buildTimeout, b.cause(fmt.Sprintf("it takes longer than %s", buildTimeout)))
	defer cancel()
	c := confinement{user: b.builder.buildUser, root: filepath.Join(b.dir, "root"), box: filepath.Join(b.dir, "box"), driver: filepath.Join(b.dir, "driver.py")}
	if b.prefix != "" {
		c.read = append(c.read, b.prefix)
	}
	if python != b.python.Path {
		c.read = append(c.read, b.env)
	}
	return b.builder.run(ctx, b.log, command{
		path: python, args: []string{"-I", driverPlace, step}, confine: &c,
		env: []string{
			"PATH=" + filepath.Join(b.env, "bin") + ":/usr/local/bin:/usr/bin:/bin", "VIRTUAL_ENV=" + b.env, "HOME=" + boxPlace + "/home", "TMPDIR=" + boxPlace + "/tmp",
			"LC_ALL=C.UTF-8", "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1", "SOURCE_DATE_EPOCH=315532800", // the first date that a wheel can have
		},
	})
}

// ask takes a step that tells what the source needs.
func (b *sourceBuild) ask(ctx context.Context, python, step string) ([]string, error) {
	if err := b.run(ctx, python, step); err != nil {
		return nil, err
	}
	text, err := b.told(filepath.Join("out", step+".json"), maxTold)
	if err != nil {
		return nil, b.cause("it does not say what it needs: " + err.Error())
	}
	var said struct {
		Requires []string `json:"requires"`
	}
	if err := json.Unmarshal(text, &said); err != nil || len(said.Requires) > maxRequirements {
		return nil, b.cause("it does not say what it needs")
	}
	return said.Requires, nil
}

// told reads a file that the build wrote, who may have made anything of it.
func (b *sourceBuild) told(name string, most int64) ([]byte, error) {
	f, err := b.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s is over %d bytes", name, most)
	}
	return text, err
}

// open opens a plain file in the build's folder, and none outside.
func (b *sourceBuild) open(name string) (*os.File, error) {
	root, err := os.OpenRoot(filepath.Join(b.dir, "box"))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// keep takes the wheel out of the build's hands.
func (b *sourceBuild) keep() error {
	text, err := b.told(filepath.Join("out", "wheel.json"), maxTold)
	if err != nil {
		return b.cause("it leaves no wheel: " + err.Error())
	}
	var said struct {
		Wheel string `json:"wheel"`
	}
	err = json.Unmarshal(text, &said)
	m := wheelName.FindStringSubmatch(said.Wheel)
	if err != nil || m == nil || normalName(m[1]) != b.sdist.name || !sameRelease(m[2], b.sdist.release) {
		return b.cause(fmt.Sprintf("what it leaves, %q, is no wheel of it", shorten(said.Wheel)))
	}
	in, err := b.open(filepath.Join("wheel", said.Wheel))
	if err != nil {
		return b.cause("it leaves no wheel: " + err.Error())
	}
	defer in.Close()
	aside := filepath.Join(b.dir, "kept")
	if err := os.Mkdir(aside, 0o700); err != nil {
		return fmt.Errorf("keeping the wheel: %w", err)
	}
	out, err := os.OpenFile(filepath.Join(aside, said.Wheel), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("keeping the wheel: %w", err)
	}
	n, err := io.Copy(out, io.LimitReader(in, maxBuilt+1))
	if err == nil && n > maxBuilt {
		err = fmt.Errorf("it is over %d MiB", maxBuilt>>20)
	}
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("keeping the wheel: %w", err)
	}
	if err := os.Rename(aside, b.builder.builtDir(b.key())); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keeping the wheel: %w", err)
	}
	return nil
}

func sameRelease(text string, r release) bool {
	other, ok := parseRelease(text)
	return ok && other.compare(r) == 0
}

// cause says why the package could not be built.
func (b *sourceBuild) cause(why string) *sluice.Cause {
	return &sluice.Cause{Code: sluice.CauseBuildFailed,
		Message: fmt.Sprintf("building %s %s from source failed: %s", b.sdist.name, b.sdist.release.text, why),
		Hint:    "choose a version that has a wheel, or build the wheel yourself and put it on an index; the build has no network"}
}

// failed makes a cause of a step that failed.
func (b *sourceBuild) failed(err *toolError) error {
	if isDiskFull(err) {
		return b.builder.fullDisk("a build")
	}
	c := b.cause(firstOf(lastWord(err.lines), err.err.Error()))
	c.Evidence = append(lastLines(err.lines, 12), "the whole log: "+b.log.file.Name())
	return c
}
