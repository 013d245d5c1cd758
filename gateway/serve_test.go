package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-ml/sluice"
)

func TestForwardsRequestAndAnswer(t *testing.T) {
	type seen struct {
		method, uri, body, host string
		header                  http.Header
	}
	got := make(chan seen, 1)
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, string(body), r.Host, r.Header}
		w.Header().Set("X-Request-Id", "of the model")
		w.Header().Set("X-Ms-Run-Function-Failed", "False")
		w.Header().Set("Azureml-Model-Deployment", "forged")
		w.Header().Set("X-Sluice-Hint", "forged")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.WriteHeader(202)
		fmt.Fprint(w, `["setosa"]`)
	})
	r := newRig(t, Config{}, iris(1, i))
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for name, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": r.http2} {
		t.Run(name, func(t *testing.T) {
			req := r.request("PUT", "/endpoints/IRIS/v1/models/a%2Fb:predict?x=1&y=%20;z", strings.NewReader("body"),
				"X-Request-Id", "of the caller", "x-ms-client-request-id", "trace<1>_x", "Azureml-Model-Deployment", "Blue",
				"X-Custom", "kept", "Te", "trailers", "User-Agent", "")
			a := r.do(client, req)
			s := <-got
			if s.method != "PUT" || s.uri != "/v1/models/a%2Fb:predict?x=1&y=%20;z" || s.body != "body" || s.host != req.Host {
				t.Errorf("the instance got %s %s %q for host %s", s.method, s.uri, s.body, s.host)
			}
			id := s.header.Get("X-Request-Id")
			if !uuid.MatchString(id) {
				t.Errorf("request id %q is not a new UUID", id)
			}
			want := http.Header{"X-Request-Id": {id}, "X-Ms-Client-Request-Id": {"trace1_x"},
				"X-Custom": {"kept"}, "Te": {"trailers"}, "Content-Length": {"4"}}
			if diff := cmp.Diff(want, s.header); diff != "" {
				t.Errorf("header at the instance (-want +got):\n%s", diff)
			}
			if a.status != 202 || a.body != `["setosa"]` {
				t.Errorf("got %d %s", a.status, a.body)
			}
			modelTime := a.header.Get("Ms-Azureml-Model-Time")
			a.header.Del("Date")
			want = http.Header{"X-Request-Id": {id}, "X-Ms-Request-Id": {id}, "X-Ms-Client-Request-Id": {"trace1_x"},
				"Azureml-Model-Deployment": {"blue"}, "Ms-Azureml-Model-Time": {modelTime}, "X-Ms-Run-Function-Failed": {"False"},
				"Set-Cookie": {"a=1", "b=2"}, "Content-Length": {"10"}, "Content-Type": {"text/plain; charset=utf-8"}}
			if diff := cmp.Diff(want, a.header); diff != "" {
				t.Errorf("header of the answer (-want +got):\n%s", diff)
			}
			if !regexp.MustCompile(`^\d+$`).MatchString(modelTime) {
				t.Errorf("model time %q", modelTime)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Of-The-Model", "yes")
		w.Header().Set("Content-Type", "text/odd")
		w.WriteHeader(map[string]int{"/500": 500, "/400": 400, "/302": 302, "/304": 304, "/201": 201}[r.URL.Path])
		if r.URL.Path != "/304" {
			fmt.Fprint(w, "what the model says")
		}
	})
	base := iris(1, i)
	quiet := iris(1, i)
	quiet.Endpoint, quiet.UID, quiet.Deployments[0].Weight = "quiet", "uid-2", 0
	unready := iris(1)
	unready.Endpoint, unready.UID, unready.Deployments[0].Note = "unready", "uid-3", "init() of score.py raised ValueError"
	token := iris(1, i)
	token.Endpoint, token.UID, token.AuthMode = "token", "uid-4", sluice.AuthAADToken
	team := iris(1, i)
	team.Workspace, team.UID = "Team", "uid-5"
	r := newRig(t, Config{MaxBody: 100_000}, base, quiet, unready, token, team)

	tests := []struct {
		name   string
		path   string
		body   func() io.Reader
		header []string
		status int
		says   string // in the message, or the body
		fields map[string]string
	}{
		{name: "wrong key", path: "/endpoints/iris/score", header: []string{"Authorization", "Bearer nope"}, status: 401,
			says:   "sluice online-endpoint get-credentials -n iris",
			fields: map[string]string{"Www-Authenticate": `Bearer realm="sluice"`, "Content-Type": "application/json"}},
		{name: "no key, other workspace", path: "/w/team/endpoints/iris/score", header: []string{"Authorization", ""}, status: 401,
			says: "get-credentials -n iris -w Team"},
		{name: "basic", path: "/endpoints/iris/score", header: []string{"Authorization", "Basic " + goodKey}, status: 401, says: "not of the form"},
		{name: "secondary key", path: "/endpoints/iris/201", header: []string{"Authorization", "bearer " + secondKey}, status: 201, says: "what the model says"},
		{name: "mode not known", path: "/endpoints/token/score", status: 401, says: "aad_token"},
		{name: "unknown endpoint", path: "/endpoints/rose/score", status: 404, says: "no endpoint"},
		{name: "unknown workspace", path: "/w/other/endpoints/iris/score", status: 404, says: "no endpoint"},
		{name: "elsewhere", path: "/", status: 404, says: "no endpoint"},
		{name: "no traffic", path: "/endpoints/quiet/score", status: 404, says: "no deployment of endpoint quiet gets traffic"},
		{name: "no traffic, but named", path: "/endpoints/quiet/201", header: []string{"Azureml-Model-Deployment", "BLUE"}, status: 201},
		{name: "unknown deployment", path: "/endpoints/iris/score", header: []string{"Azureml-Model-Deployment", "green"}, status: 404, says: "azureml-model-deployment"},
		{name: "never ready", path: "/endpoints/unready/score", status: 424, says: "init() of score.py raised ValueError",
			fields: map[string]string{"X-Sluice-Hint": "sluice online-deployment get-logs -e unready -n blue", "Ms-Azureml-Model-Error-Reason": "no_ready_instance"}},
		{name: "too long", path: "/endpoints/iris/201", body: func() io.Reader { return bytes.NewReader(make([]byte, 100_001)) }, status: 413, says: "100000"},
		{name: "too long, length unknown", path: "/endpoints/iris/201", body: func() io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, 100_001))) }, status: 413, says: "100000",
			fields: map[string]string{"X-Sluice-Hint": "raise gateway.max_body in sluice.yml"}},
		{name: "as long as it may be", path: "/endpoints/iris/201", body: func() io.Reader { return bytes.NewReader(make([]byte, 100_000)) }, status: 201},
		{name: "model fails", path: "/endpoints/iris/500", status: 424, says: "what the model says",
			fields: map[string]string{"Ms-Azureml-Model-Error-Statuscode": "500", "Ms-Azureml-Model-Error-Reason": "model_error",
				"X-Sluice-Hint": "sluice online-deployment get-logs -e iris -n blue", "X-Of-The-Model": "yes", "Content-Type": "text/odd", "Azureml-Model-Deployment": "blue"}},
		{name: "model refuses", path: "/w/TEAM/endpoints/iris/400", status: 424, says: "what the model says",
			fields: map[string]string{"Ms-Azureml-Model-Error-Statuscode": "400", "X-Sluice-Hint": "sluice online-deployment get-logs -e iris -n blue -w Team"}},
		{name: "model redirects", path: "/endpoints/iris/302", status: 424, fields: map[string]string{"Ms-Azureml-Model-Error-Statuscode": "302"}},
		{name: "model has no news", path: "/endpoints/iris/304", status: 424, fields: map[string]string{"Ms-Azureml-Model-Error-Statuscode": "304"}},
		{name: "dot segment", path: "/endpoints/iris/a/%2e%2E/b", status: 400, says: "segment"},
	}
	for _, tt := range tests {
		for proto, client := range map[string]*http.Client{"1": r.client, "2": r.http2} {
			t.Run(tt.name+" over "+proto, func(t *testing.T) {
				var body io.Reader
				if tt.body != nil {
					body = tt.body()
				}
				req := r.request("POST", tt.path, body, tt.header...)
				if req.Header.Get("Authorization") == "" {
					req.Header.Del("Authorization")
				}
				a := r.do(client, req)
				if a.status != tt.status || !strings.Contains(a.body+a.message(), tt.says) {
					t.Errorf("got %d %s, want %d with %q", a.status, a.body, tt.status, tt.says)
				}
				for name, want := range tt.fields {
					if got := a.header.Get(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				if a.header.Get("X-Request-Id") == "" {
					t.Error("no x-request-id")
				}
				if tt.status >= 400 {
					id := a.header.Get("X-Request-Id")
					r.log.find(t, func(m map[string]any) bool { return m["requestId"] == id && m["status"] == float64(tt.status) })
				}
			})
		}
	}
	if log := r.log.String(); strings.Contains(log, goodKey) || strings.Contains(log, "nope") {
		t.Error("the log holds a key")
	}
	if strings.Contains(r.log.String(), `"status":201`) {
		t.Error("a successful request was logged at the default level")
	}
}

func TestDeadline(t *testing.T) {
	hold := newGate()
	i := start(t, "i1", hold.serve)
	routes := iris(1, i)
	routes.Deployments[0].Timeout = 40 * time.Millisecond
	r := newRig(t, Config{}, routes)
	for proto, client := range map[string]*http.Client{"1": r.client, "2": r.http2} {
		for _, body := range []func() io.Reader{
			func() io.Reader { return nil },
			func() io.Reader { return strings.NewReader("short") },
			func() io.Reader { return bytes.NewReader(make([]byte, 200_000)) },
			func() io.Reader { return io.MultiReader(strings.NewReader("unknown")) },
		} {
			reached := false
			for try := 0; !reached; try++ {
				a := r.do(client, r.request("POST", "/endpoints/iris/score", body()))
				if a.status != 408 || !strings.Contains(a.message(), "request_timeout_ms (40)") {
					t.Errorf("HTTP/%s: got %d %s", proto, a.status, a.body)
				}
				select {
				case at := <-hold.entered:
					<-at.Context().Done() // the instance is told
					reached = true
				case <-time.After(time.Second): // on a busy machine 40 ms may pass before it is asked
					if try == 20 {
						t.Fatalf("HTTP/%s: the instance is never asked", proto)
					}
				}
			}
		}
	}
	eventually(t, "all places are free again", func() bool {
		p := r.endpoints()[0]
		return p.targets[0].tally.admitted.Load() == 0 && p.targets[0].ready[0].inflight.Load() == 0
	})
}

// A body that does not come holds no place and ends at the deadline.
func TestSlowBody(t *testing.T) {
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(200)
	})
	routes := iris(1, i)
	routes.Deployments[0].Timeout = 50 * time.Millisecond
	r := newRig(t, Config{}, routes)
	for _, head := range []string{"Content-Length: 10", "Content-Length: 100000", "Transfer-Encoding: chunked"} {
		conn, in := r.raw()
		fmt.Fprintf(conn, "POST /endpoints/iris/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n1", goodKey, head)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 408 {
			t.Errorf("%s: %v %v, want 408", head, resp, err)
			continue
		}
		if _, err := io.Copy(io.Discard, in); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: the connection was not closed: %v", head, err)
		}
	}
}

