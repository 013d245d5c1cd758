package environment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ml/sluice/disk"
)

const (
	// Grace is how long an environment that was made or handed out stays at
	// least although nothing needs it yet.
	Grace = 90 * time.Minute
	// logsFor is how long the log of a failed build stays: its user was told
	// where it is.
	logsFor = 7 * 24 * time.Hour
)

// Prune says what may go.
type Prune struct {
	// Keep reports whether something needs the environment with this lock; nil
	// keeps all.
	Keep func(lockHash string) bool
	// Idle says that no Prepare is under way, nor begins: what plans resolved
	// to may go as well, which a Prepare reads without a lock.
	Idle bool
	// DryRun only counts.
	DryRun bool
}

// Pruned is what went, or would.
type Pruned struct {
	Environments int
	Locks        int   // what plans had resolved to
	Logs         int   // of builds
	Bytes        int64 // what all of it took on the disk, and nothing else holds
	Later        int64 // bytes that nothing needs either, and that were used too recently
}

// Usage gives the bytes that environments, logs and all else take on the disk.
func (b *Builder) Usage(ctx context.Context) (int64, error) { return disk.Of(ctx, b.dir) }

// UnderWay gives the bytes of what is being made now, or was when it broke off.
func (b *Builder) UnderWay(ctx context.Context) (int64, error) {
	dirs := []string{filepath.Join(b.dir, "tmp"), filepath.Join(b.dir, "wheels")}
	entries, err := os.ReadDir(filepath.Join(b.dir, "envs"))
	if err != nil {
		return 0, fmt.Errorf("looking at environments: %w", err)
	}
	for _, e := range entries {
		if dir := filepath.Join(b.dir, "envs", e.Name()); !b.whole(dir) {
			dirs = append(dirs, dir)
		}
	}
	return disk.Of(ctx, dirs...)
}

// Hold notes that an environment is handed out, so that it stays for [Grace].
// ok is false when it is not there any more: then prepare it again.
func (b *Builder) Hold(ctx context.Context, lockHash string) (ok bool, err error) {
	held, err := lock(ctx, filepath.Join(b.dir, "held", filepath.Base(lockHash)))
	if err != nil {
		return false, err
	}
	defer held.Close()
	dir := filepath.Join(b.dir, "envs", filepath.Base(lockHash))
	if !b.whole(dir) {
		return false, nil
	}
	now := time.Now()
	if err := os.Chtimes(filepath.Join(dir, marker), now, now); err != nil {
		return false, fmt.Errorf("noting the use of an environment: %w", err)
	}
	return true, nil
}

// Prune removes environments that nothing needs and nobody was given lately,
// and what belongs to them. One that is being made, by whatever process, is
// left alone: its lock file is held.
func (b *Builder) Prune(ctx context.Context, o Prune) (Pruned, error) {
	if o.Keep == nil {
		return Pruned{}, nil
	}
	p := &pruning{b: b, o: o, now: time.Now(), locks: map[string]bool{}, keys: map[string]bool{}}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"environments", p.environments}, {"downloads", p.downloads}, {"resolutions", p.resolutions}, {"logs", p.logs},
	} {
		if err := step.do(ctx); err != nil {
			return p.result(), fmt.Errorf("pruning %s: %w", step.what, err)
		}
	}
	if !o.DryRun {
		b.sweep(p.now.Add(-24 * time.Hour))
	}
	return p.result(), nil
}

// pruning is one Prune under way.
type pruning struct {
	b     *Builder
	o     Prune
	now   time.Time
	taken disk.Count
	later disk.Count
	done  Pruned

	locks map[string]bool // the locks that stay, by their hash
	keys  map[string]bool // the plans whose resolution stays
}

func (p *pruning) result() Pruned {
	p.done.Bytes, p.done.Later = p.taken.Freed(), p.later.Freed()
	return p.done
}

// verdict is what is decided about one thing.
type verdict int

const (
	keepIt  verdict = iota
	laterIt         // nothing needs it, but somebody may be about to
	takeIt
)

// judge decides. It is all there is to decide.
func judge(needed bool, used, now time.Time, grace time.Duration) verdict {
	switch {
	case needed:
		return keepIt
	case now.Sub(used) <= grace:
		return laterIt
	}
	return takeIt
}

