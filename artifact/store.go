package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// maxTreeBytes bounds the stored listing of a tree.
const maxTreeBytes = 256 << 20

// staleUpload is how old an upload's temporary file must be before [Open]
// takes it for the leftover of a killed process.
const staleUpload = 24 * time.Hour

// Options are what a Store may be given; the zero value will do.
type Options struct {
	// PartSize is how large the parts of large files are; 0 for
	// [DefaultPartSize].
	PartSize int64
	// Admit is asked before bytes that a client sends are written; its error
	// refuses them. What names them to a person. done is called when they have
	// been written, or will not be.
	Admit func(ctx context.Context, what string, bytes int64) (done func(), err error)
	// NextStep says what to do when the disk is full; "" for the usual advice.
	NextStep func(ctx context.Context) string
}

// Store is a store of blobs and trees in one directory of the local disk.
type Store struct {
	dir     string
	options Options
	parts   claims // of files that arrive in parts
}

// Open opens the store in dir and makes it when it is not there.
func Open(dir string) (*Store, error) { return OpenWith(dir, Options{}) }

// OpenWith opens the store in dir with options.
func OpenWith(dir string, o Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening artifact store: %w", err)
	}
	if o.PartSize <= 0 {
		o.PartSize = DefaultPartSize
	}
	s := &Store{dir: abs, options: o}
	for _, d := range []string{"blobs", "trees", "tmp", "parts"} {
		if err := os.MkdirAll(filepath.Join(abs, d), 0o700); err != nil {
			return nil, disk.Explain("the artifact store", abs, fmt.Errorf("opening artifact store: %w", err))
		}
	}
	if err := s.sweep(time.Now().Add(-staleUpload)); err != nil {
		return nil, disk.Explain("the artifact store", abs, fmt.Errorf("opening artifact store: %w", err))
	}
	return s, nil
}

// sweep removes the temporary files of uploads that nobody can be writing any
// more. One that is about to be renamed carries its seal already, so the time
// of last access counts too.
func (s *Store) sweep(before time.Time) error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.ModTime().Before(before) && lastUse(info).Before(before) {
			err = os.Remove(filepath.Join(s.dir, "tmp", e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *Store) blobPath(digest string) string { return s.path("blobs", digest) }
func (s *Store) treePath(digest string) string { return s.path("trees", digest) }

// path gives where a checked digest's file lies.
func (s *Store) path(kind, digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(s.dir, kind, hex[:2], hex)
}

// Missing gives those of digests that the store lacks, in the order given and
// each once. Those that it has stay for [Grace] at least, needed or not.
func (s *Store) Missing(ctx context.Context, digests []string) ([]string, error) {
	unlock, err := s.lockShared()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var missing []string
	seen := make(map[string]bool, len(digests))
	for _, d := range digests {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := sluice.CheckDigest(d); err != nil {
			return nil, err
		}
		if seen[d] {
			continue
		}
		seen[d] = true
		switch err := s.use(ctx, d); {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, d)
		case err != nil:
			return nil, fmt.Errorf("looking for blob %s: %w", d, err)
		}
	}
	return missing, nil
}

// PutBlob reads a blob of size bytes from r and keeps it under digest. It is on
// the disk when PutBlob returns. Bytes that do not have the digest or the size
// are refused ([sluice.CodeInvalid]) and leave nothing behind; a blob that is
// there already is not read again. Concurrent puts of one blob do no harm.
func (s *Store) PutBlob(ctx context.Context, digest string, size int64, r io.Reader) error {
	if err := sluice.CheckDigest(digest); err != nil {
		return err
	}
	if size < 0 {
		return sluice.Errorf(sluice.CodeInvalid, "the size of blob %s is negative", digest)
	}
	if there, err := s.has(ctx, digest, size); there || err != nil {
		return err
	}
	what := fmt.Sprintf("an uploaded file of %d bytes", size)
	done, err := s.admit(ctx, what, size)
	if err != nil {
		return err
	}
	defer done()
	return s.writeFile(ctx, s.blobPath(digest), 0o444, sealTime(digest), what, func(w io.Writer) error {
		return copyVerified(ctx, w, r, digest, size)
	})
}

// has reports whether the blob is there, which keeps it for a while. One of
// another size is refused.
func (s *Store) has(ctx context.Context, digest string, size int64) (bool, error) {
	unlock, err := s.lockShared()
	if err != nil {
		return false, err
	}
	defer unlock()
	switch have, err := s.sound(ctx, digest); {
	case err == nil && have.Size() == size:
		return true, touch(s.blobPath(digest), digest, have)
	case err == nil:
		return false, sluice.Errorf(sluice.CodeInvalid, "blob %s has %d bytes, not %d", digest, have.Size(), size)
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("looking for blob %s: %w", digest, err)
	}
}

// admit refuses bytes for which there is no room.
func (s *Store) admit(ctx context.Context, what string, bytes int64) (done func(), err error) {
	done = func() {}
	if s.options.Admit != nil {
		if done, err = s.options.Admit(ctx, what, bytes); err != nil {
			return nil, err
		}
	}
	if room, ok := disk.At(s.dir); ok && room.Bytes < bytes {
		done()
		return nil, s.diskFull(ctx, what, s.dir)
	}
	return done, nil
}

// copyVerified copies exactly size bytes with the digest from r to w, and
// refuses anything else.
func copyVerified(ctx context.Context, w io.Writer, r io.Reader, digest string, size int64) error {
	sum := sha256.New()
	in := io.LimitReader(&contextReader{ctx, r}, size+1)
	n, err := io.Copy(io.MultiWriter(w, sum), in)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return sluice.Errorf(sluice.CodeInvalid, "the upload of %s broke off after %d of %d bytes", digest, n, size)
	case err != nil:
		return err
	case n < size:
		return sluice.Errorf(sluice.CodeInvalid, "the upload of %s broke off after %d of %d bytes", digest, n, size)
	case n > size:
		return sluice.Errorf(sluice.CodeInvalid, "the upload of %s has more than the %d bytes announced", digest, size)
	}
	if got := digestOf(sum); got != digest {
		return sluice.Errorf(sluice.CodeInvalid, "the bytes uploaded as %s have digest %s", digest, got).
			WithHint("the file changed while it was read, or was damaged on the way: upload it again")
	}
	return nil
}