func TestAdmission(t *testing.T) {
	hold := newGate()
	one, two := start(t, "i1", hold.serve), start(t, "i2", hold.serve)
	routes := iris(1, one, two)
	routes.Deployments[0].MaxConcurrent = 1
	r := newRig(t, Config{}, routes)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if a := r.post("x"); a.status != 200 || a.body != "done" {
				t.Errorf("admitted: %d %s", a.status, a.body)
			}
		})
	}
	for range 4 {
		<-hold.entered
	}
	a := r.post("x")
	want := "its limit: 2 × max_concurrent_requests_per_instance (1) × instance_count (2)"
	if a.status != 429 || !strings.Contains(a.message(), want) || a.header.Get("Retry-After") != "1" {
		t.Errorf("got %d %s, want 429 with %q", a.status, a.body, want)
	}
	load := r.Load().Endpoints[0].Deployments[0]
	if load.InFlight != 2 || load.Waiting != 2 {
		t.Errorf("load %+v, want 2 in flight and 2 waiting", load)
	}
	select {
	case <-r.Waiting():
	default:
		t.Error("nobody was told that requests wait")
	}
	if a, b := one.calls.Load(), two.calls.Load(); a != 2 || b != 2 {
		t.Errorf("the instances got %d and %d requests, want 2 each", a, b)
	}
	close(hold.leave)
	wg.Wait()
	if a := r.post("x"); a.status != 200 {
		t.Errorf("after all: %d %s", a.status, a.body)
	}
}

