package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/feed"
	"github.com/sluice-ml/sluice/handover"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/identity"
)

const (
	rounds        = 5      // of each side, in turn
	roundRequests = 20_000 // in one round
	clients       = 16
	aloneRequests = 2_000 // of one client, for latency
	requestBody   = `{"data": [[5.1, 3.5, 1.4, 0.2]]}`
	benchKey      = "a-key-that-only-this-run-knows-0123456789"
)

// side is one proxy under test.
type side struct {
	name   string
	url    string
	header http.Header
	pids   []int
	cpu    []float64 // µs per request, by round
	alone  []float64 // ms, p50 of one client, by round
}

// gatewayRows puts our gateway (authentication, traffic split and counters on)
// and a bare nginx in front of the same backend, both speaking TLS 1.3 and
// HTTP/1.1 with kept connections, and compares the CPU one request costs.
func gatewayRows(ctx context.Context, bin string) ([]row, error) {
	dir, err := os.MkdirTemp("", "sluice-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d := home.Dir(dir)
	if err := d.Make(); err != nil {
		return nil, err
	}
	ca, err := identity.OpenCA(d.CA(), d.CAKey(), time.Now)
	if err != nil {
		return nil, err
	}
	backend := filepath.Join(dir, "backend.sock")
	stop, err := startBackend(backend)
	if err != nil {
		return nil, err
	}
	defer stop()

	ours, end, err := startGateway(ctx, bin, d, backend)
	if err != nil {
		return nil, err
	}
	defer end()
	sides := []*side{ours}
	peer, end, err := startNginx(ctx, ca, dir, backend)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		progress("nginx is not installed: its column stays empty (apt-get install nginx-light)")
	case err != nil:
		return nil, err
	default:
		defer end()
		sides = append(sides, peer)
	}
	if err := compare(ctx, sides, ca); err != nil {
		return nil, err
	}
	cpu := row{name: "gateway CPU per request, TLS 1.3, against bare nginx", ours: median(ours.cpu), unit: "µs"}
	alone := row{name: "gateway p50 at one client, TLS 1.3, against bare nginx", ours: median(ours.alone), unit: "ms"}
	if peer != nil {
		cpu.peer, alone.peer = median(peer.cpu), median(peer.alone)
	}
	return []row{cpu, alone}, nil
}

// startBackend answers everything on a Unix socket, in this process.
func startBackend(path string) (stop func(), err error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `[0]`)
	})}
	go server.Serve(l)
	return func() { server.Close() }, nil
}

// startGateway runs `sluice gateway` on a socket of ours, and feeds it one
// endpoint with two deployments that share the traffic.
func startGateway(ctx context.Context, bin string, d home.Dir, backend string) (*side, func(), error) {
	feedSocket, err := net.Listen("unix", d.FeedSocket())
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	server := feed.NewServer(feed.Config{})
	var group sync.WaitGroup
	group.Go(func() { server.Serve(ctx, feedSocket) })
	server.PublishAll([]sluice.Routes{benchRoutes(backend)})

	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		cancel()
		return nil, nil, err
	}
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		cancel()
		return nil, nil, err
	}
	address := l.Addr().String()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "sluice"), "gateway")
	cmd.Env = append(os.Environ(), "SLUICE_HOME="+string(d), handover.InheritEnv())
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{socket}
	err = cmd.Start()
	l.Close()
	socket.Close()
	if err != nil {
		cancel()
		return nil, nil, err
	}
	end := func() {
		cancel()
		cmd.Wait()
		group.Wait()
	}
	return &side{name: "sluice", url: "https://" + strings.Replace(address, "127.0.0.1", "localhost", 1) + "/endpoints/bench/score",
		header: http.Header{"Authorization": {"Bearer " + benchKey}}, pids: []int{cmd.Process.Pid}}, end, nil
}

func benchRoutes(backend string) sluice.Routes {
	target := func(name string, weight int) sluice.Target {
		return sluice.Target{Name: name, Weight: weight, Timeout: time.Minute, MaxConcurrent: 1000, ScoringPath: "/score",
			Backends: []sluice.Backend{{ID: name, Address: "unix://" + backend}}}
	}
	return sluice.Routes{Workspace: sluice.DefaultWorkspace, Endpoint: "bench", UID: "bench", Version: 1, AuthMode: sluice.AuthKey,
		Keys:        sluice.KeyDigests{Primary: identity.Digest(benchKey), Secondary: identity.Digest("another")},
		Deployments: []sluice.Target{target("blue", 90), target("green", 10)}}
}

