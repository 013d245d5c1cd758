package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// Sweep says what a collection may take.
type Sweep struct {
	// Keep reports whether something needs a tree; nil keeps all.
	Keep func(tree string) bool
	// Leftovers is how long an interrupted upload must have been silent before
	// its parts go; never less than [Grace].
	Leftovers time.Duration
	// OnlyLeftovers takes nothing but what is left of interrupted uploads.
	OnlyLeftovers bool
	// DryRun only counts.
	DryRun bool
}

// Swept is what a collection took, or would take.
type Swept struct {
	Trees   int   // listings of files
	Blobs   int   // files
	Uploads int   // interrupted uploads
	Bytes   int64 // what all of it took on the disk, and nothing else holds
	Later   int64 // bytes that nothing needs either, and that were used too recently
}

// Sweep removes what nothing needs: trees that keep does not want and nobody
// has used for [Grace], then the blobs that no tree has, under the same terms.
// It may run beside everything else: what somebody was told is there stays.
// What fails leaves less removed, and never too much.
func (s *Store) Sweep(ctx context.Context, o Sweep) (Swept, error) {
	c := &collection{store: s, dry: o.DryRun, now: time.Now()}
	if err := c.leftovers(ctx, max(o.Leftovers, Grace)); err != nil {
		return c.result(), fmt.Errorf("collecting uploads: %w", err)
	}
	if o.OnlyLeftovers || o.Keep == nil {
		return c.result(), nil
	}
	gone, err := c.trees(ctx, o.Keep)
	if err != nil {
		return c.result(), fmt.Errorf("collecting trees: %w", err)
	}
	if err := c.blobs(ctx, o.Keep, gone); err != nil {
		return c.result(), fmt.Errorf("collecting blobs: %w", err)
	}
	return c.result(), nil
}

// Usage gives the bytes that the store takes on the disk.
func (s *Store) Usage(ctx context.Context) (int64, error) { return disk.Of(ctx, s.dir) }

// collection is one sweep under way.
type collection struct {
	store *Store
	dry   bool
	now   time.Time
	taken disk.Count
	later disk.Count
	swept Swept
}

func (c *collection) result() Swept {
	c.swept.Bytes, c.swept.Later = c.taken.Freed(), c.later.Freed()
	return c.swept
}

// verdict is what is decided about a tree or a blob.
type verdict int

const (
	keepIt  verdict = iota
	laterIt         // nothing needs it, but somebody may be about to
	takeIt
)

// judge decides about one tree or blob. It is all there is to decide.
func judge(needed bool, use, now time.Time) verdict {
	switch {
	case needed:
		return keepIt
	case !expired(use, now):
		return laterIt
	}
	return takeIt
}

// trees removes the trees that nothing needs, and gives which.
func (c *collection) trees(ctx context.Context, keep func(string) bool) (gone map[string]bool, err error) {
	gone = map[string]bool{}
	err = c.store.each(ctx, "trees", func(digest string, info fs.FileInfo) error {
		if judge(keep(digest), lastUse(info), c.now) != takeIt {
			return nil
		}
		took, err := c.remove(digest, c.store.treePath(digest))
		if took {
			gone[digest] = true
			c.swept.Trees++
		}
		return err
	})
	return gone, err
}

// blobs removes the blobs that no tree has. The trees are listed anew: one
// that came meanwhile has touched its blobs, and one that was asked for
// meanwhile is still there.
func (c *collection) blobs(ctx context.Context, keep func(string) bool, gone map[string]bool) error {
	// Whether a tree that has the blob is needed, or only there for now.
	needed := map[[sha256.Size]byte]bool{}
	err := c.store.each(ctx, "trees", func(digest string, _ fs.FileInfo) error {
		if gone[digest] && c.dry {
			return nil
		}
		t, err := c.store.GetTree(ctx, digest)
		if sluice.ErrorCode(err) == sluice.CodeNotFound { // damaged: nobody can use it
			return nil
		}
		kept := keep(digest)
		for _, f := range t.Files {
			needed[raw(f.Digest)] = needed[raw(f.Digest)] || kept
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.store.each(ctx, "blobs", func(digest string, info fs.FileInfo) error {
		path := c.store.blobPath(digest)
		kept, has := needed[raw(digest)]
		if has && !kept {
			c.later.Add(info)
		}
		switch judge(has, lastUse(info), c.now) {
		case laterIt:
			c.later.Add(info)
			return nil
		case keepIt:
			return nil
		}
		took, err := c.remove(digest, path, path+".x")
		if took {
			c.swept.Blobs++
		}
		return err
	})
}

// raw gives the bytes of a checked digest, of which there may be millions.
func raw(digest string) (sum [sha256.Size]byte) {
	hex.Decode(sum[:], []byte(strings.TrimPrefix(digest, "sha256:")))
	return sum
}

// remove removes the files of one tree or blob, unless somebody has used it
// since it was looked at.
func (c *collection) remove(digest string, paths ...string) (took bool, err error) {
	if !c.dry {
		unlock, err := c.store.lockAlone()
		if err != nil {
			return false, err
		}
		defer unlock()
	}
	for _, path := range paths {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return took, err
		}
		if !took && judge(false, lastUse(info), c.now) != takeIt {
			return false, nil
		}
		if !c.dry {
			if err := os.Remove(path); err != nil {
				return took, fmt.Errorf("removing %s: %w", digest, err)
			}
		}
		c.taken.Add(info)
		took = true
	}
	return took, nil
}

// each calls do with every tree or blob that is there, by digest.
func (s *Store) each(ctx context.Context, kind string, do func(digest string, info fs.FileInfo) error) error {
	folders, err := os.ReadDir(filepath.Join(s.dir, kind))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(s.dir, kind, folder.Name()))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			name, isCopy := strings.CutSuffix(e.Name(), ".x")
			digest := "sha256:" + name
			if sluice.CheckDigest(digest) != nil { // not ours
				continue
			}
			if _, err := os.Lstat(s.path(kind, digest)); isCopy && err == nil {
				continue // it goes with what it is a copy of
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = do(digest, info)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// leftovers removes what interrupted uploads left: parts that have been silent
// for as long as silence, and files that a killed process was writing.
func (c *collection) leftovers(ctx context.Context, silence time.Duration) error {
	entries, err := os.ReadDir(filepath.Join(c.store.dir, "parts"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.staging(ctx, filepath.Join(c.store.dir, "parts", e.Name()), silence); err != nil {
			return err
		}
	}
	if c.dry {
		return nil
	}
	return c.store.sweep(c.now.Add(-staleUpload))
}

func (c *collection) staging(ctx context.Context, dir string, silence time.Duration) error {
	if !c.dry {
		unlock, err := c.store.lockAlone()
		if err != nil {
			return err
		}
		defer unlock()
	}
	info, err := os.Lstat(filepath.Join(dir, "have"))
	if errors.Is(err, fs.ErrNotExist) { // half made, or half removed
		info, err = os.Lstat(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || c.now.Sub(info.ModTime()) < silence {
		return err
	}
	if err := c.taken.AddTree(ctx, dir); err != nil {
		return err
	}
	c.swept.Uploads++
	if c.dry {
		return nil
	}
	return os.RemoveAll(dir)
}