func TestStreamsBothWays(t *testing.T) {
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(w, "echo %s", line)
			w.(http.Flusher).Flush()
		}
	})
	r := newRig(t, Config{}, iris(1, i))
	for proto, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": r.http2} {
		t.Run(proto, func(t *testing.T) {
			in, out := io.Pipe()
			resp, err := client.Do(r.request("POST", "/endpoints/iris/score", in))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answers := bufio.NewReader(resp.Body)
			for n := range 5 { // each line is seen before the next is written
				fmt.Fprintf(out, "line %d\n", n)
				got, err := answers.ReadString('\n')
				if want := fmt.Sprintf("echo line %d\n", n); err != nil || got != want {
					t.Fatalf("got %q, %v, want %q", got, err, want)
				}
			}
			out.Close()
			if _, err := answers.ReadString('\n'); err != io.EOF {
				t.Errorf("the end: %v", err)
			}
		})
	}
}

func TestStreamCutByTheInstance(t *testing.T) {
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "part")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	r := newRig(t, Config{}, iris(1, i))
	for proto, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": r.http2} {
		if a, err := ask(client, r.request("POST", "/endpoints/iris/score", nil)); err == nil {
			t.Errorf("%s: the part %q was taken for the whole", proto, a.body)
		}
	}
	r.log.find(t, func(m map[string]any) bool { return m["reason"] == "instance_lost" })
}