// writeFile writes a file aside and renames it into place, synced. On any
// error nothing is left. what names it to a person when the disk refuses it.
func (s *Store) writeFile(ctx context.Context, path string, mode fs.FileMode, seal time.Time, what string, write func(io.Writer) error) (err error) {
	defer func() {
		if isDisk(err) {
			err = s.explain(ctx, what, s.dir, err)
		}
	}()
	tmp, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "put-")
	if err != nil {
		return fmt.Errorf("writing to the artifact store: %w", err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if err := write(tmp); err != nil {
		return fmt.Errorf("writing to the artifact store: %w", err)
	}
	if err := tmp.Chmod(mode); err != nil {
		return fmt.Errorf("writing to the artifact store: %w", err)
	}
	if err := os.Chtimes(tmp.Name(), time.Now(), seal); err != nil {
		return fmt.Errorf("writing to the artifact store: %w", err)
	}
	if err := tmp.Sync(); err != nil {
		return fmt.Errorf("writing to the artifact store: %w", err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("writing to the artifact store: %w", err)
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("writing to the artifact store: %w", err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("writing to the artifact store: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// makeFolder makes a folder of blobs or trees last, if it is not there.
func makeFolder(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// sound gives the blob's file when it is there and its seal is whole. One whose
// seal is broken is read: with its digest it is sealed again, without it is
// removed and reported as missing.
func (s *Store) sound(ctx context.Context, digest string) (fs.FileInfo, error) {
	return sealed(ctx, s.blobPath(digest), digest, 0o444)
}

func sealed(ctx context.Context, path, digest string, mode fs.FileMode) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode() == mode && info.ModTime().Equal(sealTime(digest)) {
		return info, nil
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	got, err := fileDigest(ctx, path)
	if err != nil {
		return nil, err
	}
	if got != digest {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing a damaged blob: %w", err)
		}
		return nil, fs.ErrNotExist
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, err
	}
	if err := os.Chtimes(path, time.Now(), sealTime(digest)); err != nil {
		return nil, err
	}
	return info, nil
}

// sealTime gives the time of last change that a whole blob carries. It differs
// between blobs, so that tools which compare times (Python's compiled files do)
// never take one content for another at the same path.
func sealTime(digest string) time.Time {
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:")[:8])
	if err != nil {
		panic("artifact: sealTime of an unchecked digest: " + err.Error())
	}
	const twentyYears = 20 * 365 * 24 * 3600
	start := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	return time.Unix(start+int64(binary.BigEndian.Uint32(raw)%twentyYears), 0)
}

// OpenBlob opens a blob for reading; the caller closes it. A blob that is not
// there is [sluice.CodeNotFound].
func (s *Store) OpenBlob(ctx context.Context, digest string) (io.ReadCloser, error) {
	if err := sluice.CheckDigest(digest); err != nil {
		return nil, err
	}
	if _, err := s.sound(ctx, digest); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, sluice.Errorf(sluice.CodeNotFound, "there is no blob %s", digest)
		}
		return nil, fmt.Errorf("opening blob %s: %w", digest, err)
	}
	f, err := os.Open(s.blobPath(digest))
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", digest, err)
	}
	return f, nil
}

// PutTree keeps a tree and gives its digest. A tree that could do harm
// ([sluice.Tree.Check]) or whose blobs are not all there with the sizes it
// names is refused. It stays for [Grace] at least, with all its blobs.
func (s *Store) PutTree(ctx context.Context, t sluice.Tree) (string, error) {
	if err := t.Check(); err != nil {
		return "", err
	}
	text, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("writing tree: %w", err)
	}
	done, err := s.admit(ctx, "a listing of files", int64(len(text)))
	if err != nil {
		return "", err
	}
	defer done()
	unlock, err := s.lockShared()
	if err != nil {
		return "", err
	}
	defer unlock()
	digest := sluice.DigestBytes(text)
	for _, f := range t.Files {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		switch have, err := s.sound(ctx, f.Digest); {
		case errors.Is(err, fs.ErrNotExist):
			return "", sluice.Errorf(sluice.CodeInvalid, "file %q has not been uploaded: there is no blob %s", f.Path, f.Digest)
		case err != nil:
			return "", fmt.Errorf("looking for blob %s: %w", f.Digest, err)
		case have.Size() != f.Size:
			return "", sluice.Errorf(sluice.CodeInvalid, "file %q has %d bytes, not %d", f.Path, have.Size(), f.Size)
		default:
			if err := touch(s.blobPath(f.Digest), f.Digest, have); err != nil {
				return "", err
			}
		}
	}
	if has, err := s.useTree(ctx, digest); err != nil || has {
		return digest, err
	}
	err = s.writeFile(ctx, s.treePath(digest), 0o444, sealTime(digest), "a listing of files", func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	return digest, err
}

// HasTree reports whether the tree is there. If so it stays for [Grace] at
// least, needed or not, with all its blobs: long enough to register it.
func (s *Store) HasTree(ctx context.Context, digest string) (bool, error) {
	if err := sluice.CheckDigest(digest); err != nil {
		return false, err
	}
	unlock, err := s.lockShared()
	if err != nil {
		return false, err
	}
	defer unlock()
	return s.useTree(ctx, digest)
}

// soundTree gives the tree's file, fs.ErrNotExist when there is none that is
// whole.
func (s *Store) soundTree(ctx context.Context, digest string) (fs.FileInfo, error) {
	return sealed(ctx, s.treePath(digest), digest, 0o444)
}

// GetTree gives a tree. One that is not there is [sluice.CodeNotFound].
func (s *Store) GetTree(ctx context.Context, digest string) (sluice.Tree, error) {
	var t sluice.Tree
	if err := sluice.CheckDigest(digest); err != nil {
		return t, err
	}
	if _, err := s.soundTree(ctx, digest); errors.Is(err, fs.ErrNotExist) {
		return t, sluice.Errorf(sluice.CodeNotFound, "there is no tree %s", digest)
	} else if err != nil {
		return t, fmt.Errorf("looking for tree %s: %w", digest, err)
	}
	f, err := openUnused(s.treePath(digest))
	if err != nil {
		return t, fmt.Errorf("reading tree %s: %w", digest, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTreeBytes))
	if err != nil {
		return t, fmt.Errorf("reading tree %s: %w", digest, err)
	}
	if sluice.DigestBytes(text) != digest {
		return t, fmt.Errorf("reading tree %s: the listing is damaged", digest)
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return t, fmt.Errorf("reading tree %s: %w", digest, err)
	}
	return t, t.Check()
}

// fileDigest reads a file and gives its digest.
func fileDigest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, &contextReader{ctx, f}); err != nil {
		return "", err
	}
	return digestOf(sum), nil
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// contextReader stops between two reads when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
