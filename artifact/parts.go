package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

const (
	// DefaultPartSize is how large the parts of a large file are, in bytes.
	DefaultPartSize = 32 << 20
	// maxParts bounds a file that arrives in parts: a tebibyte.
	maxParts = 1 << 15
	// maxUnderWay bounds how many files arrive in parts at once.
	maxUnderWay = 1000
)

// PartSize gives how large parts are, in bytes.
func (s *Store) PartSize() int64 { return s.options.PartSize }

// count gives of how many parts the file is, checked.
func (s *Store) count(l sluice.LargeFile) (int, error) {
	if err := sluice.CheckDigest(l.Digest); err != nil {
		return 0, err
	}
	size := s.options.PartSize
	switch {
	case l.Size <= 0:
		return 0, sluice.Errorf(sluice.CodeInvalid, "a file of %d bytes has no parts", l.Size)
	case l.Size > maxParts*size:
		return 0, sluice.Errorf(sluice.CodeTooLarge, "the file has %d bytes: at most %d can be uploaded", l.Size, maxParts*size)
	}
	return int((l.Size + size - 1) / size), nil
}

// staging is where the parts of one file gather:
//
//	data   the file, with holes where parts are missing
//	have   a line with the number of each part that is there, synced after it
func (s *Store) staging(l sluice.LargeFile) string {
	text, err := json.Marshal([]any{strings.ToLower(l.Scope), l.Digest, l.Size, s.options.PartSize})
	if err != nil {
		panic("artifact: a list of plain values always marshals: " + err.Error())
	}
	return filepath.Join(s.dir, "parts", strings.TrimPrefix(sluice.DigestBytes(text), "sha256:")[:32])
}

// Parts gives the numbers of the parts that have arrived, in order. They stay
// for [Grace] at least.
func (s *Store) Parts(_ context.Context, l sluice.LargeFile) ([]int, error) {
	count, err := s.count(l)
	if err != nil {
		return nil, err
	}
	unlock, err := s.lockShared()
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := s.staging(l)
	have, err := readParts(dir, count)
	if err != nil || len(have) == 0 {
		return nil, err
	}
	now := time.Now()
	if err := os.Chtimes(filepath.Join(dir, "have"), now, now); err != nil {
		return nil, fmt.Errorf("noting the use of parts of %s: %w", l.Digest, err)
	}
	return have, nil
}

// readParts reads which parts are there. A line that was cut off by a crash
// counts for nothing.
func readParts(dir string, count int) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "have"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading which parts are there: %w", err)
	}
	var have []int
	for line := range strings.Lines(string(text)) {
		number, whole := strings.CutSuffix(strings.TrimSuffix(line, "\n"), endOfPart)
		if n, err := strconv.Atoi(number); err == nil && whole && n >= 0 && n < count {
			have = append(have, n)
		}
	}
	slices.Sort(have)
	return slices.Compact(have), nil
}

