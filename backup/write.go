package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/collect"
	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/store"
)

// Source is what a backup is taken of, and how.
type Source struct {
	Home    home.Dir
	Version string // of this program
	// Scratch is a folder of the caller's own, in which the database is copied.
	Scratch string
	// Report is told how many bytes of how many are written; it may be nil.
	Report func(done, total int64)
}

// holdEvery is when the trees are asked for again, so that none is collected
// while files are read for hours.
const holdEvery = artifact.Grace / 6

// Write takes a backup, beside whatever runs. It returns once all of it was
// written; what was written before an error is of no use.
func Write(ctx context.Context, w io.Writer, s Source) (Manifest, error) {
	if _, err := os.Stat(s.Home.Database()); errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, sluice.Errorf(sluice.CodeNotFound, "there is nothing to back up: %s has no database", s.Home).
			WithHint("set SLUICE_HOME to the state directory; `sluice up` makes one")
	}
	artifacts, err := artifact.Open(s.Home.Artifacts())
	if err != nil {
		return Manifest{}, err
	}
	t := &taking{Source: s, artifacts: artifacts}
	if err := t.database(ctx); err != nil {
		return Manifest{}, err
	}
	if err := t.gather(ctx); err != nil {
		return Manifest{}, err
	}
	return t.manifest, t.write(ctx, w)
}

// taking is one backup under way.
type taking struct {
	Source
	artifacts *artifact.Store
	manifest  Manifest
	small     map[string][]byte // the small files and the trees, by their name in the archive
	blobs     map[string]int64  // by digest
	held      time.Time
	readOnly  bool // the disk of the home: nothing can be collected, or held
	done      int64
}

func (t *taking) copied() string { return filepath.Join(t.Scratch, databaseName) }

