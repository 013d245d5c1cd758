package backup

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/collect"
	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/identity"
	"github.com/sluice-ml/sluice/store"
)

// Target is where a backup is restored to, and how. Nothing may run there: that
// is for the caller to see to.
type Target struct {
	Home home.Dir
	// Force moves what is there aside.
	Force  bool
	Report func(done, total int64) // may be nil
}

// Restored is what a restore did.
type Restored struct {
	Manifest
	Aside string // where what was there lies now; "" where nothing was
}

// Restore builds an installation from an archive. It is built beside the state
// directory, verified and synced, and then takes its place in one step: whenever
// this ends, and however, there is what was before or all of what was restored.
func Restore(ctx context.Context, r io.Reader, t Target) (Restored, error) {
	if real, err := filepath.EvalSymlinks(string(t.Home)); err == nil {
		t.Home = home.Dir(real) // a link to it stays
	}
	mounted := isMount(string(t.Home))
	holds, err := inUse(t.Home, mounted)
	if err != nil {
		return Restored{}, err
	}
	if holds && !t.Force {
		return Restored{}, sluice.Errorf(sluice.CodeExists, "%s holds an installation already", t.Home).
			WithHint("--force moves it aside and deletes nothing; --home DIR restores elsewhere")
	}
	if err := os.MkdirAll(filepath.Dir(string(t.Home)), 0o755); err != nil {
		return Restored{}, disk.Explain("the installation", string(t.Home), fmt.Errorf("restoring: %w", err))
	}
	in := filepath.Dir(string(t.Home))
	if mounted && holds {
		return Restored{}, sluice.Errorf(sluice.CodeInvalid, "%s is a file system of its own, and cannot be moved aside", t.Home).
			WithHint("move away what is in it, or restore with --home into a folder below it")
	}
	if mounted {
		in = string(t.Home)
	}
	place, err := NewScratch(in, filepath.Base(string(t.Home)))
	if err != nil {
		return Restored{}, err
	}
	defer place.Remove()
	m, err := build(ctx, r, home.Dir(place.Dir), t.Report)
	if err != nil {
		return Restored{}, disk.Explain("the installation", string(t.Home), err)
	}
	aside, err := place.take(string(t.Home), holds, mounted)
	if err != nil {
		return Restored{}, disk.Explain("the installation", string(t.Home), fmt.Errorf("putting the installation in place: %w", err))
	}
	return Restored{m, aside}, nil
}

// inUse reports whether there is anything in a state directory, but for what may
// be in the root of a file system.
func inUse(dir home.Dir, mounted bool) (bool, error) {
	entries, err := os.ReadDir(string(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("restoring: %w", err)
	}
	for _, e := range entries {
		if !mounted || e.Name() != "lost+found" && !isScratch(e.Name()) {
			return true, nil
		}
	}
	return false, nil
}

// build makes an installation in a new folder.
func build(ctx context.Context, r io.Reader, dir home.Dir, report func(done, total int64)) (Manifest, error) {
	for _, d := range []string{dir.Artifacts(), dir.Environments(), dir.Instances(), dir.Routes(), dir.Logs(), dir.Run()} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return Manifest{}, fmt.Errorf("restoring: %w", err)
		}
	}
	artifacts, err := artifact.Open(dir.Artifacts())
	if err != nil {
		return Manifest{}, err
	}
	b := &building{dir: dir, artifacts: artifacts, report: report}
	m, err := Read(ctx, r, b)
	if err != nil {
		return m, err
	}
	if err := verify(ctx, dir, artifacts); err != nil {
		return m, err
	}
	return m, SyncFolder(string(dir))
}

// building is the sink that makes an installation.
type building struct {
	dir         home.Dir
	artifacts   *artifact.Store
	report      func(done, total int64)
	done, total int64
}

// Begin implements [Sink].
func (b *building) Begin(m Manifest) error {
	if known := store.KnownSchema(); m.Schema > known {
		return sluice.Errorf(sluice.CodeUnavailable, "the backup was written by a newer Sluice (%.40q): its database has schema number %d and this program knows %d",
			m.Sluice, m.Schema, known).WithHint("run that newer version")
	}
	if room, ok := disk.At(string(b.dir)); ok && room.Bytes < m.Bytes {
		return sluice.DiskFull(disk.Sentence(fmt.Sprintf("a backup of %s", sluice.FormatBytes(m.Bytes)), string(b.dir)), nil)
	}
	b.total = m.Bytes
	return nil
}

