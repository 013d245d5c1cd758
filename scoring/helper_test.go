package scoring

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// deadline bounds every wait of these tests; a test that reaches it has failed.
const deadline = 60 * time.Second

// pythons finds one interpreter of every version that workers support.
func pythons(t testing.TB) []string {
	t.Helper()
	found, err := findPythons()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func findPythons() ([]string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	root := os.Getenv("PYENV_ROOT")
	if root == "" {
		root = filepath.Join(home, ".pyenv")
	}
	var found []string
	for minor := 8; minor <= 14; minor++ {
		name := fmt.Sprintf("python3.%d", minor)
		candidates, err := filepath.Glob(filepath.Join(root, "versions", "*", "bin", name))
		if err != nil {
			return nil, err
		}
		if path, err := exec.LookPath(name); err == nil {
			candidates = append(candidates, path)
		}
		for _, path := range candidates {
			if out, err := exec.Command(path, "-c", "import sys; print(sys.version_info[1])").Output(); err == nil &&
				strings.TrimSpace(string(out)) == fmt.Sprint(minor) {
				found = append(found, path)
				break
			}
		}
	}
	if len(found) == 0 {
		path, err := exec.LookPath("python3")
		if err != nil {
			return nil, errors.New("no Python from 3.8 to 3.14 was found; install python3")
		}
		found = append(found, path)
	}
	return found, nil
}

// onePython is found once: looking takes a process for each.
var onePython = sync.OnceValues(func() (string, error) {
	all, err := findPythons()
	if err != nil {
		return "", err
	}
	return all[len(all)-1], nil
})

// python gives the interpreter that most tests use.
func python(t testing.TB) string {
	t.Helper()
	path, err := onePython()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// output collects what a server logs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// running is a server under test, on a Unix socket.
type running struct {
	t      testing.TB
	server *Server
	client *http.Client
	log    *output
	dir    string
	cancel context.CancelFunc
	done   chan error
	socket string
}

type option func(*Settings)

func workers(n int) option           { return func(s *Settings) { s.Workers = n } }
func limit(d time.Duration) option   { return func(s *Settings) { s.Timeout = d } }
func queue(n int) option             { return func(s *Settings) { s.Queue = n } }
func grace(d time.Duration) option   { return func(s *Settings) { s.Grace = d } }
func interpreter(path string) option { return func(s *Settings) { s.Python = path } }
func environ(pairs ...string) option {
	return func(s *Settings) { s.Environ = append(s.Environ, pairs...) }
}
func maxBody(n int64) option               { return func(s *Settings) { s.MaxBody = n } }
func modelDir(path string) option          { return func(s *Settings) { s.ModelDir = path } }
func (r *running) path(name string) string { return filepath.Join(r.dir, name) }

// launch starts a server with the script and does not wait for it.
func launch(t testing.TB, script string, opts ...option) *running {
	t.Helper()
	return launchWith(t, script, nil, opts...)
}

// launchWith starts a server with the script and these variables beside ours.
func launchWith(t testing.TB, script string, env []string, opts ...option) *running {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "score.py"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	settings, err := Resolve(Flags{EntryScript: filepath.Join(dir, "score.py"), Python: python(t)},
		append(append(os.Environ(), "AML_APP_ROOT="+dir), env...), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range opts {
		o(&settings)
	}
	r := &running{t: t, log: &output{}, dir: dir, done: make(chan error, 1)}
	r.socket = filepath.Join(dir, "http.sock")
	listener, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	log := NewLog(r.log, os.Getpid())
	logging, stopLog := context.WithCancel(context.Background())
	logged := make(chan error, 1)
	go func() { logged <- log.Run(logging) }()
	r.server = New(settings, log, os.Getpid())
	ended := make(chan struct{})
	go func() {
		err := r.server.Run(ctx, []net.Listener{listener})
		stopLog()
		<-logged
		r.done <- err
		close(ended)
	}()
	r.client = clientTo("unix", r.socket)
	t.Cleanup(func() {
		cancel()
		<-ended
		r.client.CloseIdleConnections()
		if t.Failed() {
			log := r.log.String()
			t.Logf("server's log ends with:\n%s", log[max(0, len(log)-5000):])
		}
	})
	return r
}

// clientTo makes a client that always connects to one address.
func clientTo(network, address string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 256,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
}

func newBufio(wire []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(wire)) }

// start starts a server and waits until it is ready.
func start(t testing.TB, script string, opts ...option) *running {
	t.Helper()
	return startWith(t, script, nil, opts...)
}

func startWith(t testing.TB, script string, env []string, opts ...option) *running {
	t.Helper()
	r := launchWith(t, script, env, opts...)
	r.eventually("server is ready", func() bool {
		select {
		case err := <-r.done:
			t.Fatalf("the server ended: %v", err)
		default:
		}
		return r.get("/").Status == 200
	})
	return r
}

// fails starts a server that must end by itself, and gives why it did.
func fails(t testing.TB, script string, opts ...option) error {
	t.Helper()
	r := launch(t, script, opts...)
	select {
	case err := <-r.done:
		if err == nil {
			t.Fatal("the server ended without an error")
		}
		return err
	case <-time.After(deadline):
		t.Fatal("the server did not end")
	}
	return nil
}

// eventually polls until something is so.
func (r *running) eventually(what string, so func() bool) {
	r.t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(deadline); ; <-poll.C {
		if so() {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("did not come to be: %s", what)
		}
	}
}

// answer is a response, read to its end.
type answer struct {
	Status int
	Header http.Header
	Body   string
	Close  bool // the server said Connection: close
}

func (r *running) do(req *http.Request) (answer, error) {
	res, err := r.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body), res.Close}, errors.Join(err, res.Body.Close())
}

func (r *running) send(method, path, body string, header ...string) answer {
	r.t.Helper()
	got, err := r.try(method, path, body, header...)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

func (r *running) try(method, path, body string, header ...string) (answer, error) {
	req, err := http.NewRequest(method, "http://sluice"+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return r.do(req)
}

func (r *running) get(path string) answer            { r.t.Helper(); return r.send("GET", path, "") }
func (r *running) score(body string) answer          { r.t.Helper(); return r.send("POST", "/score", body) }
func (r *running) tryScore(b string) (answer, error) { return r.try("POST", "/score", b) }

// wants checks status and body.
func (a answer) wants(t testing.TB, status int, body string) {
	t.Helper()
	if a.Status != status || a.Body != body {
		t.Errorf("got %d %.300q, want %d %.300q", a.Status, a.Body, status, body)
	}
}

// logs waits until a line that matches is in the log.
func (r *running) logs(pattern string) {
	r.t.Helper()
	re := regexp.MustCompile(pattern)
	r.eventually("a log line like "+pattern, func() bool {
		return slices.ContainsFunc(strings.Split(r.log.String(), "\n"), re.MatchString)
	})
}

// file waits until a file exists and gives its text.
func (r *running) file(name string) string {
	r.t.Helper()
	var text []byte
	r.eventually("file "+name, func() bool {
		var err error
		text, err = os.ReadFile(r.path(name))
		return err == nil
	})
	return string(text)
}

// touch makes a file that a script waits for.
func (r *running) touch(name string) {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), nil, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// gate is a piece of script: hold(name) says that it is there and waits to be
// let go.
const gate = `
import os, time
_here = os.path.dirname(os.path.abspath(__file__))
def note(name, text=""):
    with open(os.path.join(_here, name), "a") as f:
        f.write(text + "\n")
def hold(name):
    note(name + ".held")
    while not os.path.exists(os.path.join(_here, name + ".go")):
        time.sleep(0.002)
`