// The deadline is for the whole answer, however well it streams.
func TestDeadlineOfAStream(t *testing.T) {
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for r.Context().Err() == nil {
			fmt.Fprintln(w, "data")
			w.(http.Flusher).Flush()
			<-tick.C
		}
	})
	routes := iris(1, i)
	routes.Deployments[0].Timeout = 300 * time.Millisecond // enough for the first line
	r := newRig(t, Config{}, routes)
	for proto, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": r.http2} {
		a, err := ask(client, r.request("POST", "/endpoints/iris/score", nil))
		if err == nil || a.status != 200 || !strings.HasPrefix(a.body, "data\n") {
			t.Errorf("%s: got %d %q, %v, want a stream that is cut", proto, a.status, a.body, err)
		}
	}
	r.log.find(t, func(m map[string]any) bool { return m["reason"] == "timeout" })
}

func TestExpectContinue(t *testing.T) {
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Expect"); got != "" {
			t.Errorf("Expect: %s was passed on", got)
		}
		echo(w, r)
	})
	r := newRig(t, Config{MaxBody: 200_000}, iris(1, i))
	for length, statuses := range map[int][]int{4: {100, 200}, 150_000: {100, 200}, 200_001: {413}} {
		conn, in := r.raw()
		fmt.Fprintf(conn, "POST /endpoints/iris/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", goodKey, length)
		for _, want := range statuses {
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != want {
				t.Fatalf("body of %d: %v, %v, want %d", length, resp, err, want)
			}
			if want == 100 {
				conn.Write(make([]byte, length))
			} else if n, err := io.Copy(io.Discard, resp.Body); want == 200 && (n != int64(length) || err != nil) {
				t.Errorf("%d of %d bytes came back: %v", n, length, err)
			}
		}
	}
}

func TestTrailers(t *testing.T) {
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", r.Trailer.Get("X-Count"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	})
	r := newRig(t, Config{}, iris(1, i))
	for proto, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": r.http2} {
		req := r.request("POST", "/endpoints/iris/score", io.MultiReader(strings.NewReader("x")))
		req.Trailer = http.Header{"X-Count": {"42"}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if got := resp.Trailer; got.Get("X-Sum") != "42" || got.Get("X-Late") != "unannounced" {
			t.Errorf("%s: trailers %v", proto, got)
		}
	}
}