// PutPart reads part number n, from 0, of exactly length bytes with the
// checksum (CRC-32C). It is on the disk when PutPart returns, and counts from
// then on whatever is killed. One that is there already is not read again; one
// that another caller is just sending is waited for. The digest of the whole
// is checked by [Store.Join].
func (s *Store) PutPart(ctx context.Context, l sluice.LargeFile, n int, length int64, sum uint32, r io.Reader) error {
	count, err := s.count(l)
	if err != nil {
		return err
	}
	if n < 0 || n >= count {
		return sluice.Errorf(sluice.CodeInvalid, "part %d: the file has parts 0 to %d", n, count-1)
	}
	start := int64(n) * s.options.PartSize
	if want := min(s.options.PartSize, l.Size-start); length != want {
		return sluice.Errorf(sluice.CodeInvalid, "part %d has %d bytes, not %d", n, want, length)
	}
	dir := s.staging(l)
	release, err := s.parts.claim(ctx, fmt.Sprint(dir, "/", n))
	if err != nil {
		return err
	}
	defer release()
	have, err := readParts(dir, count)
	if err != nil || slices.Contains(have, n) {
		return err
	}
	// In this order: what was joined meanwhile is found as a blob.
	if there, err := s.has(ctx, l.Digest, l.Size); there || err != nil {
		return err
	}
	what := fmt.Sprintf("part %d of an uploaded file of %d bytes", n+1, l.Size)
	done, err := s.admit(ctx, what, length)
	if err != nil {
		return err
	}
	defer done()
	err = s.writePart(ctx, dir, n, start, length, sum, r)
	switch {
	case isDisk(err):
		return s.explain(ctx, what, s.dir, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return sluice.Errorf(sluice.CodeInvalid, "part %d broke off", n)
	case errors.Is(err, fs.ErrNotExist):
		// The parts went: the whole has come by another way, or they were
		// collected.
		if there, err := s.has(ctx, l.Digest, l.Size); there || err != nil {
			return err
		}
		return sluice.Errorf(sluice.CodeBusy, "the parts of %s were removed while part %d arrived", l.Digest, n).
			WithHint("upload it again")
	case err != nil:
		return fmt.Errorf("writing part %d of %s: %w", n, l.Digest, err)
	}
	return nil
}

func (s *Store) writePart(ctx context.Context, dir string, n int, start, length int64, sum uint32, r io.Reader) error {
	if err := s.openStaging(dir); err != nil {
		return err
	}
	data, err := os.OpenFile(filepath.Join(dir, "data"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer data.Close()
	got := crc32.New(castagnoli)
	in := io.LimitReader(&contextReader{ctx, r}, length+1)
	// Not more than the part is ever written: what follows it is another's.
	copied, err := io.Copy(io.MultiWriter(io.NewOffsetWriter(data, start), got), io.LimitReader(in, length))
	if err != nil {
		return err
	}
	if copied < length {
		return sluice.Errorf(sluice.CodeInvalid, "part %d broke off after %d of %d bytes", n, copied, length)
	}
	if more, _ := in.Read(make([]byte, 1)); more > 0 {
		return sluice.Errorf(sluice.CodeInvalid, "part %d has more than the %d bytes announced", n, length)
	}
	if got.Sum32() != sum {
		return sluice.Errorf(sluice.CodeInvalid, "the bytes of part %d do not have the checksum announced", n).
			WithHint("the file changed while it was read, or was damaged on the way: upload it again")
	}
	if err := data.Sync(); err != nil {
		return err
	}
	return appendTo(filepath.Join(dir, "have"), os.O_APPEND, "\n"+strconv.Itoa(n)+endOfPart+"\n")
}

// endOfPart ends a whole line of the list of parts. The line begins on a new
// one, whatever a crash left of the line before.
const endOfPart = "."

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum gives the checksum that a part is sent with.
func Checksum(r io.Reader) (uint32, error) {
	sum := crc32.New(castagnoli)
	_, err := io.Copy(sum, r)
	return sum.Sum32(), err
}

// openStaging makes the folder of a file's parts, or notes that it is in use.
func (s *Store) openStaging(dir string) error {
	unlock, err := s.lockShared()
	if err != nil {
		return err
	}
	defer unlock()
	now := time.Now()
	err = os.Chtimes(filepath.Join(dir, "have"), now, now)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return err
	}
	if len(entries) >= maxUnderWay {
		return sluice.Errorf(sluice.CodeBusy, "%d large files are being uploaded, and that is the most at once", len(entries)).
			WithHint("wait until some have arrived; what is left of interrupted uploads goes after a day, or with `sluice prune`")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return appendTo(filepath.Join(dir, "have"), os.O_CREATE, "")
}

func appendTo(path string, mode int, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|mode, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}

// Join makes a blob of the parts, all of which must be there. Bytes that do
// not have the file's digest are refused ([sluice.CodeInvalid]), and its parts
// are gone then.
func (s *Store) Join(ctx context.Context, l sluice.LargeFile) error {
	count, err := s.count(l)
	if err != nil {
		return err
	}
	dir := s.staging(l)
	release, err := s.parts.claim(ctx, dir)
	if err != nil {
		return err
	}
	defer release()
	if there, err := s.has(ctx, l.Digest, l.Size); there || err != nil {
		removeAll(dir)
		return err
	}
	have, err := readParts(dir, count)
	if err != nil {
		return err
	}
	if len(have) < count {
		return sluice.Errorf(sluice.CodeInvalid, "%d of the %d parts of %s have not arrived", count-len(have), count, l.Digest)
	}
	data := filepath.Join(dir, "data")
	got, err := fileDigest(ctx, data)
	if err != nil {
		return fmt.Errorf("checking the parts of %s: %w", l.Digest, err)
	}
	if info, err := os.Stat(data); err != nil || got != l.Digest || info.Size() != l.Size {
		removeAll(dir)
		return sluice.Errorf(sluice.CodeInvalid, "the bytes uploaded as %s have digest %s", l.Digest, got).
			WithHint("the file changed while it was read, or was damaged on the way: upload it again")
	}
	if err := s.adopt(data, l.Digest); err != nil {
		return s.explain(ctx, fmt.Sprintf("an uploaded file of %d bytes", l.Size), s.dir, fmt.Errorf("joining the parts of %s: %w", l.Digest, err))
	}
	removeAll(dir)
	return nil
}

// adopt makes a checked file a blob.
func (s *Store) adopt(path, digest string) error {
	if err := os.Chmod(path, 0o444); err != nil {
		return err
	}
	if err := os.Chtimes(path, time.Now(), sealTime(digest)); err != nil {
		return err
	}
	if err := syncFile(path); err != nil {
		return err
	}
	to := s.blobPath(digest)
	if err := makeFolder(filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Rename(path, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
