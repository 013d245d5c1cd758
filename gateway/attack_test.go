package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

// Bytes that no well-meaning client sends. The instance must see nothing of
// those that are refused, and exactly one request of the others.
func TestHostileBytes(t *testing.T) {
	seen := make(chan string, 100)
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- r.Method + " " + r.RequestURI + " " + string(body)
	})
	r := newRig(t, Config{}, iris(1, i))
	auth := "Authorization: Bearer " + goodKey + "\r\n"
	post := "POST /endpoints/iris/score HTTP/1.1\r\nHost: x\r\n" + auth
	tests := []struct {
		name   string
		bytes  string
		status int
		seen   string
	}{
		{"length and chunks", post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 200, "POST /score "}, // chunks win, and are all that is passed on
		{"two lengths", post + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400, ""},
		{"odd length", post + "Content-Length: +4\r\n\r\nabcd", 400, ""},
		{"odd coding", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, ""},
		{"two codings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501, ""},
		{"space before the colon", post + "Content-Length : 4\r\n\r\nabcd", 400, ""},
		{"folded field", post + "X-A: b\r\n Content-Length: 4\r\n\r\n", 200, "POST /score "},
		{"control character in a value", post + "X-A: b\x00c\r\n\r\n", 400, ""},
		{"odd method", "GE T /endpoints/iris/score HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		{"no host", "GET /endpoints/iris/score HTTP/1.1\r\n" + auth + "\r\n", 400, ""},
		{"key twice", post + auth + "\r\n", 401, ""},
		{"good key and bad key", post + "authorization: Bearer x\r\n\r\n", 401, ""},
		{"keys in one value", "GET /endpoints/iris/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x, Bearer " + goodKey + "\r\n\r\n", 401, ""},
		{"deployment twice", post + "azureml-model-deployment: blue\r\nazureml-model-deployment: green\r\n\r\n", 400, ""},
		{"key taken off by Connection", "GET /endpoints/iris/score HTTP/1.1\r\nHost: x\r\nConnection: authorization\r\n\r\n", 401, ""},
		{"length taken off by Connection", post + "Connection: content-length\r\nContent-Length: 4\r\n\r\nabcd", 200, "POST /score abcd"},
		{"absolute form", "GET http://other/endpoints/iris/score HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 200, "GET /score "},
		{"two slashes below the base", "GET /endpoints/iris//other/score HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 200, "GET //other/score "},
		{"encoded slash in the name", "GET /endpoints/iris%2fscore HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, ""},
		{"encoded name", "GET /endpoints/%69ris/score HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, ""},
		{"dots before the name", "GET /endpoints/../endpoints/iris/score HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, ""},
		{"two slashes", "GET //endpoints/iris/score HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, ""},
		{"out of the base", "GET /endpoints/iris/../rose/score HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 400, ""},
		{"out of the base, encoded", "GET /endpoints/iris/a%2f..%2F..%2frose HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 400, ""},
		{"out of the base, with backslashes", "GET /endpoints/iris/a\\..\\rose HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 400, ""},
		{"workspace of dots", "GET /w/../endpoints/iris/score HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, ""},
		{"connect", "CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 10.0.0.1:80\r\n" + auth + "\r\n", 404, ""},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 200, ""}, // answered by the library
		{"trace", "TRACE /endpoints/iris/score HTTP/1.1\r\nHost: x\r\n\r\n", 401, ""},
		{"huge field", post + "X-A: " + strings.Repeat("a", 100_000) + "\r\n\r\n", 431, ""},
		{"many fields", post + strings.Repeat("X-A: aaaaaaaa\r\n", 8_000) + "\r\n", 431, ""},
		{"long path", "GET /endpoints/iris/" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, in := r.raw()
			go io.WriteString(conn, tt.bytes) // the gateway may answer and close before it has read all
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status {
				t.Errorf("got %d, want %d", resp.StatusCode, tt.status)
			}
			got := ""
			select {
			case got = <-seen:
			default:
			}
			if got != tt.seen {
				t.Errorf("the instance saw %q, want %q", got, tt.seen)
			}
		})
	}
}

func TestSlowHead(t *testing.T) {
	i := start(t, "i1", echo)
	r := newRig(t, Config{HeaderTime: time.Second}, iris(1, i)) // the handshake is in it
	conn, in := r.raw()
	fmt.Fprint(conn, "POST /endpoints/iris/score HTTP/1.1\r\nHost:")
	if _, err := io.ReadAll(in); err != nil { // ends when the gateway closes
		t.Errorf("the connection was not closed: %v", err)
	}
}

// A body that never comes holds no connection, whoever refuses it.
func TestBodyThatNeverComes(t *testing.T) {
	r := newRig(t, Config{}, iris(1, start(t, "i1", echo)))
	for _, line := range []string{"GET /healthz", "POST /healthz", "GET /metrics", "POST /endpoints/iris/score", "POST /nothing"} {
		conn, in := r.raw()
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", line)
		if text, err := io.ReadAll(in); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 ") {
			t.Errorf("%s: got %.60q, %v, want an answer and the end of the connection", line, text, err)
		}
	}
}

// Scoring servers send fields back that they were sent. The longest head that
// a caller may send must not make the instance look broken.
func TestHeadSentBack(t *testing.T) {
	i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("TraceId", r.Header.Get("Traceid"))
		echo(w, r)
	})
	r := newRig(t, Config{}, iris(1, i))
	for _, length := range []int{1000, maxHead, maxHead + 2000} {
		if a := r.post("x", "Traceid", strings.Repeat("t", length)); a.status != 200 {
			t.Errorf("a field of %d bytes: got %d %s, want 200", length, a.status, a.body)
		}
	}
}

// What an instance answers is as hostile as what a caller asks.
func TestHostileAnswers(t *testing.T) {
	tests := []struct {
		name   string
		answer string
		status int
	}{
		{"not HTTP", "hello\r\n\r\n", 424},
		{"huge head", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 100_000) + "\r\n\r\n", 424},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 424},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 424},
		{"control character", "HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 0\r\n\r\n", 424},
		{"upgrade nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n", 424},
		{"status out of range", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 424},
		{"nothing", "", 424},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := start(t, "i1", func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(conn, tt.answer)
				conn.Close()
			})
			r := newRig(t, Config{}, iris(1, i))
			if a := r.post("x"); a.status != tt.status {
				t.Errorf("got %d %s, want %d", a.status, a.body, tt.status)
			}
		})
	}
}