func TestUpgrade(t *testing.T) {
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "chat" {
			w.WriteHeader(400)
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "chat")
		w.WriteHeader(101)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			line, err := buffered.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "heard %s", line)
		}
	})
	routes := iris(1, i)
	r := newRig(t, Config{}, routes)
	conn, in := r.raw()
	fmt.Fprintf(conn, "GET /endpoints/iris/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: chat\r\n\r\n", goodKey)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Azureml-Model-Deployment") != "blue" {
		t.Fatalf("got %v, %v", resp, err)
	}
	for n := range 3 {
		fmt.Fprintf(conn, "%d\n", n)
		if got, err := in.ReadString('\n'); err != nil || got != fmt.Sprintf("heard %d\n", n) {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	conn.Close()
	eventually(t, "the place is free again", func() bool { return r.endpoints()[0].targets[0].ready[0].inflight.Load() == 0 })
}

func TestClientGone(t *testing.T) {
	hold := newGate()
	i := start(t, "i1", hold.serve)
	r := newRig(t, Config{}, iris(1, i))
	for _, client := range []*http.Client{r.client, r.http2} {
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			at := <-hold.entered
			leave()
			<-at.Context().Done()
			hold.entered <- at
		}()
		if _, err := ask(client, r.request("POST", "/endpoints/iris/score", strings.NewReader("x")).WithContext(ctx)); err == nil {
			t.Error("got an answer")
		}
		<-hold.entered
	}
	r.log.find(t, func(m map[string]any) bool { return m["status"] == 499.0 && m["reason"] == "client_gone" })
}

func TestDrain(t *testing.T) {
	hold := newGate()
	i := start(t, "i1", hold.serve)
	r := newRig(t, Config{}, iris(1, i))
	status := make(chan int)
	go func() {
		a := r.post("x")
		status <- a.status
	}()
	<-hold.entered
	conn, in := r.raw()
	fmt.Fprint(conn, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 200 {
		t.Fatalf("readyz: %v %v", resp, err)
	}
	r.stop()
	eventually(t, "draining", r.draining.Load)
	select {
	case err := <-r.served:
		t.Fatalf("Serve returned %v with a request running", err)
	default:
	}
	close(hold.leave)
	if got := <-status; got != 200 {
		t.Errorf("the running request got %d", got)
	}
	r.served <- <-r.served
}

func TestOwnPaths(t *testing.T) {
	i := start(t, "i1", echo)
	r := newRig(t, Config{Domain: "ML.example.com"})
	get := func(path string, header ...string) answer {
		return r.do(r.client, r.request("GET", path, nil, append([]string{"Authorization", "Bearer x"}, header...)...))
	}
	if a := get("/readyz"); a.status != 503 {
		t.Errorf("ready without routes: %d", a.status)
	}
	r.Reset([]sluice.Routes{iris(1, i)})
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 401, "/other": 404} {
		if a := get(path); a.status != want {
			t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
	if a := get("/healthz", "Host", "iris.ml.example.com:8443", "Authorization", "Bearer "+goodKey); a.status != 200 || a.header.Get("Azureml-Model-Deployment") != "blue" {
		t.Errorf("/healthz of an endpoint's own host: %d %v", a.status, a.header)
	}
	r.post("x")
	r.post("x", "Authorization", "Bearer wrong")
	a := get("/metrics", "Authorization", "Bearer "+adminKey)
	for _, want := range []string{
		`sluice_gateway_requests_total{workspace="default",endpoint="iris",deployment="blue",code="200"} 2`,
		`sluice_gateway_requests_total{workspace="",endpoint="",deployment="",code="401"} 1`,
		`sluice_gateway_instances{workspace="default",endpoint="iris",deployment="blue"} 1`,
		"sluice_gateway_endpoints 1",
	} {
		if !strings.Contains(a.body, want+"\n") {
			t.Errorf("metrics lack %s:\n%s", want, a.body)
		}
	}
}
