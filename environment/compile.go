package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

// compiled is the file of an environment whose bytecode is there.
const compiled = ".compiled"

// testFolders are not compiled: they are half of what the scientific packages
// ship, and nothing imports them.
const testFolders = `site-packages[/\\].*[/\\]tests[/\\]`

// finishLater has an environment brought to the disk and its bytecode made in
// the background, unless that was done or is under way: it takes longer than
// installing, and the first script needs little of it.
func (b *Builder) finishLater(env Env) {
	if _, err := os.Stat(filepath.Join(env.Dir, compiled)); err == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil || b.finishing[env.LockHash] {
		return
	}
	b.finishing[env.LockHash] = true
	b.background.Go(func() {
		err := b.finish(b.ctx, env)
		if err != nil && b.ctx.Err() == nil {
			b.logger.Warn("finishing an environment", "lock", env.LockHash, "err", err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.finishing, env.LockHash)
	})
}

// finish does what is left to do for an environment that is there.
func (b *Builder) finish(ctx context.Context, env Env) error {
	held, err := lock(ctx, filepath.Join(b.dir, "held", env.LockHash))
	if err != nil {
		return err
	}
	defer held.Close()
	if _, err := os.Stat(filepath.Join(env.Dir, compiled)); err == nil || !b.whole(env.Dir) {
		return nil // somebody else did, or removed it
	}
	if _, err := os.Stat(filepath.Join(env.Dir, synced)); err != nil {
		if err := syncAll(env.Dir); err != nil {
			return err
		}
		if err := writeAtomic(filepath.Join(env.Dir, synced), nil, 0o644); err != nil {
			return err
		}
	}
	return b.compile(ctx, env, held)
}

// compile makes the bytecode of an environment, so that no later start of a
// script has to. It is bound to the source's digest and never checked: an
// environment's source does not change. The module site, whose .pth files are
// code of the packages, is left out.
func (b *Builder) compile(ctx context.Context, env Env, held *os.File) error {
	libs, err := filepath.Glob(filepath.Join(env.Dir, "lib", "python*", "site-packages"))
	if err != nil || len(libs) != 1 {
		return fmt.Errorf("finding the packages in %s: %v", env.Dir, libs)
	}
	workers := 1 // starting more costs time too
	if files, err := filepath.Glob(filepath.Join(libs[0], "*", "*.py")); err == nil && len(files) > 100 {
		workers = min(max(1, runtime.NumCPU()/2), 8)
	}
	err = b.run(ctx, &runLog{}, command{
		path: envPython(env.Dir), dir: env.Dir, held: held, idle: true, env: readSettings(b.environ).pip,
		args: []string{"-I", "-S", "-m", "compileall", "-qq", "-j", strconv.Itoa(workers), "-x", testFolders, "--invalidation-mode", "unchecked-hash", libs[0]},
	})
	// Packages ship files of other Pythons, which do not compile.
	if failed := (*toolError)(nil); err != nil && (!errors.As(err, &failed) || isDiskFull(failed)) {
		return err
	}
	if err := shareable(env.Dir); err != nil {
		return err
	}
	return writeAtomic(filepath.Join(env.Dir, compiled), nil, 0o644)
}

// Close ends what goes on in the background, which goes on the next time.
func (b *Builder) Close() error {
	b.mu.Lock()
	b.stop() // from here on nothing more is begun
	b.mu.Unlock()
	b.background.Wait()
	return nil
}
