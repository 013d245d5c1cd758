package artifact

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sluice-ml/sluice"
)

// Materialize places a tree's files as the folder dir: files read-only (0444,
// executables 0555), folders 0755. The folder is built aside and renamed, so
// dir is either whole or not there. A dir that already holds the files is left
// alone; one that holds something else is replaced. What else has appeared in
// it since (caches a program wrote) does not count as damage.
//
// Files are reflinked or linked to the store where the file system allows it,
// else copied. Sizes and seals are always checked, digests whenever bytes are
// read.
func (s *Store) Materialize(ctx context.Context, treeDigest, dir string) error {
	t, err := s.GetTree(ctx, treeDigest)
	if err != nil {
		return err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("placing files: %w", err)
	}
	if holds(dir, t) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return s.placing(ctx, dir, err)
	}
	aside := besides(dir, "new")
	defer removeAll(aside)
	if err := s.build(ctx, t, aside); err != nil {
		return s.placing(ctx, dir, err)
	}
	return s.placing(ctx, dir, swap(aside, dir, t))
}

func (s *Store) placing(ctx context.Context, dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case isDisk(err):
		return s.explain(ctx, "model and code files", dir, err)
	}
	return fmt.Errorf("placing files in %s: %w", dir, err)
}

// swap renames aside to dir. Another Materialize of the same tree may have won.
func swap(aside, dir string, t sluice.Tree) error {
	err := os.Rename(aside, dir)
	if err == nil {
		return syncDir(filepath.Dir(dir))
	}
	if _, statErr := os.Lstat(dir); statErr != nil {
		return err
	}
	if holds(dir, t) {
		return nil
	}
	old := besides(dir, "old")
	defer removeAll(old)
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(aside, dir); err != nil && !holds(dir, t) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// besides gives a name next to dir that nobody else uses.
func besides(dir, what string) string {
	var b [6]byte
	rand.Read(b[:])
	return filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+"."+what+"-"+hex.EncodeToString(b[:]))
}

// removeAll removes a folder of ours. What cannot be removed stays under a
// name that is never looked at.
func removeAll(dir string) { _ = os.RemoveAll(dir) }

// holds reports whether dir has every file of the tree as we would place it.
// It follows no link.
func holds(dir string, t sluice.Tree) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	folders := map[string]bool{".": true}
	for _, f := range t.Files {
		if !realFolder(dir, filepath.Dir(filepath.FromSlash(f.Path)), folders) {
			return false
		}
		info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil || !info.Mode().IsRegular() || info.Size() != f.Size ||
			info.Mode().Perm() != placedMode(f) || !info.ModTime().Equal(sealTime(f.Digest)) {
			return false
		}
	}
	return true
}

// realFolder reports whether rel and all folders above it, up to dir, are
// folders and not links. known remembers those found so.
func realFolder(dir, rel string, known map[string]bool) bool {
	if known[rel] {
		return true
	}
	if !realFolder(dir, filepath.Dir(rel), known) {
		return false
	}
	info, err := os.Lstat(filepath.Join(dir, rel))
	if err != nil || !info.IsDir() {
		return false
	}
	known[rel] = true
	return true
}

func placedMode(f sluice.TreeFile) fs.FileMode {
	if f.Executable {
		return 0o555
	}
	return 0o444
}

// build makes the folder dir, which must not exist, with the tree's files. The
// tree has been checked, and nobody else knows the name, so no path can lead
// out of dir.
func (s *Store) build(ctx context.Context, t sluice.Tree, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	p := placer{store: s}
	made := map[string]bool{".": true}
	for _, f := range t.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		rel := filepath.FromSlash(f.Path)
		if parent := filepath.Dir(rel); !made[parent] {
			if err := os.MkdirAll(filepath.Join(dir, parent), 0o755); err != nil {
				return err
			}
			made[parent] = true
		}
		if err := p.place(ctx, f, filepath.Join(dir, rel)); err != nil {
			return fmt.Errorf("placing %s: %w", f.Path, err)
		}
	}
	return openFolders(dir, made)
}

// openFolders gives the folders their mode whatever the umask is.
func openFolders(dir string, rels map[string]bool) error {
	done := map[string]bool{}
	for rel := range rels {
		for ; !done[rel]; rel = filepath.Dir(rel) {
			if err := os.Chmod(filepath.Join(dir, rel), 0o755); err != nil {
				return err
			}
			done[rel] = true
		}
	}
	return nil
}

// placer places the files of one tree, and remembers what the file system
// cannot do.
type placer struct {
	store           *Store
	noClone, noLink bool
}

func (p *placer) place(ctx context.Context, f sluice.TreeFile, to string) error {
	info, err := p.store.sound(ctx, f.Digest)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return sluice.Errorf(sluice.CodeNotFound, "the bytes of %s are gone or damaged", f.Path).
				WithHint("register the model or the code again")
		}
		return err
	}
	if info.Size() != f.Size {
		return sluice.Errorf(sluice.CodeInvalid, "%s has %d bytes, not %d", f.Path, info.Size(), f.Size)
	}
	if !p.noClone {
		if err := p.copy(ctx, f, to, true); err == nil {
			return nil
		} else if isDisk(err) {
			return err
		}
		p.noClone = true
	}
	if !p.noLink {
		err := p.link(ctx, f, to)
		if err == nil || isDisk(err) {
			return err
		}
		// Another file system, or too many links: only the former is so for
		// every file, but a copy is right in both cases.
		p.noLink = true
	}
	return p.copy(ctx, f, to, false)
}

// link places a second name for the blob.
func (p *placer) link(ctx context.Context, f sluice.TreeFile, to string) error {
	from := p.store.blobPath(f.Digest)
	if f.Executable {
		from += ".x"
		_, err := sealed(ctx, from, f.Digest, 0o555)
		if errors.Is(err, fs.ErrNotExist) {
			err = p.makeExecutable(ctx, f, from)
		}
		if err != nil {
			return err
		}
	}
	return os.Link(from, to)
}

// makeExecutable keeps a copy of a blob that may be run: a mode belongs to the
// inode, so the two cannot share one.
func (p *placer) makeExecutable(ctx context.Context, f sluice.TreeFile, path string) error {
	src, err := os.Open(p.store.blobPath(f.Digest))
	if err != nil {
		return err
	}
	defer src.Close()
	return p.store.writeFile(ctx, path, 0o555, sealTime(f.Digest), "an executable file", func(w io.Writer) error {
		return copyVerified(ctx, w, src, f.Digest, f.Size)
	})
}

// copy places the blob's bytes in a file of their own: by reflink only, or by
// reading and verifying them.
func (p *placer) copy(ctx context.Context, f sluice.TreeFile, to string, cloneOnly bool) (err error) {
	src, err := os.Open(p.store.blobPath(f.Digest))
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		dst.Close()
		if err != nil {
			err = errors.Join(err, os.Remove(to)) // what stays is in the way of whoever copies next
		}
	}()
	if cloneOnly {
		err = clone(dst, src)
	} else {
		err = copyVerified(ctx, dst, src, f.Digest, f.Size)
	}
	if err != nil {
		return err
	}
	if err := dst.Chmod(placedMode(f)); err != nil {
		return err
	}
	if err := dst.Close(); err != nil {
		return err
	}
	return os.Chtimes(to, sealTime(f.Digest), sealTime(f.Digest))
}
