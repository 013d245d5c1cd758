package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

const (
	goodKey   = "primary-key-of-the-endpoint"
	secondKey = "secondary-key-of-the-endpoint"
	adminKey  = "the-admin-credential"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// iris is an endpoint with one deployment on the instances.
func iris(version int64, instances ...*instance) sluice.Routes {
	t := sluice.Target{Name: "blue", Weight: 100, Timeout: 5 * time.Second, MaxConcurrent: 4, ScoringPath: "/score", Instances: len(instances)}
	for _, i := range instances {
		t.Backends = append(t.Backends, i.backend())
	}
	return sluice.Routes{Workspace: "default", Endpoint: "iris", UID: "uid-1", Version: version, AuthMode: sluice.AuthKey,
		Keys: sluice.KeyDigests{Primary: digest(goodKey), Secondary: digest(secondKey)}, Deployments: []sluice.Target{t}}
}

// instance is a scoring server on a Unix socket.
type instance struct {
	id     string
	socket string
	server *http.Server
	ended  chan struct{}
	calls  atomic.Int64 // requests whose handler began

	connections atomic.Int64 // that are open
}

// shortDir gives a directory whose path is short enough for sockets.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func start(t testing.TB, id string, handler http.HandlerFunc) *instance {
	t.Helper()
	i := &instance{id: id, socket: filepath.Join(shortDir(t), "s"), ended: make(chan struct{})}
	l, err := net.Listen("unix", i.socket)
	if err != nil {
		t.Fatal(err)
	}
	i.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.calls.Add(1)
		handler(w, r)
	}), ConnState: i.count, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() {
		defer close(i.ended)
		i.server.Serve(l)
	}()
	t.Cleanup(i.kill)
	return i
}

func (i *instance) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		i.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		i.connections.Add(-1)
	}
}

// kill ends the instance and all its connections at once.
func (i *instance) kill() { i.server.Close(); <-i.ended }

func (i *instance) backend() sluice.Backend {
	return sluice.Backend{ID: i.id, Address: "unix://" + i.socket}
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Write(body)
}

// lines collects a gateway's log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// find waits for an access line for which ok is true.
func (l *lines) find(t *testing.T, ok func(map[string]any) bool) map[string]any {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		for line := range strings.Lines(l.String()) {
			var m map[string]any
			if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == "request" && ok(m) {
				return m
			}
		}
		select {
		case <-l.more:
		case <-deadline:
			t.Fatalf("no such line in:\n%s", l)
		}
	}
}

// rig is a gateway that serves on a real listener.
type rig struct {
	*Gateway
	t      testing.TB
	url    string
	client *http.Client // HTTP/1.1
	http2  *http.Client
	log    *lines
	stop   context.CancelFunc
	served chan error
}

func newRig(t testing.TB, config Config, all ...sluice.Routes) *rig {
	t.Helper()
	log := &lines{more: make(chan struct{}, 1)}
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewJSONHandler(log, nil))
	}
	config.ID = "test"
	config.AdminDigest = digest(adminKey)
	g, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if all != nil {
		g.Reset(all)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serverTLS, roots := certificate(t)
	ctx, stop := context.WithCancel(context.Background())
	r := &rig{Gateway: g, t: t, url: "https://" + l.Addr().String(), log: log, stop: stop, served: make(chan error, 1)}
	go func() { r.served <- g.Serve(ctx, l, serverTLS) }()
	one := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}}, DisableCompression: true, MaxIdleConnsPerHost: 100}
	two := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true}
	r.client, r.http2 = &http.Client{Transport: one}, &http.Client{Transport: two}
	t.Cleanup(func() {
		one.CloseIdleConnections()
		two.CloseIdleConnections()
		stop()
		if err := <-r.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

// certificate borrows the one that the standard library tests with.
func certificate(t testing.TB) (*tls.Config, *x509.CertPool) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}, roots
}

// answer is what a caller saw.
type answer struct {
	status int
	header http.Header
	body   string
}

// message gives the sentence of an error body.
func (a answer) message() string {
	var wire struct {
		Error struct{ Code, Message string }
	}
	json.Unmarshal([]byte(a.body), &wire)
	return wire.Error.Message
}

func (r *rig) request(method, path string, body io.Reader, header ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+goodKey)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		} else {
			req.Header[http.CanonicalHeaderKey(header[i])] = []string{header[i+1]}
		}
	}
	return req
}

func (r *rig) do(c *http.Client, req *http.Request) answer {
	r.t.Helper()
	a, err := ask(c, req)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func ask(c *http.Client, req *http.Request) (answer, error) {
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

// post sends a scoring request over HTTP/1.1.
func (r *rig) post(body string, header ...string) answer {
	r.t.Helper()
	return r.do(r.client, r.request("POST", "/endpoints/iris/score", strings.NewReader(body), header...))
}

// raw opens a TLS connection for bytes of the test's own making.
func (r *rig) raw() (net.Conn, *bufio.Reader) {
	r.t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn, bufio.NewReader(conn)
}

// eventually fails the test unless ok becomes true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}

// gate is a handler that holds each request until it is let go.
type gate struct {
	entered chan *http.Request
	leave   chan struct{}
}

func newGate() *gate {
	return &gate{entered: make(chan *http.Request, 100), leave: make(chan struct{})}
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	g.entered <- r
	select {
	case <-g.leave:
		fmt.Fprint(w, "done")
	case <-r.Context().Done():
	}
}
