package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/api"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/artifact"
)

const partSize = 64 << 10

// partsWorld is a world whose parts are small, and which counts those that
// come. refuse, if set, may fail one before it is looked at.
type partsWorld struct {
	*world
	store *artifact.Store

	mu     sync.Mutex // guards what follows
	came   []string
	refuse func(n int) bool
}

func newPartsWorld(t testing.TB, adjust ...func(*api.Config)) *partsWorld {
	t.Helper()
	p := &partsWorld{}
	var err error
	if p.store, err = artifact.OpenWith(filepath.Join(t.TempDir(), "parts"), artifact.Options{PartSize: partSize}); err != nil {
		t.Fatal(err)
	}
	p.world = newWorld(t, append([]func(*api.Config){func(c *api.Config) { c.Artifacts = p.store }}, adjust...)...)
	handler := p.server.Config.Handler
	p.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" && strings.Contains(r.URL.Path, "/blobs/") {
			p.mu.Lock()
			p.came = append(p.came, r.URL.Path[strings.Index(r.URL.Path, "/blobs/"):])
			refused := p.refuse != nil && p.refuse(len(p.came))
			p.mu.Unlock()
			if refused {
				panic(http.ErrAbortHandler) // the connection is cut
			}
		}
		handler.ServeHTTP(w, r)
	})
	return p
}

func (p *partsWorld) arrivals() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.came)
	p.came = nil
	return n
}

// files are what a client uploads: a large file and two small ones.
func files() (map[string][]byte, sluice.Tree) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 5*partSize/16)
	large = append(large, "the end"...)
	for i := range large {
		large[i] += byte(i / partSize)
	}
	texts := map[string][]byte{"large": large, "small": []byte("s"), "exact": bytes.Repeat([]byte("e"), partSize)}
	var tree sluice.Tree
	for path, text := range texts {
		tree.Files = append(tree.Files, sluice.TreeFile{Path: path, Size: int64(len(text)), Digest: sluice.DigestBytes(text)})
	}
	tree.Sort()
	return texts, tree
}

// seekable is a file as a disk has them.
type seekable struct{ *bytes.Reader }

func (seekable) Close() error { return nil }

func opener(texts map[string][]byte) func(string) (io.ReadCloser, error) {
	return func(path string) (io.ReadCloser, error) { return seekable{bytes.NewReader(texts[path])}, nil }
}

// wantWhole checks that the server has every file.
func (p *partsWorld) wantWhole(texts map[string][]byte) {
	p.t.Helper()
	for path, text := range texts {
		r, err := p.store.OpenBlob(context.Background(), sluice.DigestBytes(text))
		if err != nil {
			p.t.Errorf("%s: %v", path, err)
			continue
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, text) {
			p.t.Errorf("%s has %d other bytes, %v", path, len(got), err)
		}
	}
}

func TestUploadInParts(t *testing.T) {
	texts, tree := files()
	for name, open := range map[string]func(string) (io.ReadCloser, error){
		"seekable": opener(texts),
		"streamed": func(path string) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewBuffer(bytes.Clone(texts[path]))), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartsWorld(t)
			var last [2]int64
			var checked []string
			uri, err := p.client.Upload(t.Context(), p.pending().String(), "m", tree, open,
				func(done, total int64) { last = [2]int64{done, total} },
				arm.WithChecking(func(path string, done bool) { checked = append(checked, fmt.Sprint(path, done)) }))
			if err != nil || uri == "" {
				t.Fatal(err)
			}
			p.wantWhole(texts)
			if last != [2]int64{tree.Size(), tree.Size()} {
				t.Errorf("progress ended at %v, want %d of it", last, tree.Size())
			}
			if got := p.arrivals(); got != 6+2 {
				t.Errorf("%d requests, want 6 parts and 2 files", got)
			}
			if strings.Join(checked, " ") != "largefalse largetrue" {
				t.Errorf("told of checking: %v", checked)
			}
		})
	}
}

