//go:build unix

package gateway

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-ml/sluice"
)

// BenchmarkStages is what our own stages cost, without the HTTP layer.
func BenchmarkStages(b *testing.B) {
	g, err := New(Config{ID: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	g.Apply(iris(1, &instance{id: "a", socket: "/a"}, &instance{id: "b", socket: "/b"}))
	h := http.Header{fieldAuthorization: {"Bearer " + goodKey}, fieldClientID: {"trace-1"}}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		where, ok := locate("localhost:8443", "/endpoints/iris/score", "")
		if !ok || hasDotSegment(where.rest) {
			b.Fatal("not found")
		}
		e, p := g.find(where.key)
		if authenticate(h, &p.routes) != nil {
			b.Fatal("refused")
		}
		t, _ := choose(h, p, func(int) int { return 0 })
		if !t.tally.admit(t.limit) {
			b.Fatal("busy")
		}
		place, t, refused := g.acquire(ctx, e, t)
		if refused != nil {
			b.Fatal(refused)
		}
		g.release(place, t)
		t.tally.leave()
		clientID(h)
	}
}

// BenchmarkChain is a whole request over loopback: client, gateway and
// instance share this process, so cpu-µs/op is the sum of the three;
// BenchmarkDirect is the same without the gateway.
func BenchmarkChain(b *testing.B) {
	i := start(b, "i1", answerSmall)
	g, err := New(Config{ID: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	routes := iris(1, i)
	routes.Deployments[0].MaxConcurrent = 100
	g.Reset([]sluice.Routes{routes})
	for _, withTLS := range []bool{false, true} {
		name := "plain"
		var server, client *tls.Config
		if withTLS {
			name = "tls"
			config, roots := certificate(b)
			server, client = config, &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}}
		}
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			served := make(chan error)
			go func() { served <- g.Serve(ctx, l, server) }()
			url := "http://" + l.Addr().String() + "/endpoints/iris/score"
			if withTLS {
				url = strings.Replace(url, "http:", "https:", 1)
			}
			transport := &http.Transport{TLSClientConfig: client, MaxIdleConnsPerHost: 100}
			drive(b, transport, url)
			transport.CloseIdleConnections()
			stop()
			if err := <-served; err != nil {
				b.Error(err)
			}
		})
	}
}

func BenchmarkDirect(b *testing.B) {
	i := start(b, "i1", answerSmall)
	transport := &http.Transport{MaxIdleConnsPerHost: 100, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", i.socket)
	}}
	defer transport.CloseIdleConnections()
	drive(b, transport, "http://instance/score")
}

func answerSmall(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Length", "8")
	io.WriteString(w, "[1, 2,3]")
}

// drive posts from 16 clients and reports processor time.
func drive(b *testing.B, transport http.RoundTripper, url string) {
	client := &http.Client{Transport: transport}
	b.SetParallelism(8)
	b.ReportAllocs()
	began := cpu()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, _ := http.NewRequest("POST", url, strings.NewReader(`{"data": [[5.1, 3.5, 1.4, 0.2]]}`))
			req.Header["Authorization"] = []string{"Bearer " + goodKey}
			resp, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 {
				b.Errorf("status %d", resp.StatusCode)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(cpu()-began)/1e3/float64(b.N), "cpu-µs/op")
}

// cpu is the processor time of this process so far, in nanoseconds.
func cpu() int64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return use.Utime.Nano() + use.Stime.Nano()
}
