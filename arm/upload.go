package arm

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
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
// digest. Files larger than PartSize go in parts of that size, numbered from 0,
// of which Parts names those it has.
type MissingBlobs struct {
	Missing  []string         `json:"missing"`
	PartSize int64            `json:"partSize,omitempty"`
	Parts    map[string][]int `json:"parts,omitempty"`
	Notices  []string         `json:"notices,omitempty"` // what the user should know, a sentence each
}

// PruneRequest asks for what nothing needs to be removed from the disk.
type PruneRequest struct {
	DryRun bool `json:"dryRun"`
}

// Committed says under which URI an upload can be referred to.
type Committed struct {
	URI string `json:"uri"`
}

// UploadOption changes how [Client.Upload] works.
type UploadOption func(*upload)

// WithNotices has what the server wants its user to know told, a sentence each,
// before the upload begins.
func WithNotices(tell func(string)) UploadOption { return func(u *upload) { u.notice = tell } }

// WithChecking is called when a large file has been sent and the server reads
// it once more, and again when it has: that takes a while.
func WithChecking(tell func(path string, done bool)) UploadOption {
	return func(u *upload) { u.checking = tell }
}

// Upload sends the files of a tree that the server does not have yet to a
// signed URL from [Client.StartPendingUpload], and gives the URI under which
// the content can be referred to. Base is the basename of the user's folder or
// file. open is called at most once per file, from several goroutines; a file
// that is an io.ReaderAt is sent in several parts at once when it is large.
// progress, which may be nil, is called from one goroutine at a time, with the
// bytes that the server has of those it lacked, and all of these.
//
// A broken upload leaves nothing visible. Tried again, with another URL, it
// goes on with the parts that have not arrived.
func (c *Client) Upload(ctx context.Context, pendingURL, base string, tree sluice.Tree,
	open func(path string) (io.ReadCloser, error), progress func(done, total int64), options ...UploadOption) (contentURI string, err error) {
	at, err := url.Parse(pendingURL)
	if err != nil {
		return "", fmt.Errorf("uploading: %w", err)
	}
	u := &upload{client: c, at: at, open: open, count: counter{report: progress},
		notice: func(string) {}, checking: func(string, bool) {}}
	for _, o := range options {
		o(u)
	}
	if _, err := c.send(ctx, request{method: http.MethodPost, url: at.JoinPath("missing"), body: tree, open: true}, &u.missing); err != nil {
		return "", err
	}
	for _, n := range u.missing.Notices {
		u.notice(n)
	}
	if err := u.send(ctx, filesToSend(tree, u.missing.Missing)); err != nil {
		return "", err
	}
	commit := at.JoinPath("commit")
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

// counted counts what is read of one request's body, until it is ended: the
// transport may read on after it has given up.
type counted struct {
	io.Reader
	count *counter

	mu    sync.Mutex // guards what follows
	n     int64
	ended bool
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 && !c.ended {
		c.n += int64(n)
		c.count.add(int64(n))
	}
	return n, err
}

// end stops counting and gives how much was counted.
func (c *counted) end() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	return c.n
}