// startNginx runs nginx in the foreground as a bare TLS proxy.
func startNginx(ctx context.Context, ca *identity.CA, dir, backend string) (*side, func(), error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, nil, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	address := l.Addr().String()
	l.Close()
	if err := writeCertificate(ca, dir); err != nil {
		return nil, nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(nginxConf(dir, address, backend)), 0o600); err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, program, "-p", dir, "-c", conf)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	end := func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}
	// The master starts its workers before it serves.
	if err := waitFor(ctx, func() bool { return len(children(cmd.Process.Pid)) == 2 }); err != nil {
		end()
		return nil, nil, fmt.Errorf("waiting for nginx: %w", err)
	}
	_, port, _ := net.SplitHostPort(address)
	return &side{name: "nginx", url: "https://localhost:" + port + "/endpoints/bench/score",
		pids: append(children(cmd.Process.Pid), cmd.Process.Pid)}, end, nil
}

func nginxConf(dir, address, backend string) string {
	user := ""
	if os.Geteuid() == 0 {
		user = "user root; " // its workers must reach the backend's socket
	}
	return user + fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/nginx.pid; error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
  upstream backend { server unix:%[3]s; keepalive 64; }
  server {
    listen %[2]s ssl; keepalive_requests 1000000;
    ssl_certificate %[1]s/bench.pem; ssl_certificate_key %[1]s/bench-key.pem; ssl_protocols TLSv1.3;
    location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`, dir, address, backend)
}

func writeCertificate(ca *identity.CA, dir string) error {
	cert, err := ca.Issue("localhost")
	if err != nil {
		return err
	}
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "bench.pem"), chain, 0o600),
		os.WriteFile(filepath.Join(dir, "bench-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
}

// compare loads the sides in turn, so that a machine whose speed drifts treats
// them alike.
func compare(ctx context.Context, sides []*side, ca *identity.CA) error {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13},
		MaxIdleConnsPerHost: clients, ForceAttemptHTTP2: false,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1
	}}
	defer client.CloseIdleConnections()
	for _, s := range sides {
		if err := waitFor(ctx, func() bool { return s.ask(ctx, client) == nil }); err != nil {
			return fmt.Errorf("%s does not answer: %w", s.name, s.ask(ctx, client))
		}
		if err := s.load(ctx, client, roundRequests/10); err != nil {
			return err
		}
	}
	for n := range rounds {
		for _, s := range sides {
			if err := s.round(ctx, client); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			progress("round %d, %s: %.1f µs CPU per request, p50 alone %.3f ms", n+1, s.name, s.cpu[n], s.alone[n])
		}
	}
	return nil
}

func (s *side) round(ctx context.Context, client *http.Client) error {
	before, err := cpuTime(s.pids)
	if err != nil {
		return err
	}
	if err := s.load(ctx, client, roundRequests); err != nil {
		return err
	}
	after, err := cpuTime(s.pids)
	if err != nil {
		return err
	}
	s.cpu = append(s.cpu, float64((after-before).Microseconds())/roundRequests)

	times := make([]float64, aloneRequests)
	for i := range times {
		began := time.Now()
		if err := s.ask(ctx, client); err != nil {
			return err
		}
		times[i] = time.Since(began).Seconds() * 1000
	}
	slices.Sort(times)
	s.alone = append(s.alone, times[len(times)/2])
	return nil
}

// load sends n requests from all clients together; every one must be a 200.
func (s *side) load(ctx context.Context, client *http.Client, n int) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make([]error, clients)
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			for left.Add(-1) >= 0 && errs[c] == nil {
				errs[c] = s.ask(ctx, client)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s *side) ask(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(requestBody))
	if err != nil {
		return err
	}
	req.Header = s.header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %.200s", s.name, resp.Status, body)
	}
	return nil
}

// waitFor asks until the answer is yes, for ten seconds.
func waitFor(ctx context.Context, done func() bool) error {
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			return context.DeadlineExceeded
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
