package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/sluice-ml/sluice"
)

// Sink takes what is in an archive. What it was given is not verified before
// Read has returned without an error. An error of its own ends the reading.
type Sink interface {
	// Begin comes first.
	Begin(m Manifest) error
	// File is one of the manifest's files. It reads to the end.
	File(ctx context.Context, f File, r io.Reader) error
	// Blob is an uploaded file. It reads to the end.
	Blob(ctx context.Context, digest string, size int64, r io.Reader) error
	// Tree is a listing; its blobs came before.
	Tree(ctx context.Context, digest string, t sluice.Tree) error
}

// Read reads an archive, verifies all of it and gives it to a sink.
func Read(ctx context.Context, r io.Reader, into Sink) (Manifest, error) {
	a := &reading{in: tar.NewReader(&stopping{ctx, r}), sink: into, trees: map[string]sluice.Tree{}, blobs: map[string]int64{}, got: map[string]bool{}}
	if err := a.begin(); err != nil {
		return a.manifest, err
	}
	for {
		h, err := a.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = a.entry(ctx, h)
		}
		if err != nil {
			return a.manifest, err
		}
	}
	return a.manifest, a.end(ctx)
}

// reading is one archive while it is read.
type reading struct {
	in       *tar.Reader
	sink     Sink
	manifest Manifest
	trees    map[string]sluice.Tree // that came, by digest
	blobs    map[string]int64       // that they announce: sizes by digest
	got      map[string]bool        // entries that came, by name
	left     int64                  // bytes that are announced and did not come yet
}

// next gives the next entry, which is a plain file.
func (a *reading) next() (*tar.Header, error) {
	h, err := a.in.Next()
	switch {
	case err == io.EOF:
		return nil, err
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return nil, err
	case err != nil:
		return nil, damaged("it is no archive of Sluice's, or is cut off (%w)", err)
	}
	if h.Typeflag != tar.TypeReg || h.Linkname != "" {
		return nil, damaged("%.80q in it is not a plain file", h.Name)
	}
	if a.got[h.Name] {
		return nil, damaged("%.80q stands in it twice", h.Name)
	}
	a.got[h.Name] = true
	return h, nil
}

func (a *reading) begin() error {
	h, err := a.next()
	if err == io.EOF {
		return damaged("it is empty")
	}
	if err != nil {
		return err
	}
	if h.Name != manifestName {
		return damaged("it begins with %.80q and not with %s", h.Name, manifestName)
	}
	text, err := a.small(h, maxManifest)
	if err != nil {
		return err
	}
	if a.manifest, err = parseManifest(text); err != nil {
		return err
	}
	a.left = a.manifest.Bytes
	return a.sink.Begin(a.manifest)
}

// small reads an entry that is kept in memory.
func (a *reading) small(h *tar.Header, most int64) ([]byte, error) {
	if h.Size > most {
		return nil, damaged("%s in it has %d bytes, and may have %d", h.Name, h.Size, most)
	}
	text, err := io.ReadAll(io.LimitReader(a.in, most))
	if err != nil {
		return nil, a.broken(h.Name, err)
	}
	return text, nil
}

func (a *reading) broken(name string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it is cut off in the middle of %s", name)
	}
	return err
}

func (a *reading) entry(ctx context.Context, h *tar.Header) error {
	if i := slices.IndexFunc(a.manifest.Files, func(f File) bool { return f.Name == h.Name }); i >= 0 {
		f := a.manifest.Files[i]
		return a.verified(h, f.Size, f.Digest, func(r io.Reader) error { return a.sink.File(ctx, f, r) })
	}
	if d, ok := digestOf(h.Name, treesDir); ok {
		if _, announced := slices.BinarySearch(a.manifest.Trees, d); announced {
			return a.tree(h, d)
		}
	}
	if d, ok := digestOf(h.Name, blobsDir); ok {
		if size, announced := a.blobs[d]; announced {
			return a.verified(h, size, d, func(r io.Reader) error { return a.sink.Blob(ctx, d, size, r) })
		}
	}
	return damaged("it holds %.80q, which belongs in no backup, or not in this one", h.Name)
}

// count refuses an entry beyond the bytes that were announced, for which room was
// found: few bytes can stand for many.
func (a *reading) count(h *tar.Header) error {
	if a.left -= h.Size; a.left < 0 {
		return damaged("there is more in it than the %d bytes announced", a.manifest.Bytes)
	}
	return nil
}

// verified has do read an entry to its end, which must be as announced.
func (a *reading) verified(h *tar.Header, size int64, want string, do func(io.Reader) error) error {
	if h.Size != size {
		return damaged("%s in it has %d bytes, and %d were announced", h.Name, h.Size, size)
	}
	if err := a.count(h); err != nil {
		return err
	}
	sum := sha256.New()
	in := &failing{r: io.TeeReader(a.in, sum)}
	err := do(in)
	if in.err != nil {
		return a.broken(h.Name, in.err)
	}
	// First: a sink that looks for itself has another way to say so.
	if got := digest(sum.Sum(nil)); got != want && (err == nil || in.read == size) {
		return damaged("%s in it is damaged: it has digest %s", h.Name, got)
	}
	return err
}

func (a *reading) tree(h *tar.Header, want string) error {
	if err := a.count(h); err != nil {
		return err
	}
	text, err := a.small(h, maxTree)
	if err != nil {
		return err
	}
	if got := sluice.DigestBytes(text); got != want {
		return damaged("%s in it is damaged: it has digest %s", h.Name, got)
	}
	var t sluice.Tree
	if err := json.Unmarshal(text, &t); err != nil {
		return damaged("%s in it does not parse", h.Name)
	}
	if err := t.Check(); err != nil {
		return damaged("%s in it: %w", h.Name, err)
	}
	for _, f := range t.Files {
		if size, seen := a.blobs[f.Digest]; seen && size != f.Size {
			return damaged("%s is listed in it with %d and with %d bytes", f.Digest, size, f.Size)
		}
		a.blobs[f.Digest] = f.Size
	}
	if len(a.blobs) > a.manifest.Blobs {
		return damaged("more files are listed in it than the %d announced", a.manifest.Blobs)
	}
	a.trees[want] = t
	return nil
}

// end checks that everything came, and gives the trees away.
func (a *reading) end(ctx context.Context) error {
	for _, f := range a.manifest.Files {
		if !a.got[f.Name] {
			return damaged("it is cut off: %s is not in it", f.Name)
		}
	}
	for _, d := range a.manifest.Trees {
		if !a.got[nameOf(treesDir, d)] {
			return damaged("it is cut off: the listing %s is not in it", d)
		}
	}
	missing := 0
	for _, d := range slices.Sorted(maps.Keys(a.blobs)) {
		if !a.got[nameOf(blobsDir, d)] {
			missing++
		}
	}
	if missing > 0 || len(a.blobs) != a.manifest.Blobs {
		return damaged("it is cut off: %d of %d uploaded files are not in it", max(missing, a.manifest.Blobs-len(a.blobs)), a.manifest.Blobs)
	}
	for _, d := range a.manifest.Trees {
		if err := a.sink.Tree(ctx, d, a.trees[d]); err != nil {
			return fmt.Errorf("keeping the listing %s: %w", d, err)
		}
	}
	return nil
}

// failing remembers the error of the archive, which its reader may have worded
// anew, and how much was read.
type failing struct {
	r    io.Reader
	read int64
	err  error
}

// Read implements [io.Reader].
func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.read += int64(n)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}