// each calls do with every entry of one of the builder's folders.
func (p *pruning) each(ctx context.Context, folder, suffix string, do func(name, path string, info fs.FileInfo) error) error {
	entries, err := os.ReadDir(filepath.Join(p.b.dir, folder))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name, ok := strings.CutSuffix(e.Name(), suffix)
		info, err := e.Info()
		if !ok || strings.HasPrefix(name, ".") || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = do(name, filepath.Join(p.b.dir, folder, e.Name()), info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exclusively runs do with the hash's lock file held, unless somebody else has
// it. A dry run takes no lock, and nothing from who has one.
func (p *pruning) exclusively(hash string, do func() error) (free bool, err error) {
	ended, cancel := context.WithCancel(context.Background())
	cancel() // tries once
	held, err := lock(ended, filepath.Join(p.b.dir, "held", hash))
	if errors.Is(err, context.Canceled) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer held.Close()
	return true, do()
}

// lastUse gives when an environment was last handed out, made or worked on.
func lastUse(dir string, info fs.FileInfo) time.Time {
	used := info.ModTime()
	if m, err := os.Stat(filepath.Join(dir, marker)); err == nil && m.ModTime().After(used) {
		used = m.ModTime()
	}
	return used
}

func (p *pruning) environments(ctx context.Context) error {
	return p.each(ctx, "envs", "", func(hash, dir string, info fs.FileInfo) error {
		decide := func() verdict { return judge(p.o.Keep(hash), lastUse(dir, info), p.now, Grace) }
		p.locks[hash] = true
		switch decide() {
		case keepIt:
			return nil
		case laterIt:
			return p.later.AddTree(ctx, dir)
		}
		_, err := p.exclusively(hash, func() error {
			if decide() != takeIt {
				return nil
			}
			if err := p.taken.AddTree(ctx, dir); err != nil {
				return err
			}
			p.done.Environments++
			delete(p.locks, hash)
			if p.o.DryRun {
				return nil
			}
			return removeEnv(dir)
		})
		return err
	})
}

// downloads removes wheels that were kept for a build that never came.
func (p *pruning) downloads(ctx context.Context) error {
	return p.each(ctx, "wheels", "", func(hash, dir string, info fs.FileInfo) error {
		if judge(false, info.ModTime(), p.now, Grace) != takeIt {
			return nil
		}
		_, err := p.exclusively(hash, func() error {
			if err := p.taken.AddTree(ctx, dir); err != nil || p.o.DryRun {
				return err
			}
			return os.RemoveAll(dir)
		})
		return err
	})
}

// resolutions removes what plans resolved to when the environment is gone, so
// that the next time they are resolved anew.
func (p *pruning) resolutions(ctx context.Context) error {
	stays := func(lockHash string, info fs.FileInfo) bool {
		return p.locks[lockHash] || !p.o.Idle || judge(p.o.Keep(lockHash), info.ModTime(), p.now, Grace) != takeIt
	}
	err := p.each(ctx, "specs", ".json", func(key, path string, info fs.FileInfo) error {
		var known resolution
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if json.Unmarshal(text, &known) == nil && stays(known.LockHash, info) {
			p.locks[known.LockHash], p.keys[key] = true, true
			return nil
		}
		return p.take(path, info)
	})
	if err != nil {
		return err
	}
	return p.each(ctx, "locks", ".txt", func(hash, path string, info fs.FileInfo) error {
		if stays(hash, info) {
			p.locks[hash] = true
			return nil
		}
		p.done.Locks++
		return p.take(path, info)
	})
}

// logs removes the logs of what is gone, and of old failures.
func (p *pruning) logs(ctx context.Context) error {
	return p.each(ctx, "logs", ".log", func(hash, path string, info fs.FileInfo) error {
		if judge(p.locks[hash] || p.keys[hash], info.ModTime(), p.now, logsFor) != takeIt {
			return nil
		}
		p.done.Logs++
		return p.take(path, info)
	})
}

func (p *pruning) take(path string, info fs.FileInfo) error {
	p.taken.Add(info)
	if p.o.DryRun {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
