package arm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-ml/sluice"
)

// PendingUploadRequest asks for a place to upload to.
type PendingUploadRequest struct {
	PendingUploadType string `json:"pendingUploadType,omitempty"`
	PendingUploadID   string `json:"pendingUploadId,omitempty"`
}

// PendingUpload says where to upload to, and with what right.
type PendingUpload struct {
	PendingUploadID             string        `json:"pendingUploadId"`
	PendingUploadType           string        `json:"pendingUploadType"`
	BlobReferenceForConsumption BlobReference `json:"blobReferenceForConsumption"`
}

// BlobReference is the place itself.
type BlobReference struct {
	BlobURI             string         `json:"blobUri"`
	StorageAccountARMID string         `json:"storageAccountArmId"`
	Credential          BlobCredential `json:"credential"`
}

// BlobCredential is a signed URL.
type BlobCredential struct {
	CredentialType string `json:"credentialType"`
	SASURI         string `json:"sasUri"`
}

// MissingBlobs names the files of a tree that the server does not have, by
// digest.
type MissingBlobs struct {
	Missing []string `json:"missing"`
}

// Committed says under which URI an upload can be referred to.
type Committed struct {
	URI string `json:"uri"`
}

// uploadWorkers is how many files are on the way at once.
const uploadWorkers = 4

// Upload sends the files of a tree that the server does not have yet to a
// signed URL from [Client.StartPendingUpload], and gives the URI under which
// the content can be referred to. Base is the basename of the user's folder or
// file. open is called at most once per file, from several goroutines;
// progress, which may be nil, from one at a time, with the bytes sent so far
// and all bytes that have to be sent. A broken upload leaves nothing visible
// and may be tried again.
func (c *Client) Upload(ctx context.Context, pendingURL, base string, tree sluice.Tree,
	open func(path string) (io.ReadCloser, error), progress func(done, total int64)) (contentURI string, err error) {
	u, err := url.Parse(pendingURL)
	if err != nil {
		return "", fmt.Errorf("uploading: %w", err)
	}
	var missing MissingBlobs
	if _, err := c.send(ctx, request{method: http.MethodPost, url: u.JoinPath("missing"), body: tree, open: true}, &missing); err != nil {
		return "", err
	}
	if err := c.uploadMissing(ctx, u, filesToSend(tree, missing.Missing), open, progress); err != nil {
		return "", err
	}
	commit := u.JoinPath("commit")
	q := commit.Query()
	q.Set("base", base)
	commit.RawQuery = q.Encode()
	var done Committed
	_, err = c.send(ctx, request{method: http.MethodPost, url: commit, body: tree, open: true}, &done)
	return done.URI, err
}

// filesToSend picks one file for each missing digest, large ones first so that
// none is left over at the end.
func filesToSend(tree sluice.Tree, missing []string) []sluice.TreeFile {
	wanted := make(map[string]bool, len(missing))
	for _, d := range missing {
		wanted[d] = true
	}
	var files []sluice.TreeFile
	for _, f := range tree.Files {
		if wanted[f.Digest] {
			delete(wanted, f.Digest)
			files = append(files, f)
		}
	}
	slices.SortStableFunc(files, func(a, b sluice.TreeFile) int { return cmp.Compare(b.Size, a.Size) })
	return files
}

func (c *Client) uploadMissing(ctx context.Context, u *url.URL, files []sluice.TreeFile,
	open func(path string) (io.ReadCloser, error), progress func(done, total int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	count := &counter{report: progress}
	for _, f := range files {
		count.total += f.Size
	}
	count.add(0)
	queue := make(chan sluice.TreeFile)
	var workers sync.WaitGroup
	for range min(uploadWorkers, len(files)) {
		workers.Go(func() {
			for f := range queue {
				if err := c.uploadFile(ctx, u, f, open, count); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, f := range files {
		select {
		case queue <- f:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	workers.Wait()
	return context.Cause(ctx)
}

func (c *Client) uploadFile(ctx context.Context, u *url.URL, f sluice.TreeFile,
	open func(path string) (io.ReadCloser, error), count *counter) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	file, err := open(f.Path)
	if err != nil {
		return fmt.Errorf("uploading %s: %w", f.Path, err)
	}
	defer file.Close()
	_, err = c.send(ctx, request{method: http.MethodPut, url: u.JoinPath("blobs", f.Digest),
		stream: &counted{file, count}, size: f.Size, open: true}, nil)
	// A file that was cut short while it was sent is the file's fault.
	if err != nil && strings.Contains(err.Error(), "ContentLength=") {
		return sluice.Errorf(sluice.CodeInvalid, "%s changed while it was uploaded", f.Path)
	}
	if e, ok := errors.AsType[*sluice.Error](err); ok && e.Code == sluice.CodeInvalid {
		return &sluice.Error{Code: e.Code, Message: "uploading " + f.Path + ": " + e.Message, Hint: e.Hint, Cause: e.Cause}
	}
	return err
}

// counter adds up bytes from several goroutines and reports them one at a time.
type counter struct {
	report func(done, total int64)
	total  int64

	mu   sync.Mutex // guards done, and makes reports come one at a time
	done int64
}

func (c *counter) add(n int64) {
	if c.report == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	c.report(c.done, c.total)
}

type counted struct {
	io.Reader
	count *counter
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		c.count.add(int64(n))
	}
	return n, err
}
