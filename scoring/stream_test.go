package scoring

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/scoring/frame"
)

const streaming = gate + `
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
def init(): pass
def parts(name):
    try:
        yield b"first"
        hold(name)
        yield b"second"
        note(name + ".went")
    finally:
        note(name + ".closed")
def many():
    try:
        for i in range(2000):
            note("made", str(i))
            yield b"x" * 60000
    finally:
        note("many.closed")
@rawhttp
def run(request):
    name = request.get_data(as_text=True)
    if name == "plain": return 1
    return AMLResponse(many() if name == "many" else parts(name), 200)
`

// open sends a request and leaves the body of its answer to be read.
func (r *running) open(ctx context.Context, body string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", "http://sluice/score", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

func readExactly(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

func TestStreamIsSentPieceByPiece(t *testing.T) {
	// The limit is for run() alone: the script stands in its generator for longer.
	r := start(t, streaming, limit(100*time.Millisecond))
	res := r.open(t.Context(), "a")
	readExactly(t, res.Body, "first")
	r.file("a.held")
	time.AfterFunc(400*time.Millisecond, func() { r.touch("a.go") })
	rest, err := io.ReadAll(res.Body)
	if err != nil || string(rest) != "second" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	r.logs(`POST /score 200 \d+\.\d{3}ms N/A$`)
	r.logs(`run\(\) output is HTTP Response`)
	r.score("plain").wants(t, 200, "1")
}

func TestStreamNobodyReads(t *testing.T) {
	r := start(t, streaming)
	ctx, leave := context.WithCancel(t.Context())
	res := r.open(ctx, "a")
	readExactly(t, res.Body, "first")
	leave()
	r.file("a.held")
	r.touch("a.go")
	r.file("a.closed")
	r.score("plain").wants(t, 200, "1")
}

func TestStreamToSlowClient(t *testing.T) {
	r := start(t, streaming)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	res := r.open(ctx, "many")
	readExactly(t, res.Body, "x")
	// The script is stopped by what the connection and the pieces ahead can hold.
	made, same := 0, 0
	r.eventually("the script waits", func() bool {
		n := strings.Count(r.file("made"), "\n")
		if n == made {
			same++
		} else {
			made, same = n, 0
		}
		return same == 40
	})
	if made >= 1000 {
		t.Errorf("the script is %d pieces ahead of its client", made)
	}
	leave()
	r.file("many.closed")
	r.score("plain").wants(t, 200, "1")
}

func TestStreamOfWorkerThatDies(t *testing.T) {
	r := start(t, streaming)
	res := r.open(t.Context(), "a")
	readExactly(t, res.Body, "first")
	r.eventually("the script is in the middle", func() bool { return r.file("a.held") != "" })
	r.server.pool.mu.Lock()
	for _, w := range r.server.pool.workers {
		w.process.kill()
	}
	r.server.pool.mu.Unlock()
	if rest, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("an answer that was cut short ends well: %q", rest)
	}
	r.score("plain").wants(t, 200, "1")
	if n := strings.Count(r.file("a.held"), "\n"); n != 1 {
		t.Errorf("run() was called %d times", n)
	}
}

func TestStreamOutlivesDrain(t *testing.T) {
	r := start(t, streaming)
	res := r.open(t.Context(), "a")
	readExactly(t, res.Body, "first")
	r.server.Drain()
	r.file("a.held")
	time.AfterFunc(2*quiet, func() { r.touch("a.go") })
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "second" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	r.client.CloseIdleConnections()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil
}

// Requests that come before it is known what the script takes are whole when it
// is.
func TestRequestsBeforeItIsKnownWhatTheScriptTakes(t *testing.T) {
	for _, c := range []struct{ name, script, method, path, body, want string }{
		{"request", "from azureml_inference_server_http.api.aml_request import rawhttp\n@rawhttp\ndef run(r): return [r.method, r.get_data(as_text=True), r.args['a'], r.headers['X-A']]\n",
			"GET", "/score?a=1", strings.Repeat("b", 70_000), `["GET", "` + strings.Repeat("b", 70_000) + `", "1", "x"]`},
		{"request, OPTIONS", "from azureml_inference_server_http.api.aml_request import rawhttp\n@rawhttp\ndef run(r): return r.method\n",
			"OPTIONS", "/score", "", `"OPTIONS"`},
		{"text", "def run(data): return data\n", "GET", "/score?a=1", strings.Repeat("b", 70_000), `"{\"a\": 1}"`},
		{"text, OPTIONS", "def run(data): return data\n", "OPTIONS", "/score", "", ``},
		{"text, HEAD", "def run(data): return data\n", "HEAD", "/score", "", ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := launch(t, gate+"def init(): hold('init')\n"+c.script)
			r.file("init.held")
			early := make(chan answer, 1)
			go func() { early <- r.send(c.method, c.path, c.body, "X-A", "x") }()
			r.eventually("the request is there", func() bool { return r.server.inFlight.Load() == 1 })
			r.touch("init.go")
			if got := <-early; got.Body != c.want || got.Status != 200 && c.method != "HEAD" {
				t.Errorf("got %d %.200q", got.Status, got.Body)
			}
			r.score("x") // what was not used has done no harm
		})
	}
}

func TestHostilePieces(t *testing.T) {
	p := NewPool(Settings{}, NewLog(io.Discard, 1))
	w := &worker{pool: p, phase: PhaseReady, over: make(chan struct{})}
	for name, f := range map[string]frame.Frame{
		"a piece of nothing":   {Type: frame.Chunk, ID: 7, Body: []byte("x")},
		"a slot beyond all":    {Type: frame.Chunk, Slot: 200, Body: []byte("x")},
		"the end of nothing":   {Type: frame.Chunk},
		"document when ready":  {Type: frame.Swagger, Meta: []byte("2"), Body: []byte("{}")},
		"document of no kind":  {Type: frame.Swagger, Meta: []byte("9"), Body: []byte("{}")},
		"document without end": {Type: frame.Swagger, Meta: []byte("2"), BodyLen: maxDocument + 1},
	} {
		p.mu.Lock()
		var err error
		if f.Type == frame.Chunk {
			err = w.passChunk(f, nil)
		} else {
			if strings.HasPrefix(name, "document of") {
				w.phase = PhaseInit
			}
			err = w.keepDocument(f, nil)
			w.phase = PhaseReady
		}
		p.mu.Unlock()
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// FuzzHead reads what a worker may send as the head of a response.
func FuzzHead(f *testing.F) {
	for _, head := range []string{"200", "200\x00a\x00b", "404\x00a", "99", "1000", "x", "", "200\x00\x00", "500\x00x-ms-run-function-failed\x00False"} {
		f.Add([]byte(head))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		reply := headed(t.Context(), result{head: head})
		if reply.Status < 200 || reply.Status > 999 {
			t.Errorf("status %d from %q", reply.Status, head)
		}
	})
}

// FuzzQueryValue reads what any client may ask of /swagger.json.
func FuzzQueryValue(f *testing.F) {
	for _, query := range []string{"version=3", "a&version=%zz", "%76ersion=+3", "version=%ff%", "&&=&version"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		value, _ := queryValue(query, "version")
		text := string(messageJSON(value))
		for _, c := range []byte(text) {
			if c < ' ' || c > 0x7f {
				t.Fatalf("%q holds %#x", text, c)
			}
		}
	})
}
