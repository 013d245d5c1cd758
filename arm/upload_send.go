package arm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-ml/sluice"
)

// uploadWorkers is how many files, or parts of files, are on the way at once.
const uploadWorkers = 4

// upload is one [Client.Upload] under way.
type upload struct {
	client   *Client
	at       *url.URL // signed
	missing  MissingBlobs
	open     func(path string) (io.ReadCloser, error)
	notice   func(string)
	checking func(path string, done bool)
	count    counter

	slots  chan struct{} // one for each request on the way
	ctx    context.Context
	cancel context.CancelCauseFunc
	going  sync.WaitGroup

	mu     sync.Mutex
	failed error // the first failure; guarded by mu
}

// send sends the files. After a failure nothing new is begun; parts that are on
// the way may arrive, so that they need not be sent again.
func (u *upload) send(ctx context.Context, files []sluice.TreeFile) error {
	u.slots = make(chan struct{}, uploadWorkers)
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	defer u.cancel(nil)
	for _, f := range files {
		u.count.total += f.Size
		u.count.done += u.have(f)
	}
	u.count.add(0)
	for _, f := range files {
		if !u.begin(func() error { return u.sendFile(f) }) {
			break
		}
	}
	u.going.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed == nil {
		return context.Cause(u.ctx)
	}
	return u.failed
}

// begin runs do when there is a slot. It gives false, and does not, once
// something has failed.
func (u *upload) begin(do func() error) bool {
	select {
	case u.slots <- struct{}{}:
	case <-u.ctx.Done():
		u.fail(context.Cause(u.ctx))
	}
	if u.hasFailed() {
		return false
	}
	u.going.Go(func() {
		defer func() { <-u.slots }()
		if err := do(); err != nil {
			u.fail(err)
		}
	})
	return true
}

func (u *upload) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed == nil {
		u.failed = err
	}
	if u.missing.PartSize == 0 { // what is on the way may be endless
		u.cancel(u.failed)
	}
}

func (u *upload) hasFailed() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed != nil
}

func (u *upload) large(f sluice.TreeFile) bool {
	return u.missing.PartSize > 0 && f.Size > u.missing.PartSize
}

// have gives the bytes of a file that the server has.
func (u *upload) have(f sluice.TreeFile) (bytes int64) {
	if !u.large(f) {
		return 0
	}
	for _, n := range u.missing.Parts[f.Digest] {
		bytes += u.length(f, n)
	}
	return bytes
}

// length gives the bytes of one part.
func (u *upload) length(f sluice.TreeFile, n int) int64 {
	return max(0, min(u.missing.PartSize, f.Size-int64(n)*u.missing.PartSize))
}

func (u *upload) sendFile(f sluice.TreeFile) error {
	file, err := u.open(f.Path)
	if err != nil {
		return fmt.Errorf("uploading %s: %w", f.Path, err)
	}
	if !u.large(f) {
		defer file.Close()
		return u.put(f.Path, u.at.JoinPath("blobs", f.Digest), file, f.Size)
	}
	at, ok := file.(io.ReaderAt)
	if !ok {
		defer file.Close()
		return u.stream(f, file)
	}
	// The parts take slots of their own, while this file gives its back.
	u.going.Go(func() {
		defer file.Close()
		if err := u.spread(f, at); err != nil {
			u.fail(err)
		}
	})
	return nil
}

// put sends size bytes of a file. What was not read because the server has it
// counts as sent, what was read in vain does not.
func (u *upload) put(path string, to *url.URL, r io.Reader, size int64) error {
	counted := &counted{Reader: r, count: &u.count}
	_, err := u.client.send(u.ctx, request{method: http.MethodPut, url: to, stream: counted, size: size, open: true}, nil)
	if err == nil {
		u.count.add(size - counted.end())
		return nil
	}
	u.count.add(-counted.end())
	return aboutFile(path, err)
}

