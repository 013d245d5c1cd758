package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
)

// childSteps makes this program take every step of a store in that folder.
const childSteps = "SLUICE_TEST_STEPS"

// stepsByThemselves is everySteps for a process: it prints the code of the cause
// that ends it, and the error.
func stepsByThemselves(dir string) int {
	err := everyStep(context.Background(), dir)
	if err == nil {
		return 0
	}
	code := sluice.CauseCode("unknown")
	if c, ok := errors.AsType[*sluice.Cause](err); ok {
		code = c.Code
	}
	fmt.Println(code, err)
	return 1
}

// everyStep uploads a file at once and one in parts, keeps a tree of both,
// places it and collects another. It may be done again at any time.
func everyStep(ctx context.Context, dir string) error {
	s, err := artifact.OpenWith(filepath.Join(dir, "artifacts"), artifact.Options{PartSize: partSize})
	if err != nil {
		return err
	}
	content, l := largeFile()
	if err := s.PutBlob(ctx, sluice.DigestBytes(some), int64(len(some)), bytes.NewReader(some)); err != nil {
		return err
	}
	for n := 0; n*partSize < len(content); n++ {
		text := content[n*partSize : min((n+1)*partSize, len(content))]
		sum, err := artifact.Checksum(bytes.NewReader(text))
		if err == nil {
			err = s.PutPart(ctx, l, n, int64(len(text)), sum, bytes.NewReader(text))
		}
		if err != nil {
			return err
		}
	}
	if err := s.Join(ctx, l); err != nil {
		return err
	}
	tree, err := s.PutTree(ctx, wholeOf(l))
	if err != nil {
		return err
	}
	return s.Materialize(ctx, tree, filepath.Join(dir, "placed", "x"))
}

// wholeOf is the tree that everyStep keeps.
func wholeOf(l sluice.LargeFile) sluice.Tree {
	return sluice.Tree{Files: []sluice.TreeFile{
		{Path: "large", Size: l.Size, Digest: l.Digest},
		{Path: "sub/some", Size: int64(len(some)), Digest: sluice.DigestBytes(some), Executable: true},
	}}
}

// whole checks that what can be seen in a store, and of what it has placed, is
// whole, and reads it without the store's help.
func whole(dir string) error {
	_, l := largeFile()
	for _, f := range wholeOf(l).Files {
		for _, path := range []string{blobFile(dir, f.Digest), filepath.Join(dir, "placed", "x", f.Path)} {
			in, err := os.Open(path)
			if errors.Is(err, os.ErrNotExist) {
				if _, placed := os.Stat(filepath.Join(dir, "placed", "x")); placed == nil {
					return fmt.Errorf("the tree is placed without %s", path)
				}
				continue
			}
			if err != nil {
				return err
			}
			text, err := io.ReadAll(in)
			in.Close()
			if err != nil || sluice.DigestBytes(text) != f.Digest {
				return fmt.Errorf("%s holds %d other bytes, %v", path, len(text), err)
			}
		}
	}
	return nil
}

func blobFile(dir, digest string) string {
	hex := digest[len("sha256:"):]
	return filepath.Join(dir, "artifacts", "blobs", hex[:2], hex)
}