func (b *building) counted(r io.Reader) io.Reader {
	return &counting{r, func(n int64) {
		b.done += n
		if b.report != nil {
			b.report(b.done, b.total)
		}
	}}
}

// File implements [Sink]. The name is one of those that the manifest may have.
func (b *building) File(_ context.Context, f File, r io.Reader) error {
	out, err := os.OpenFile(filepath.Join(string(b.dir), f.Name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("restoring %s: %w", f.Name, err)
	}
	_, err = io.Copy(out, b.counted(r))
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("restoring %s: %w", f.Name, err)
	}
	return nil
}

// Blob implements [Sink].
func (b *building) Blob(ctx context.Context, digest string, size int64, r io.Reader) error {
	return b.artifacts.PutBlob(ctx, digest, size, b.counted(r))
}

// Tree implements [Sink].
func (b *building) Tree(ctx context.Context, digest string, t sluice.Tree) error {
	got, err := b.artifacts.PutTree(ctx, t)
	if err == nil && got != digest {
		err = damaged("the listing %s in it is not written as this program writes it", digest)
	}
	return err
}

// verify opens everything as a server does, which also brings an older schema up
// to date, and checks that the database finds all that it needs.
func verify(ctx context.Context, dir home.Dir, artifacts *artifact.Store) (err error) {
	if _, err := dir.Load(); err != nil {
		return damaged("its settings: %w", err)
	}
	if _, err := identity.OpenSealer(dir.SealKey()); err != nil {
		return damaged("its seal.key: %w", err)
	}
	if _, err := identity.ReadCredential(dir.Credential()); err != nil {
		return damaged("its admin.json: %w", err)
	}
	if _, err := tls.LoadX509KeyPair(dir.CA(), dir.CAKey()); err != nil {
		return damaged("its certificate authority: %w", err)
	}
	db, err := store.Open(ctx, dir.Database(), store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Check(ctx); err != nil {
		return err
	}
	trees, err := collect.Trees(ctx, db)
	if err != nil {
		return err
	}
	for _, tree := range trees {
		if has, err := artifacts.HasTree(ctx, tree); err != nil || !has {
			return errors.Join(err, damaged("the listing %s, which its database needs, is not in it", tree))
		}
	}
	return nil
}

// take puts the finished installation in the place of what is at home.
func (s *Scratch) take(home string, holds, mounted bool) (aside string, err error) {
	if mounted {
		return "", s.spread(home)
	}
	if !holds {
		// An empty folder that is there gives way.
		if err := os.Remove(home); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := os.Rename(s.Dir, home); err != nil {
			return "", err
		}
		return "", settle(home)
	}
	// Ours takes the name that what is there will have, and then both change
	// places. The mark goes last: until then ours is known for what it is, under
	// either name.
	if err := unmark(home); err != nil {
		return "", err
	}
	aside = home + beforeMark + time.Now().UTC().Format("20060102-150405.000")
	if err := s.named(filepath.Base(aside)); err != nil {
		return "", err
	}
	if err := os.Rename(s.Dir, aside); err != nil {
		return "", err
	}
	if err := exchange(aside, home); err != nil {
		return "", errors.Join(err, os.Rename(aside, s.Dir))
	}
	return aside, settle(home)
}

// settle makes it last that what was built is in place.
func settle(home string) error {
	if err := SyncFolder(filepath.Dir(home)); err != nil {
		return err
	}
	return unmark(home)
}

func unmark(dir string) error {
	err := os.Remove(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// spread moves what was built inside of home, which is empty but for it, up into
// it. The database comes last: until then this is no installation.
func (s *Scratch) spread(home string) error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == databaseName || e.Name() == lockName {
			continue
		}
		if err := os.Rename(filepath.Join(s.Dir, e.Name()), filepath.Join(home, e.Name())); err != nil {
			return err
		}
	}
	if err := SyncFolder(home); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.Dir, databaseName), filepath.Join(home, databaseName)); err != nil {
		return err
	}
	return SyncFolder(home)
}