// aboutFile names the file that an upload failed for.
func aboutFile(path string, err error) error {
	// A file that was cut short while it was sent is the file's fault.
	if strings.Contains(err.Error(), "ContentLength=") {
		return sluice.Errorf(sluice.CodeInvalid, "%s changed while it was uploaded", path)
	}
	if e, ok := errors.AsType[*sluice.Error](err); ok && e.Code == sluice.CodeInvalid && e.Cause == nil {
		return &sluice.Error{Code: e.Code, Message: "uploading " + path + ": " + e.Message, Hint: e.Hint}
	}
	return err
}

// parts gives the parts of a file that the server lacks.
func (u *upload) parts(f sluice.TreeFile) (todo []int) {
	for n := range int((f.Size + u.missing.PartSize - 1) / u.missing.PartSize) {
		if !slices.Contains(u.missing.Parts[f.Digest], n) {
			todo = append(todo, n)
		}
	}
	return todo
}

// spread sends the parts of a file, several at once, and has it joined.
func (u *upload) spread(f sluice.TreeFile, at io.ReaderAt) error {
	var sending sync.WaitGroup
	for _, n := range u.parts(f) {
		sending.Add(1)
		begun := u.begin(func() error {
			defer sending.Done()
			return u.sendPart(f, n, io.NewSectionReader(at, int64(n)*u.missing.PartSize, u.length(f, n)))
		})
		if !begun {
			sending.Done()
			break
		}
	}
	sending.Wait()
	if u.hasFailed() {
		return nil // said already
	}
	return u.join(f)
}

// stream sends the parts of a file that can only be read from its start, and
// has it joined.
func (u *upload) stream(f sluice.TreeFile, r io.Reader) error {
	todo := u.parts(f)
	buffer := make([]byte, u.missing.PartSize)
	for n := range int((f.Size + u.missing.PartSize - 1) / u.missing.PartSize) {
		text := buffer[:u.length(f, n)]
		if _, err := io.ReadFull(r, text); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				return sluice.Errorf(sluice.CodeInvalid, "%s changed while it was uploaded", f.Path)
			}
			return fmt.Errorf("uploading %s: %w", f.Path, err)
		}
		if !slices.Contains(todo, n) {
			continue
		}
		if err := u.sendPart(f, n, io.NewSectionReader(bytes.NewReader(text), 0, int64(len(text)))); err != nil {
			return err
		}
	}
	return u.join(f)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (u *upload) sendPart(f sluice.TreeFile, n int, part *io.SectionReader) error {
	sum := crc32.New(castagnoli)
	read, err := io.Copy(sum, part)
	if err == nil && read < part.Size() {
		return sluice.Errorf(sluice.CodeInvalid, "%s changed while it was uploaded", f.Path)
	}
	if err == nil {
		_, err = part.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("uploading %s: %w", f.Path, err)
	}
	to := u.of(f, "parts", strconv.Itoa(n))
	q := to.Query()
	q.Set("crc32c", fmt.Sprintf("%08x", sum.Sum32()))
	to.RawQuery = q.Encode()
	return u.put(f.Path, to, part, part.Size())
}

// of gives the address of something about a large file.
func (u *upload) of(f sluice.TreeFile, what ...string) *url.URL {
	to := u.at.JoinPath(append([]string{"blobs", f.Digest}, what...)...)
	q := to.Query()
	q.Set("size", strconv.FormatInt(f.Size, 10))
	to.RawQuery = q.Encode()
	return to
}

// join has the server check the whole file and keep it.
func (u *upload) join(f sluice.TreeFile) error {
	u.tellChecking(f.Path, false)
	defer u.tellChecking(f.Path, true)
	_, err := u.client.send(u.ctx, request{method: http.MethodPost, url: u.of(f, "join"), open: true}, nil)
	if err != nil {
		return aboutFile(f.Path, err)
	}
	return nil
}

func (u *upload) tellChecking(path string, done bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.checking(path, done)
}
