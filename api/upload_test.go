package api_test

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/api"
)

func (w *world) pending() *url.URL {
	w.t.Helper()
	at, err := w.client.StartPendingUpload(context.Background(), sluice.KindModel, "m", "1")
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func TestUploadURLs(t *testing.T) {
	at := &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w := newWorld(t, func(c *api.Config) { c.Now = at.now })
	u := w.pending()
	if !strings.HasPrefix(u.String(), w.server.URL+"/artifacts/default/") {
		t.Errorf("the upload goes to %s", u)
	}
	ask := func(u *url.URL) int {
		return w.do("POST", u.JoinPath("missing").String(), `{"files":[]}`, "Authorization", "").status
	}
	with := func(change func(*url.URL, url.Values)) *url.URL {
		other := *u
		q := other.Query()
		change(&other, q)
		other.RawQuery = q.Encode()
		return &other
	}
	for name, tc := range map[string]struct {
		url  *url.URL
		want int
	}{
		"as given":        {u, 200},
		"no signature":    {with(func(_ *url.URL, q url.Values) { q.Del("sig") }), 401},
		"bad signature":   {with(func(_ *url.URL, q url.Values) { q.Set("sig", strings.Repeat("A", 43)) }), 401},
		"longer life":     {with(func(_ *url.URL, q url.Values) { q.Set("se", "99999999999") }), 401},
		"other right":     {with(func(_ *url.URL, q url.Values) { q.Set("sp", "rw") }), 401},
		"other upload":    {with(func(u *url.URL, _ url.Values) { u.Path = "/artifacts/default/0123456789abcdef" }), 401},
		"other workspace": {with(func(u *url.URL, _ url.Values) { u.Path = strings.Replace(u.Path, "default", "other", 1) }), 401},
	} {
		if got := ask(tc.url); got != tc.want {
			t.Errorf("%s: status %d, want %d", name, got, tc.want)
		}
	}
	at.advance(time.Hour)
	if got := ask(u); got != 200 {
		t.Errorf("after an hour: status %d, want 200", got)
	}
	at.advance(time.Second)
	if got := ask(u); got != 401 {
		t.Errorf("after more than an hour: status %d, want 401", got)
	}
	if log := w.log.String(); strings.Contains(log, u.Query().Get("sig")) {
		t.Error("a signature is in the log")
	}
}

func TestUploadRefusals(t *testing.T) {
	w := newWorld(t)
	u := w.pending()
	digest := sluice.DigestBytes([]byte("text"))
	file := `{"path":"a","size":4,"digest":"` + digest + `"}`
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"not a digest", "PUT", "blobs/sha256:00", "text", 400},
		{"other content", "PUT", "blobs/" + digest, "TEXT", 400},
		{"path that leaves", "POST", "commit", `{"files":[{"path":"../a","size":4,"digest":"` + digest + `"}]}`, 400},
		{"path twice", "POST", "commit", `{"files":[` + file + `,` + file + `]}`, 400},
		{"content never sent", "POST", "commit", `{"files":[` + file + `]}`, 400},
		{"not a tree", "POST", "missing", `[1]`, 400},
	} {
		got := w.do(tc.method, u.JoinPath(tc.path).String(), tc.body, "Authorization", "")
		if got.status != tc.status {
			t.Errorf("%s: status %d, want %d: %s", tc.name, got.status, tc.status, got.body)
		}
	}
	commit := u.JoinPath("commit")
	q := commit.Query()
	q.Set("base", "../x")
	commit.RawQuery = q.Encode()
	if got := w.do("POST", commit.String(), `{"files":[]}`, "Authorization", ""); got.status != 400 {
		t.Errorf("a base that leaves: status %d", got.status)
	}
	// None of it can be seen.
	if got := w.do("POST", u.JoinPath("missing").String(), `{"files":[`+file+`]}`, "Authorization", ""); !strings.Contains(string(got.body), digest) {
		t.Errorf("after broken uploads the file counts as there: %s", got.body)
	}
}

// A length that is not known cannot be checked.
func TestUploadNeedsALength(t *testing.T) {
	w := newWorld(t)
	u := w.pending()
	digest := sluice.DigestBytes([]byte("text"))
	pr, pw := io.Pipe()
	go func() { pw.Write([]byte("text")); pw.Close() }()
	req := w.request("PUT", u.JoinPath("blobs", digest).String(), pr)
	resp, err := w.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("status %d, want 400", resp.StatusCode)
	}
}

// An upload that breaks off can be done again, and sends the rest.
func TestUploadTwice(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	texts := map[string]string{"a": "aaaa", "b": "bb"}
	tree := sluice.Tree{Files: []sluice.TreeFile{
		{Path: "a", Size: 4, Digest: sluice.DigestBytes([]byte("aaaa"))}, {Path: "b", Size: 2, Digest: sluice.DigestBytes([]byte("bb"))}}}
	broken := errors.New("the disk is gone")
	_, err := w.client.Upload(ctx, w.pending().String(), "m", tree, func(path string) (io.ReadCloser, error) {
		if path == "b" {
			return nil, broken
		}
		return io.NopCloser(strings.NewReader(texts[path])), nil
	}, nil)
	if !errors.Is(err, broken) {
		t.Fatalf("error %v, want %v", err, broken)
	}
	uri, err := w.client.Upload(ctx, w.pending().String(), "m", tree, func(path string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(texts[path])), nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	again, err := w.client.Upload(ctx, w.pending().String(), "m", tree, func(string) (io.ReadCloser, error) {
		opened++
		return nil, broken
	}, nil)
	if err != nil || opened != 0 || again != uri {
		t.Errorf("the third time: %d files opened, %q, %v", opened, again, err)
	}
}
