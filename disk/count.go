package disk

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
)

// Count adds up what files take by the blocks they hold, each inode once however
// many names it has, and knows how much of that would come free if the names it
// was given went: an inode with a name elsewhere frees nothing. Where the system
// cannot tell (Windows), sizes stand for blocks and every name for an inode. The
// zero value is ready; a Count is for one goroutine.
type Count struct {
	inodes map[inode]*held
	used   int64
	freed  int64
}

// inode is the identity of a file.
type inode struct{ device, number uint64 }

// held is what one inode takes, and how many of its names were seen.
type held struct {
	bytes       int64
	names, seen uint64
}

// Add counts one name of a file.
func (c *Count) Add(info fs.FileInfo) {
	id, names, bytes, ok := identify(info)
	if !ok || info.IsDir() || names < 2 {
		c.used += bytes
		c.freed += bytes
		return
	}
	if c.inodes == nil {
		c.inodes = map[inode]*held{}
	}
	h := c.inodes[id]
	if h == nil {
		h = &held{bytes: bytes, names: names}
		c.inodes[id] = h
		c.used += bytes
	}
	if h.seen++; h.seen == h.names {
		c.freed += bytes
	}
}

// AddTree counts all below dir, dir included. What vanishes while it looks, or
// was never there, takes nothing.
func (c *Count) AddTree(ctx context.Context, dir string) error {
	return filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				c.Add(info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// Used gives the bytes that the files counted take.
func (c *Count) Used() int64 { return c.used }

// Freed gives the bytes that would come free if every name counted went.
func (c *Count) Freed() int64 { return c.freed }

// Of gives the bytes that all below the folders take.
func Of(ctx context.Context, dirs ...string) (int64, error) {
	var c Count
	for _, dir := range dirs {
		if err := c.AddTree(ctx, dir); err != nil {
			return 0, err
		}
	}
	return c.Used(), nil
}
