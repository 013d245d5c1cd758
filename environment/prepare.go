package environment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-ml/sluice"
)

// Progress is how far a Prepare is. Step is sluice.StepResolving,
// sluice.StepDownloading or sluice.StepBuilding; Detail is free text.
type Progress struct {
	Step   string
	Detail string
}

// Env is a Python environment that is ready.
type Env struct {
	Dir      string            // of the environment
	Python   string            // its interpreter, absolute
	Version  Version           // of the interpreter
	Lock     string            // every package with version and digests, as requirements of pip
	LockHash string            // names the environment: the SHA-256 of Lock, in hexadecimal
	Vars     map[string]string // variables that the spec wants the script to have
	Notices  []string          // what the user should know, a sentence each
	Log      string            // where the log of its build is
	Reused   bool              // it was there already
}

// Prepare gives the environment for a spec, making it if need be. What goes
// wrong is a [*sluice.Cause] or a [*sluice.Error]; the log of the tools is
// named in it. progress may be nil; it is called from one goroutine at a time,
// and not after Prepare has returned.
func (b *Builder) Prepare(ctx context.Context, spec Spec, progress func(Progress)) (Env, error) {
	plan, notices, err := Parse(spec)
	if err != nil {
		return Env{}, err
	}
	installed, err := b.pythons.list(ctx, func() { b.started.Add(1) })
	if err != nil {
		return Env{}, fmt.Errorf("finding Pythons: %w", err)
	}
	python, more, err := choose(plan.Python, installed)
	if err != nil {
		return Env{}, err
	}
	lock := spec.Lock
	if lock != "" {
		if i := slices.IndexFunc(installed, func(i Interpreter) bool { return lockedFor(lock, i) }); i >= 0 {
			python = installed[i]
		} else {
			lock = ""
			more = append(more, "the Python that the packages were locked for is not installed any more: they are resolved again")
		}
	}
	r := &request{
		b: b, plan: plan, lock: lock, python: python, installed: installed, settings: readSettings(b.environ).with(plan.Options),
		notices: append(notices, more...), substitute: len(more) > 0,
		progress: func(step, detail string) {
			if progress != nil {
				progress(Progress{Step: step, Detail: detail})
			}
		},
	}
	env, err := r.prepare(ctx)
	if err != nil {
		return Env{}, b.diskCause(err)
	}
	return env, nil
}

// request is one Prepare under way.
type request struct {
	b          *Builder
	plan       Plan
	lock       string // to keep to; "" for none
	python     Interpreter
	installed  []Interpreter
	settings   settings
	notices    []string
	substitute bool // the Python is not the one that was asked for
	progress   func(step, detail string)
}

func (r *request) prepare(ctx context.Context) (Env, error) {
	key := r.key()
	known, ok := r.known(key)
	if !ok {
		err := r.b.exclusively(ctx, key, func(held *os.File) error {
			if known, ok = r.known(key); ok {
				return nil
			}
			var err error
			known, err = r.resolve(ctx, key, held)
			return err
		})
		if err != nil {
			return Env{}, err
		}
	}
	env := r.env(known)
	if r.b.whole(env.Dir) {
		env.Reused = true
		r.b.finishLater(env)
		return env, nil
	}
	err := r.b.exclusively(ctx, env.LockHash, func(held *os.File) error {
		if r.b.whole(env.Dir) {
			env.Reused = true
			return nil
		}
		return r.build(ctx, env, held)
	})
	if err == nil {
		r.b.finishLater(env)
	}
	return env, err
}