// database copies the database and holds the trees that the copy needs. Nothing
// can be collected in between.
func (t *taking) database(ctx context.Context) error {
	if t.readOnly = disk.ReadOnly(string(t.Home)); !t.readOnly {
		release, err := t.artifacts.Freeze()
		if err != nil {
			return err
		}
		defer release()
	}
	t.manifest = Manifest{Format: format, Sluice: t.Version, Taken: time.Now().UTC()}
	if err := store.Snapshot(ctx, t.Home.Database(), t.copied()); err != nil {
		return err
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	missing, err := t.hold(ctx)
	if err == nil && missing != "" {
		return sluice.Errorf(sluice.CodeInternal, "uploaded files that the database needs are not in %s: there is no listing %s", t.Home.Artifacts(), missing).
			WithHint("register the model or code again whose files were lost, or delete it; then take the backup again")
	}
	return err
}

// look reads in the copy what it needs.
func (t *taking) look(ctx context.Context) (err error) {
	db, err := store.Open(ctx, t.copied(), store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if t.manifest.Schema, err = db.Schema(ctx); err != nil {
		return err
	}
	if t.manifest.Change, err = db.Latest(ctx); err != nil {
		return err
	}
	t.manifest.Trees, err = collect.Trees(ctx, db)
	return err
}

// hold keeps the trees from being collected for some time, and names one that is
// there no more.
func (t *taking) hold(ctx context.Context) (missing string, err error) {
	for _, tree := range t.manifest.Trees {
		has, err := t.has(ctx, tree)
		if err != nil {
			return "", err
		}
		if !has {
			return tree, nil
		}
	}
	t.held = time.Now()
	return "", nil
}

func (t *taking) has(ctx context.Context, tree string) (bool, error) {
	if !t.readOnly {
		return t.artifacts.HasTree(ctx, tree)
	}
	_, err := t.artifacts.GetTree(ctx, tree)
	if sluice.ErrorCode(err) == sluice.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

// gather reads what is small and sums all up for the manifest.
func (t *taking) gather(ctx context.Context) error {
	t.small, t.blobs = map[string][]byte{}, map[string]int64{}
	for _, name := range append([]string{settingsName}, required...) {
		text, err := readSmall(filepath.Join(string(t.Home), name))
		if errors.Is(err, fs.ErrNotExist) && name == settingsName {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		t.add(File{name, int64(len(text)), sluice.DigestBytes(text)})
		t.small[name] = text
	}
	size, sum, err := sumOf(ctx, t.copied())
	if err != nil {
		return fmt.Errorf("reading the copy of the database: %w", err)
	}
	t.add(File{databaseName, size, sum})
	for _, d := range t.manifest.Trees {
		tree, err := t.artifacts.GetTree(ctx, d)
		if err != nil {
			return err
		}
		text, err := json.Marshal(tree)
		if err != nil {
			return fmt.Errorf("writing a listing: %w", err)
		}
		if sluice.DigestBytes(text) != d {
			return fmt.Errorf("the listing %s is not written as it was read", d)
		}
		t.small[nameOf(treesDir, d)] = text
		t.manifest.Bytes += int64(len(text))
		for _, f := range tree.Files {
			if _, seen := t.blobs[f.Digest]; !seen {
				t.blobs[f.Digest] = f.Size
				t.manifest.Bytes += f.Size
			}
		}
	}
	t.manifest.Blobs = len(t.blobs)
	return nil
}

func (t *taking) add(f File) {
	t.manifest.Files = append(t.manifest.Files, f)
	t.manifest.Bytes += f.Size
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err == nil && len(text) > maxState {
		err = fmt.Errorf("it is larger than %s", sluice.FormatBytes(maxState))
	}
	return text, err
}

func sumOf(ctx context.Context, path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, &stopping{ctx, f})
	return n, digest(sum.Sum(nil)), err
}

// write writes the archive in the order that readers want.
func (t *taking) write(ctx context.Context, w io.Writer) error {
	out := tar.NewWriter(w)
	text, err := json.MarshalIndent(t.manifest, "", " ")
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	if err := t.entry(out, manifestName, int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	t.done = 0 // it is not among the bytes announced
	for _, f := range t.manifest.Files {
		if f.Name != databaseName {
			err = t.entry(out, f.Name, f.Size, bytes.NewReader(t.small[f.Name]))
		} else {
			err = t.file(ctx, out, f)
		}
		if err != nil {
			return err
		}
	}
	for _, d := range t.manifest.Trees {
		name := nameOf(treesDir, d)
		if err := t.entry(out, name, int64(len(t.small[name])), bytes.NewReader(t.small[name])); err != nil {
			return err
		}
	}
	for _, d := range slices.Sorted(maps.Keys(t.blobs)) {
		if err := t.blob(ctx, out, d); err != nil {
			return err
		}
	}
	return written(out.Close())
}

func (t *taking) file(ctx context.Context, out *tar.Writer, f File) error {
	in, err := os.Open(t.copied())
	if err != nil {
		return fmt.Errorf("reading the copy of the database: %w", err)
	}
	defer in.Close()
	return t.entry(out, f.Name, f.Size, &stopping{ctx, in})
}

// blob writes a file and verifies it on the way.
func (t *taking) blob(ctx context.Context, out *tar.Writer, d string) error {
	if time.Since(t.held) > holdEvery {
		missing, err := t.hold(ctx)
		if err == nil && missing != "" {
			err = fmt.Errorf("the listing %s went away while it was backed up", missing)
		}
		if err != nil {
			return err
		}
	}
	in, err := t.artifacts.OpenBlob(ctx, d)
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	if err := t.entry(out, nameOf(blobsDir, d), t.blobs[d], io.TeeReader(&stopping{ctx, in}, sum)); err != nil {
		return err
	}
	if got := digest(sum.Sum(nil)); got != d {
		return fmt.Errorf("the uploaded file %s is damaged: its bytes have digest %s", d, got)
	}
	return nil
}

// entry writes one file of the archive.
func (t *taking) entry(out *tar.Writer, name string, size int64, r io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: t.manifest.Taken.Truncate(time.Second)}
	if err := out.WriteHeader(h); err != nil {
		return written(err)
	}
	n, err := io.Copy(out, &counting{r, func(n int64) {
		t.done += n
		if t.Report != nil {
			t.Report(t.done, t.manifest.Bytes)
		}
	}})
	if err == nil && n != size {
		err = fmt.Errorf("%s has %d bytes and should have %d", name, n, size)
	}
	return written(err)
}

// written says what was being done when the archive could not be written. Where
// is the caller's to say.
func written(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || disk.HasFailed(err) || disk.IsFull(err) {
		return err
	}
	return fmt.Errorf("writing the backup: %w", err)
}

// counting tells how much was read.
type counting struct {
	r    io.Reader
	told func(int64)
}

// Read implements [io.Reader].
func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.told(int64(n))
	}
	return n, err
}

// stopping reads until its context ends.
type stopping struct {
	ctx context.Context
	r   io.Reader
}

// Read implements [io.Reader].
func (s *stopping) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}
