package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/probe"
)

func TestCheck(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ok", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Host, r.URL.RequestURI(), r.UserAgent())
	})
	mux.HandleFunc("GET /busy", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("GET /elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("GET /endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("GET /hang", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("GET /head", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
	})
	tcp := httptest.NewServer(mux)
	t.Cleanup(tcp.Close)
	unix := serveUnix(t, mux)

	for name, test := range map[string]struct {
		address, path string
		status        int
		body          string
		bodyLen       int
		ok            bool
		err           string
	}{
		"tcp":             {address: tcp.URL, path: "/ok?a=b", status: 200, ok: true, body: tcp.Listener.Addr().String() + " /ok?a=b sluice-probe"},
		"unix":            {address: unix, path: "/ok", status: 200, ok: true, body: "localhost /ok sluice-probe"},
		"no slash":        {address: unix, path: "ok", status: 200, ok: true, body: "localhost /ok sluice-probe"},
		"busy":            {address: unix, path: "/busy", status: 503},
		"redirect":        {address: unix, path: "/elsewhere", status: 302, ok: true, bodyLen: -1},
		"endless body":    {address: unix, path: "/endless", status: 200, ok: true, bodyLen: probe.MaxBody},
		"hang":            {address: unix, path: "/hang", err: "nothing within"},
		"endless head":    {address: unix, path: "/head", err: "asking"},
		"no socket":       {address: "unix:///nonexistent.sock", path: "/", err: "no such file"},
		"nobody listens":  {address: "http://127.0.0.1:1", path: "/", err: "refused"},
		"another scheme":  {address: "ftp://127.0.0.1", path: "/", err: "neither unix"},
		"no address":      {address: "", path: "/", err: "neither unix"},
		"relative socket": {address: "unix://run/x.sock", path: "/", err: "neither unix"},
		"disguised":       {address: "http://2f746d70.unix", path: "/", err: "neither unix"},
		"a bad path":      {address: unix, path: "/%zz", err: "cannot be asked"},
		"another host":    {address: unix, path: "//example.com/", err: "cannot be asked"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := 20 * time.Second
			if name == "hang" {
				timeout = 20 * time.Millisecond
			}
			a := probe.New(probe.Options{}).Check(t.Context(), test.address, probe.Question{Path: test.path, Timeout: timeout})
			switch {
			case test.err != "" && (a.Err == nil || !strings.Contains(a.Err.Error(), test.err)):
				t.Fatalf("the error is %v, want %q", a.Err, test.err)
			case test.err == "" && a.Err != nil:
				t.Fatal(a.Err)
			}
			if a.Status != test.status || a.OK() != test.ok {
				t.Errorf("it %s, OK %v; want %d, %v", a, a.OK(), test.status, test.ok)
			}
			if test.bodyLen > 0 && len(a.Body) != test.bodyLen || test.bodyLen == 0 && string(a.Body) != test.body {
				t.Errorf("the body is %d bytes, %.100q", len(a.Body), a.Body)
			}
		})
	}
}

func serveUnix(t *testing.T, h http.Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return "unix://" + path
}

// Two sockets asked at once must never be taken for each other.
func TestAnswersAreNotMixedUp(t *testing.T) {
	p := probe.New(probe.Options{})
	var asking sync.WaitGroup
	for n := range 8 {
		want := fmt.Sprint(n)
		address := serveUnix(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, want) }))
		asking.Go(func() {
			for range 50 {
				a := p.Check(t.Context(), address, probe.Question{Timeout: 20 * time.Second})
				if a.Err != nil || string(a.Body) != want {
					t.Errorf("%s answered %q, %v", want, a.Body, a.Err)
					return
				}
			}
		})
	}
	asking.Wait()
}

func TestCheckEndsWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	address := serveUnix(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if a := probe.New(probe.Options{}).Check(ctx, address, probe.Question{Timeout: time.Hour}); !errors.Is(a.Err, context.Canceled) {
		t.Errorf("the error is %v, want it to be that the context was cancelled", a.Err)
	}
}

func TestWatchEndsWhenItFails(t *testing.T) {
	answers := make(chan int, 5)
	for _, status := range []int{200, 500, 200, 500, 500} {
		answers <- status
	}
	address := serveUnix(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(<-answers) }))
	err := probe.New(probe.Options{}).Watch(t.Context(), address, "/live", time.Now(),
		probe.Settings{Period: time.Millisecond, FailureThreshold: 2, Timeout: 20 * time.Second})
	if err == nil || err.Error() != "GET /live failed 2 times in a row, at last it answered 500 Internal Server Error" {
		t.Errorf("the error is %v", err)
	}
	if len(answers) != 0 {
		t.Errorf("%d answers were not asked for", len(answers))
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := serveUnix(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() }))
	if err := probe.New(probe.Options{}).Watch(ctx, address, "/", time.Now(), probe.Settings{}); err != nil {
		t.Error(err)
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"unix:///a", "http://h:1", "http://h", "unix://a/b", "::", "http://[::1]:80", "http://u:p@h", "UNIX:///x%00y"} {
		f.Add(seed, "/live")
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, address, path string) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nothing is dialled
		if a := probe.New(probe.Options{}).Check(ctx, address, probe.Question{Path: path}); a.Err == nil {
			t.Errorf("%q answered", address)
		}
	})
}