func TestLocate(t *testing.T) {
	tests := []struct {
		host, path string
		want       place
		ok         bool
	}{
		{"h", "/endpoints/iris/score", place{key{"default", "iris"}, "/score"}, true},
		{"h", "/endpoints/Iris-2", place{key{"default", "iris-2"}, "/"}, true},
		{"h", "/endpoints/iris/", place{key{"default", "iris"}, "/"}, true},
		{"h", "/w/Team_1.a/endpoints/iris/a/b", place{key{"team_1.a", "iris"}, "/a/b"}, true},
		{"iris.ml.io", "/score", place{key{"default", "iris"}, "/score"}, true},
		{"IRIS.ML.io.:8443", "", place{key{"default", "iris"}, "/"}, true},
		{"iris.ml.io", "/endpoints/rose/score", place{key{"default", "iris"}, "/endpoints/rose/score"}, true},
		{"ml.io", "/endpoints/rose/score", place{key{"default", "rose"}, "/score"}, true},
		{"a.iris.ml.io", "/score", place{}, false},
		{"irisml.io", "/score", place{}, false},
		{".ml.io", "/score", place{}, false},
		{"iris.ml.io", "*", place{}, false},
		{"h", "/endpoints/", place{}, false},
		{"h", "/endpoints", place{}, false},
		{"h", "/endpoints//score", place{}, false},
		{"h", "/endpoints/-a/score", place{}, false},
		{"h", "/endpoints/a_b/score", place{}, false},
		{"h", "/w//endpoints/iris", place{}, false},
		{"h", "/w/default", place{}, false},
		{"h", "/w/default/iris", place{}, false},
		{"h", "", place{}, false},
	}
	for _, tt := range tests {
		got, ok := locate(tt.host, tt.path, "ml.io")
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("locate(%q, %q) = %+v, %v, want %+v, %v", tt.host, tt.path, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzLocate(f *testing.F) {
	for _, s := range []string{"/endpoints/iris/score", "/w/a/endpoints/b/c", "/endpoints/a%2f..%2fb", "//", "/endpoints/a/..", "/endpoints/a/%2e%2e%5c", "*"} {
		f.Add("iris.ml.io", s)
		f.Add("h:8443", s)
	}
	f.Fuzz(func(t *testing.T, host, p string) {
		got, ok := locate(host, p, "ml.io")
		if !ok {
			return
		}
		if !isWorkspace(got.workspace) || !isEndpoint(got.endpoint) || got.key != keyOf(got.workspace, got.endpoint) {
			t.Errorf("locate(%q, %q) leads to %+v", host, p, got.key)
		}
		if got.rest == "" || got.rest[0] != '/' || !strings.HasSuffix(p, got.rest) && got.rest != "/" {
			t.Errorf("locate(%q, %q) leaves %q", host, p, got.rest)
		}
		plain, err := url.PathUnescape(got.rest)
		if err != nil || hasDotSegment(got.rest) {
			return
		}
		// What is passed on has no dot segment left for anybody to resolve.
		plain = strings.ReplaceAll(plain, "\\", "/")
		for segment := range strings.SplitSeq(plain, "/") {
			if segment == "." || segment == ".." {
				t.Errorf("%q passes with a dot segment", got.rest)
			}
		}
		if resolved := path.Clean(plain); strings.Count(resolved, "/") > strings.Count(plain, "/") {
			t.Errorf("%q resolves to %q", plain, resolved)
		}
	})
}

func FuzzHead(f *testing.F) {
	f.Add("trace-1", "Bearer x", "blue", "keep-alive, x-a", "chat")
	f.Add("\r\nX: y", "bearer "+goodKey, "BLUE", "upgrade", "")
	f.Fuzz(func(t *testing.T, trace, auth, deployment, connection, upgrade string) {
		routes := iris(1)
		p := compile(routes, func(string) *tally { return &tally{} }, func(sluice.Backend) *backend { return nil })
		h := http.Header{fieldClientID: {trace}, fieldAuthorization: {auth}, fieldDeployment: {deployment},
			"Connection": {connection}, "Upgrade": {upgrade}, "X-A": {"1"}}
		id := clientID(h)
		for _, c := range []byte(id) {
			if !isTraceByte(c) {
				t.Errorf("trace id %q", id)
			}
		}
		if refused := authenticate(h, &p.routes); refused == nil && !strings.HasSuffix(auth, goodKey) && !strings.HasSuffix(auth, secondKey) {
			t.Errorf("%q was let in", auth)
		} else if refused != nil && auth != "" && len(auth) > 12 && strings.Contains(string(refused.body()), auth) {
			t.Errorf("the refusal shows %q", auth)
		}
		if target, refused := choose(h, p, func(n int) int { return n - 1 }); (target == nil) == (refused == nil) {
			t.Errorf("choose gave %v and %v", target, refused)
		}
		forwardFields(h, &call{id: "id", clientID: id}, true)
		if len(h[fieldAuthorization])+len(h[fieldDeployment]) > 0 {
			t.Error("a private field is passed on")
		}
		if got := h["Connection"]; len(got) > 1 || len(got) == 1 && got[0] != "Upgrade" {
			t.Errorf("Connection: %q is passed on", got)
		}
	})
}
