package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func newTestClient(t *testing.T, handler http.HandlerFunc) (*Client, *httptest.Server) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	c, err := NewClient(Options{BaseURL: server.URL, Credential: "secret",
		RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, server
}

func TestNobodyAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	c, err := NewClient(Options{BaseURL: "https://" + address})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Workspace(context.Background())
	e, ok := errors.AsType[*sluice.Error](err)
	if !ok || e.Code != sluice.CodeUnavailable || e.Cause == nil || e.Cause.Code != sluice.CauseServerDown {
		t.Fatalf("error is %#v", err)
	}
	if !strings.Contains(e.Message, address) || !strings.Contains(e.Hint, "sluice up") {
		t.Errorf("message %q, hint %q: want the address and `sluice up`", e.Message, e.Hint)
	}
}

func TestUntrustedCertificate(t *testing.T) {
	_, server := newTestClient(t, func(http.ResponseWriter, *http.Request) {})
	c, err := NewClient(Options{BaseURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Workspace(context.Background())
	if err == nil || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("error is %v", err)
	}
}

func TestPagesAreFollowedOnTheSameServer(t *testing.T) {
	var asked []string
	c, _ := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("$skip"))
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Query().Get("api-version") == "" {
			t.Errorf("page %d: no credential or no api-version", len(asked))
		}
		list := List[OnlineEndpoint]{Value: []OnlineEndpoint{{Name: fmt.Sprint("e", len(asked))}}}
		if len(asked) < 3 {
			// Another host: the client must stay with the one it knows.
			list.NextLink = fmt.Sprintf("https://elsewhere.example%s?api-version=x&%%24skip=%d", r.URL.Path, len(asked))
		}
		w.Write(encode(list))
	})
	got, err := c.Endpoints(context.Background())
	if err != nil || len(got) != 3 || got[2].Name != "e3" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"", "1", "2"}, asked); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
}

func TestPollerShowsEveryStateAndSurvivesRestarts(t *testing.T) {
	var polls atomic.Int32
	cause := &sluice.Cause{Code: sluice.CauseInitRaised, Message: "init() raised", Hint: "fix it"}
	c, server := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		op := &sluice.Operation{Status: sluice.OperationInProgress}
		w.Header().Set("Preference-Applied", "wait")
		switch polls.Add(1) {
		case 1:
			if got := r.Header.Get("Prefer"); got != "wait=0" {
				t.Errorf("the first poll prefers %q", got)
			}
		case 2:
			if got := r.Header.Get("Prefer"); got != "wait=20" {
				t.Errorf("the second poll prefers %q", got)
			}
			panic(http.ErrAbortHandler) // the server dies
		case 3:
			op.Stages = []sluice.Stage{{Name: "instance", Step: "init"}}
		default:
			op.Status, op.Cause = sluice.OperationFailed, cause
		}
		w.Write(encode(OperationFrom(Scope{}, op, "/x")))
	})
	var seen []string
	err := c.Follow(server.URL+"/op/abc?api-version=1").Wait(context.Background(), func(o Operation) {
		seen = append(seen, fmt.Sprint(o.Status, len(o.Properties.Stages)))
	})
	e, ok := errors.AsType[*sluice.Error](err)
	if !ok || e.Cause == nil || e.Cause.Code != sluice.CauseInitRaised || e.Hint != "fix it" {
		t.Errorf("error is %#v", err)
	}
	if diff := cmp.Diff([]string{"InProgress0", "InProgress1", "Failed0"}, seen); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestPollerStopsWhenTold(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c, server := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(encode(OperationFrom(Scope{}, &sluice.Operation{Status: sluice.OperationInProgress}, "/x")))
	})
	err := c.Follow(server.URL+"/op").Wait(ctx, func(Operation) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
}

func TestUploadSendsOnlyWhatIsMissing(t *testing.T) {
	texts := map[string]string{"a": "", "b": "bb", "c": "cccc", "d": "bb", "e": "there already"}
	var tree sluice.Tree
	for path, text := range texts {
		tree.Files = append(tree.Files, sluice.TreeFile{Path: path, Size: int64(len(text)), Digest: sluice.DigestBytes([]byte(text))})
	}
	tree.Sort()
	var mu sync.Mutex // guards got
	got := map[string]string{}
	c, server := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.URL.Query().Get("sig") != "s" {
			t.Errorf("%s: a signed URL takes its signature and no credential", r.URL)
		}
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.HasSuffix(r.URL.Path, "/missing"):
			var sent sluice.Tree
			if err := json.Unmarshal(body, &sent); err != nil || sent.Digest() != tree.Digest() {
				t.Errorf("the tree that was sent is another: %v", err)
			}
			w.Write(encode(MissingBlobs{Missing: []string{sluice.DigestBytes(nil), sluice.DigestBytes([]byte("bb")), sluice.DigestBytes([]byte("cccc"))}}))
		case strings.HasSuffix(r.URL.Path, "/commit"):
			w.Write(encode(Committed{URI: "uri of " + r.URL.Query().Get("base")}))
		default:
			mu.Lock()
			got[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]] = string(body)
			mu.Unlock()
			if r.ContentLength != int64(len(body)) {
				t.Errorf("%s: length %d stated, %d sent", r.URL.Path, r.ContentLength, len(body))
			}
		}
	})
	var last [2]int64
	open := func(path string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(texts[path])), nil }
	uri, err := c.Upload(context.Background(), server.URL+"/artifacts/w/u?sig=s", "my model", tree, open,
		func(done, total int64) { last = [2]int64{done, total} })
	if err != nil || uri != "uri of my model" {
		t.Fatalf("uri %q, %v", uri, err)
	}
	want := map[string]string{sluice.DigestBytes(nil): "", sluice.DigestBytes([]byte("bb")): "bb", sluice.DigestBytes([]byte("cccc")): "cccc"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if last != [2]int64{6, 6} {
		t.Errorf("progress ended at %v, want 6 of 6", last)
	}
}

func TestUploadOfAChangingFile(t *testing.T) {
	digest := sluice.DigestBytes([]byte("long enough"))
	c, server := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/missing") {
			w.Write(encode(MissingBlobs{Missing: []string{digest}}))
			return
		}
		io.Copy(io.Discard, r.Body)
	})
	tree := sluice.Tree{Files: []sluice.TreeFile{{Path: "f", Size: 11, Digest: digest}}}
	_, err := c.Upload(context.Background(), server.URL+"/u", "b", tree,
		func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("short")), nil }, nil)
	if err == nil || !strings.Contains(err.Error(), "f changed while it was uploaded") {
		t.Errorf("error is %v", err)
	}
}

func TestAnswersThatAreNotOurs(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		want   sluice.Code
	}{
		{404, "<html>not found</html>", sluice.CodeNotFound},
		{502, "bad gateway", sluice.CodeInternal},
		{401, "", sluice.CodeUnauthorized},
		{503, "{}", sluice.CodeUnavailable},
		{302, "", sluice.CodeInternal},
		{409, `{"error":{"code":"Conflict","message":"m"}}`, sluice.CodeBusy},
	} {
		c, _ := newTestClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tc.status)
			io.WriteString(w, tc.body)
		})
		_, err := c.Workspace(context.Background())
		if sluice.ErrorCode(err) != tc.want {
			t.Errorf("%d %q: %v has code %q, want %q", tc.status, tc.body, err, sluice.ErrorCode(err), tc.want)
		}
	}
}