// key is the hash of everything that could change what the plan resolves to.
func (r *request) key() string {
	requirements := slices.Clone(r.plan.Requirements)
	slices.Sort(requirements)
	text, err := json.Marshal(map[string]any{
		"builder": builderVersion, "python": r.python.Version, "interpreter": r.python.Path, "platform": r.python.Platform,
		"requirements": requirements, "constraints": r.plan.Constraints, "options": r.plan.Options, "source": r.plan.SourceBuilds && r.b.sourceBuilds, "index": r.settings.id,
	})
	if err != nil {
		panic("environment: a key always marshals: " + err.Error())
	}
	return hash(string(text))
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// resolution is what a plan came to, as kept in specs/.
type resolution struct {
	LockHash string   `json:"lockHash"`
	Notices  []string `json:"notices,omitempty"` // found while resolving
	lock     string
}

func (r *request) env(known resolution) Env {
	dir := filepath.Join(r.b.dir, "envs", known.LockHash)
	return Env{
		Dir: dir, Python: envPython(dir), Version: r.python.Version, Lock: known.lock, LockHash: known.LockHash,
		Vars: r.plan.Vars, Notices: append(slices.Clone(r.notices), known.Notices...), Log: r.b.logPath(known.LockHash),
	}
}

func (b *Builder) logPath(hash string) string { return filepath.Join(b.dir, "logs", hash+".log") }

// resolved gives what a plan came to before.
func (b *Builder) resolved(key string) (resolution, bool) {
	var known resolution
	text, err := os.ReadFile(filepath.Join(b.dir, "specs", key+".json"))
	if err != nil || json.Unmarshal(text, &known) != nil || len(known.LockHash) != 64 {
		return known, false
	}
	lock, err := os.ReadFile(filepath.Join(b.dir, "locks", filepath.Base(known.LockHash)+".txt"))
	if err != nil || hash(string(lock)) != known.LockHash {
		return known, false
	}
	known.lock = string(lock)
	packages, err := parseLock(known.lock)
	return known, err == nil && b.haveBuilt(packages)
}

// known gives what the plan came to before: by the lock that it is to keep to,
// else by what is kept here.
func (r *request) known(key string) (resolution, bool) {
	known, ok := r.b.resolved(key)
	if r.lock == "" || ok && known.lock == r.lock {
		return known, ok
	}
	if packages, err := parseLock(r.lock); err != nil || !r.b.haveBuilt(packages) {
		return known, ok // what was built from source for it is gone
	}
	return resolution{LockHash: hash(r.lock), lock: r.lock}, true
}

// exclusively runs do while holding the key's lock file. One who had to wait
// for an attempt that failed gets its failure.
func (b *Builder) exclusively(ctx context.Context, key string, do func(held *os.File) error) error {
	since := time.Now()
	held, err := lock(ctx, filepath.Join(b.dir, "held", key))
	if err != nil {
		return err
	}
	defer held.Close()
	b.mu.Lock()
	last, ok := b.failed[key]
	b.mu.Unlock()
	if ok && last.at.After(since) {
		return last.err
	}
	err = do(held)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		b.failed[key] = failure{time.Now(), err}
	} else {
		delete(b.failed, key)
	}
	return err
}

// job starts the log and the working folder of one resolution or build. The
// caller calls done.
func (r *request) job(key string, held *os.File) (j *job, done func(), err error) {
	file, err := os.OpenFile(r.b.logPath(key), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("writing the log: %w", err)
	}
	work, err := r.b.workFolder(key)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	j = &job{builder: r.b, python: r.python, all: r.installed, settings: r.settings, held: held, work: work, progress: r.progress,
		log: &runLog{file: file, settings: r.settings}}
	j.log.add("# " + r.b.backend.name() + ", Python " + r.python.describe())
	return j, func() {
		file.Close()
		os.RemoveAll(work) // swept later if it cannot be now
	}, nil
}

// workFolder makes the working folder of whoever holds the key's lock file.
// What others left, who were killed, is in nobody's use and removed.
func (b *Builder) workFolder(key string) (string, error) {
	start := "job-" + key[:16] + "-"
	left, err := filepath.Glob(filepath.Join(b.dir, "tmp", start+"*"))
	if err != nil {
		return "", fmt.Errorf("making a working folder: %w", err)
	}
	for _, l := range left {
		if err := os.RemoveAll(l); err != nil {
			return "", fmt.Errorf("clearing a working folder: %w", err)
		}
	}
	work, err := os.MkdirTemp(filepath.Join(b.dir, "tmp"), start)
	if err != nil {
		return "", fmt.Errorf("making a working folder: %w", err)
	}
	return work, nil
}

// resolve finds the lock of a plan and keeps it.
func (r *request) resolve(ctx context.Context, key string, held *os.File) (resolution, error) {
	r.progress(sluice.StepResolving, "")
	started := time.Now()
	j, done, err := r.job(key, held)
	if err != nil {
		return resolution{}, err
	}
	defer done()
	var packages []lockedPackage
	var notices []string
	if len(r.plan.Requirements) > 0 {
		packages, notices, err = r.resolvePackages(ctx, j)
		if err != nil {
			return resolution{}, r.explain(ctx, j, key, err)
		}
	}
	text := renderLock(r.python.Version, r.python.Platform, packages)
	known := resolution{LockHash: hash(text), Notices: notices, lock: text}
	if err := j.keepWheels(known.LockHash); err != nil {
		return resolution{}, err
	}
	if err := r.b.keep(key, known); err != nil {
		return resolution{}, err
	}
	r.b.logger.Info("environment resolved", "lock", known.LockHash, "packages", len(packages), "python", r.python.Version.String(),
		"tool", r.b.backend.name(), "seconds", time.Since(started).Seconds())
	return known, nil
}

// keep writes the lock, then what refers to it.
func (b *Builder) keep(key string, known resolution) error {
	if err := writeAtomic(filepath.Join(b.dir, "locks", known.LockHash+".txt"), []byte(known.lock), 0o600); err != nil {
		return fmt.Errorf("keeping the lock: %w", err)
	}
	text, err := json.Marshal(known)
	if err != nil {
		return fmt.Errorf("keeping the resolution: %w", err)
	}
	if err := writeAtomic(filepath.Join(b.dir, "specs", key+".json"), text, 0o600); err != nil {
		return fmt.Errorf("keeping the resolution: %w", err)
	}
	return nil
}