// An upload that breaks off goes on where it was, with what the server kept.
func TestUploadGoesOn(t *testing.T) {
	texts, tree := files()
	p := newPartsWorld(t)
	for name, breakOff := range map[string]func() error{
		"cut connection": func() error {
			p.mu.Lock()
			p.refuse = func(n int) bool { return n >= 4 }
			p.mu.Unlock()
			_, err := p.client.Upload(t.Context(), p.pending().String(), "m", tree, opener(texts), nil)
			return err
		},
		"interrupted": func() error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p.mu.Lock()
			p.refuse = func(n int) bool {
				if n >= 2 {
					cancel()
				}
				return false
			}
			p.mu.Unlock()
			_, err := p.client.Upload(ctx, p.pending().String(), "m", tree, opener(texts), nil)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("an interrupted upload ends with %v", err)
			}
			return err
		},
	} {
		if err := breakOff(); err == nil {
			t.Fatalf("%s: it came through", name)
		}
		p.arrivals()
	}
	p.mu.Lock()
	p.refuse = nil
	p.mu.Unlock()
	large := sluice.LargeFile{Scope: "default", Digest: sluice.DigestBytes(texts["large"]), Size: int64(len(texts["large"]))}
	have, err := p.store.Parts(t.Context(), large)
	if err != nil || len(have) == 0 || len(have) == 6 {
		t.Fatalf("the parts %v are there, %v", have, err)
	}
	var first int64 = -1
	_, err = p.client.Upload(t.Context(), p.pending().String(), "m", tree, opener(texts), func(done, _ int64) {
		if first < 0 {
			first = done
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p.wantWhole(texts)
	if got := p.arrivals(); got > 6-len(have)+2 {
		t.Errorf("%d requests, with the parts %v there", got, have)
	}
	if first < int64(len(have)-1)*partSize {
		t.Errorf("progress began at %d, with %d parts there", first, len(have))
	}
}

func TestUploadsOfOneFileAtOnce(t *testing.T) {
	texts, tree := files()
	p := newPartsWorld(t)
	var wg sync.WaitGroup
	uris := make([]string, 4)
	for i := range uris {
		at := p.pending().String()
		wg.Go(func() {
			var err error
			if uris[i], err = p.client.Upload(t.Context(), at, "m", tree, opener(texts), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	p.wantWhole(texts)
	for _, uri := range uris {
		if uri != uris[0] {
			t.Errorf("the uploads are %q", uris)
		}
	}
}

// A file that changes while its parts are sent is refused, and can be sent
// anew.
func TestUploadOfAFileThatChanges(t *testing.T) {
	texts, tree := files()
	p := newPartsWorld(t)
	damaged := map[string][]byte{"large": bytes.Clone(texts["large"]), "small": texts["small"], "exact": texts["exact"]}
	damaged["large"][3*partSize]++
	_, err := p.client.Upload(t.Context(), p.pending().String(), "m", tree, opener(damaged), nil)
	if codeOf(err) != sluice.CodeInvalid || !strings.Contains(err.Error(), "uploading large") {
		t.Errorf("another file: %v", err)
	}
	damaged["large"] = damaged["large"][:partSize+5]
	_, err = p.client.Upload(t.Context(), p.pending().String(), "m", tree, opener(damaged), nil)
	if codeOf(err) != sluice.CodeInvalid || !strings.Contains(err.Error(), "large changed") {
		t.Errorf("a shorter file: %v", err)
	}
	if _, err = p.client.Upload(t.Context(), p.pending().String(), "m", tree, opener(texts), nil); err != nil {
		t.Fatal(err)
	}
	p.wantWhole(texts)
}

func TestUploadPartRefusals(t *testing.T) {
	texts, _ := files()
	p := newPartsWorld(t)
	u := p.pending()
	text := texts["large"]
	digest := sluice.DigestBytes(text)
	sum, err := artifact.Checksum(bytes.NewReader(text[:partSize]))
	if err != nil {
		t.Fatal(err)
	}
	at := func(path string, query ...string) string {
		to := u.JoinPath("blobs", digest, path)
		q := to.Query()
		for i := 0; i+1 < len(query); i += 2 {
			q.Set(query[i], query[i+1])
		}
		to.RawQuery = q.Encode()
		return to.String()
	}
	size, crc := fmt.Sprint(len(text)), fmt.Sprintf("%08x", sum)
	for _, c := range []struct {
		name, method, url, body string
		status                  int
	}{
		{"no size", "PUT", at("parts/0", "crc32c", crc), string(text[:partSize]), 400},
		{"negative size", "PUT", at("parts/0", "size", "-1", "crc32c", crc), string(text[:partSize]), 400},
		{"endless size", "PUT", at("parts/0", "size", "99999999999999999999", "crc32c", crc), string(text[:partSize]), 400},
		{"large size", "PUT", at("parts/0", "size", "9000000000000000000", "crc32c", crc), string(text[:partSize]), 413},
		{"no checksum", "PUT", at("parts/0", "size", size), string(text[:partSize]), 400},
		{"long checksum", "PUT", at("parts/0", "size", size, "crc32c", "123456789"), string(text[:partSize]), 400},
		{"other checksum", "PUT", at("parts/0", "size", size, "crc32c", "00000000"), string(text[:partSize]), 400},
		{"no number", "PUT", at("parts/x", "size", size, "crc32c", crc), string(text[:partSize]), 400},
		{"negative number", "PUT", at("parts/-1", "size", size, "crc32c", crc), string(text[:partSize]), 400},
		{"large number", "PUT", at("parts/6", "size", size, "crc32c", crc), string(text[:partSize]), 400},
		{"endless number", "PUT", at("parts/99999999999", "size", size, "crc32c", crc), string(text[:partSize]), 400},
		{"short", "PUT", at("parts/0", "size", size, "crc32c", crc), "short", 400},
		{"long", "PUT", at("parts/0", "size", size, "crc32c", crc), string(text[:partSize+1]), 400},
		{"join of nothing", "POST", at("join", "size", size), "", 400},
		{"join without a size", "POST", at("join"), "", 400},
		{"as it should be", "PUT", at("parts/0", "size", size, "crc32c", crc), string(text[:partSize]), 201},
		{"again", "PUT", at("parts/0", "size", size, "crc32c", crc), string(text[:partSize]), 201},
		{"join too early", "POST", at("join", "size", size), "", 400},
	} {
		if got := p.do(c.method, c.url, c.body, "Authorization", ""); got.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, got.status, c.status, got.body)
		}
	}
	unsigned, _ := url.Parse(at("parts/1", "size", size, "crc32c", crc))
	q := unsigned.Query()
	q.Del("sig")
	unsigned.RawQuery = q.Encode()
	for _, c := range [][2]string{{"PUT", unsigned.String()}, {"POST", strings.Replace(unsigned.String(), "parts/1", "join", 1)}} {
		if got := p.do(c[0], c[1], "", "Authorization", ""); got.status != 401 {
			t.Errorf("without a signature: status %d", got.status)
		}
	}
}

// FuzzUploadPart sends any part of any size of a file: the answer is never the
// server's fault, and nothing is there that does not have its digest.
func FuzzUploadPart(f *testing.F) {
	texts, _ := files()
	digest := sluice.DigestBytes(texts["large"])
	f.Add("0", fmt.Sprint(len(texts["large"])), "00000000", []byte("x"), false)
	f.Add("5", fmt.Sprint(len(texts["large"])), "ffffffff", []byte("the end"), false)
	f.Add("0", "7", "4a4a4a4a", []byte("the end"), true)
	f.Add("-1", "-7", "", []byte{}, true)
	f.Add("00", "1e9", "0x0", []byte("\n0.\n"), false)
	p := newPartsWorld(f)
	u := p.pending()
	f.Fuzz(func(t *testing.T, n, size, crc string, text []byte, join bool) {
		to := u.JoinPath("blobs", digest, "parts", url.PathEscape(n))
		q := to.Query()
		q.Set("size", size)
		q.Set("crc32c", crc)
		method := "PUT"
		if join {
			to, method = u.JoinPath("blobs", digest, "join"), "POST"
		}
		to.RawQuery = q.Encode()
		if got := p.in(t).do(method, to.String(), string(text), "Authorization", ""); got.status >= 500 {
			t.Fatalf("status %d: %s\n%s", got.status, got.body, p.log)
		}
		if missing, err := p.store.Missing(t.Context(), []string{digest}); err != nil || len(missing) != 1 {
			t.Fatalf("missing is %v, %v", missing, err)
		}
	})
}
