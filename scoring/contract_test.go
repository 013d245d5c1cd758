//go:build unix

package scoring

import (
	"bytes"
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
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The contract is checked against the original: one corpus of requests goes to
// azureml-inference-server-http and to this server, with the same script, and
// status, headers and body must be equal, but for the differences that are
// permitted here, each with its reason.

// difference is one that is permitted, and why.
type difference struct {
	name, reason string
	applies      func(c exchange, original, ours answer) bool
}

// permitted differences of answers.
var permitted = []difference{
	{"form", "the original's framework takes a form apart before run() sees it, so run() gets an empty text; ours gets what was sent, which is more than was promised",
		func(c exchange, original, ours answer) bool {
			return c.isForm() && original.Body == `""` && original.Status == 200
		}},
	{"exit", "the original's HTTP layer drops the connection or sends a page of its own when run() ends the interpreter; ours answers 500 as for any failure of run()",
		func(c exchange, original, ours answer) bool {
			return c.body == "exit" && (original.Status == 0 || original.Status == 500) && ours.Status == 500 && ours.Body == `{"message": "`+textScript+`"}`
		}},
}

// Headers that belong to the connection or the HTTP layer.
var ignoredHeaders = []string{"Date", "Server", "Connection", "Keep-Alive"}

const contractScript = `
import json, sys, time, os
class Odd:
    pass
def init():
    pass
def run(data, request_headers):
    if data == "headers":
        return dict(sorted(request_headers.items()))
    if data == "none": return None
    if data == "text": return "text"
    if data == "dumps": return json.dumps({"a": 1})
    if data == "nested": return {"a": [1, 2.5, True, None, {"b": "é\u2028</script>"}]}
    if data == "keys": return {1: "a", None: "b", True: "c"}
    if data == "tuple": return (1, (2,))
    if data == "nan": return [float("nan"), float("inf"), -float("inf")]
    if data == "floats": return [1e-7, 1e16, 0.1, 1.0, 123456789.123456789, 5e-324]
    if data == "int": return 2**70
    if data == "false": return False
    if data == "bytes": return b"x"
    if data == "set": return {1}
    if data == "object": return Odd()
    if data == "keyobject": return {(1, 2): 3}
    if data == "surrogate": return "\ud800"
    if data == "circular":
        out = []
        out.append(out)
        return out
    if data == "raise": raise ValueError("no")
    if data == "own timeout": raise TimeoutError("own")
    if data == "assert": assert False
    if data == "sleep":
        time.sleep(5)
    if data == "exit": sys.exit(1)
    if data == "large": return "é" * 100000
    if data == "env": return [os.environ.get(k) for k in ("AZUREML_MODEL_DIR", "SERVER_PORT_", "WORKER_COUNT", "AML_APP_INSIGHTS_ENABLED")]
    return data
`

// exchange is one request of the corpus.
type exchange struct {
	method, path, body string
	headers            [][2]string
	chunked            bool
	whole              bool // the script is given the request, not its body
}

func (c exchange) header(name string) string {
	for _, h := range c.headers {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

func (c exchange) isForm() bool {
	kind := c.header("Content-Type")
	return strings.HasPrefix(kind, "application/x-www-form-urlencoded") || strings.HasPrefix(kind, "multipart/form-data")
}

func (c exchange) asText() exchange {
	c.headers = [][2]string{{"Content-Type", "text/plain"}}
	return c
}

func (c exchange) String() string {
	return fmt.Sprintf("%s %s %.40q %.80q", c.method, c.path, c.body, fmt.Sprint(c.headers))
}

// corpus generates the requests.
func corpus() []exchange {
	var all []exchange
	long, longest := strings.Repeat("i", 100), strings.Repeat("i", 101)
	ids := [][][2]string{
		nil,
		{{"x-request-id", "r"}},
		{{"x-ms-request-id", "m"}},
		{{"x-ms-client-request-id", "c"}},
		{{"x-request-id", "r"}, {"x-ms-request-id", "m"}, {"x-ms-client-request-id", "c"}},
		{{"x-request-id", long}, {"x-ms-client-request-id", long}},
		{{"x-request-id", longest}},
		{{"x-ms-request-id", longest}},
		{{"x-ms-client-request-id", longest}, {"x-request-id", "r"}},
		{{"x-request-id", ""}},
		{{"x-ms-request-id", ""}, {"x-ms-client-request-id", "c"}},
		{{"x-request-id", "a"}, {"x-request-id", "b"}},
		{{"TraceId", "t"}, {"x-request-id", "é"}},
		{{"traceid", "t"}},
	}
	paths := []string{"/", "/score", "/score/", "/nope", "/Score", "//score", "///score", "/score//", "/%73core", "/score%2F",
		"/score?a=1", "/nope?a=1", "/swagger.json", "/swagger.json?version=3", "/v1/score", "/?x=1", "//"}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"} {
		for _, path := range paths {
			for i, id := range ids {
				if i < 2 || path == "/score" || path == "/" {
					all = append(all, exchange{method: method, path: path, headers: id})
				}
			}
		}
	}
	for _, body := range []string{"", "x", "none", "text", "dumps", "nested", "keys", "tuple", "nan", "floats", "int", "false", "bytes",
		"set", "object", "keyobject", "surrogate", "circular", "raise", "own timeout", "assert", "large", "headers", "env",
		"\xff", "abc\xc3", "é", "\x00", "\ufeffbom", `{"a": [1]}`, strings.Repeat("y", 5000), strings.Repeat("é", 70000), strings.Repeat("z", 1<<20) + "\xff"} {
		for _, kind := range []string{"", "application/json", "text/plain; charset=latin-1", "application/x-www-form-urlencoded", "application/octet-stream"} {
			c := exchange{method: "POST", path: "/score", body: body}
			if kind != "" {
				c.headers = [][2]string{{"Content-Type", kind}}
			}
			all = append(all, c)
		}
		all = append(all, exchange{method: "POST", path: "/score?q=1", body: body, chunked: true, headers: [][2]string{{"Content-Type", "text/plain"}}})
	}
	for _, query := range []string{"a=1&b=[1,2]&c=a&d=null", "foo=bar1&foo=bar2&x=y", "a=%5B1%5D&b=x+y", "a=&b", "a=1;b=2", "a=%ff", "%ff=1",
		"a=NaN&b=Infinity", "a=1e400", "&&", "=", "a=\"x\"", "a=%C3%A9", "a=%22\\u00e9%22", "a=1&a=[&a=true", "a=" + strings.Repeat("9", 300)} {
		all = append(all, exchange{method: "GET", path: "/score?" + query})
	}
	all = append(all,
		exchange{method: "POST", path: "/score", body: "headers", headers: [][2]string{{"X-A", "1"}, {"x-a", "2"}, {"X_Under", "u"},
			{"x-b3traceid", "q"}, {"X-MIXED-case", "v"}, {"X-Empty", ""}, {"X-Latin", "caf\xe9"}, {"Accept-Encoding", "gzip"}}},
		exchange{method: "POST", path: "/score", body: "\x1f\x8b\x08\x00", headers: [][2]string{{"Content-Encoding", "gzip"}}},
		exchange{method: "GET", path: "/score?a=1", body: "with a body"},
	)
	return all
}

func TestContract(t *testing.T) {
	original := startOriginal(t, contractScript)
	ours := start(t, contractScript, environ("AZUREML_MODEL_DIR=/no/model"))
	used := compareAll(t, original, ours, append(corpus(),
		exchange{method: "POST", path: "/score", body: "exit", headers: [][2]string{{"Content-Type", "text/plain"}}}))
	for _, p := range permitted {
		if used[p.name] == 0 {
			t.Errorf("the difference %q is permitted (%s) but does not occur", p.name, p.reason)
		}
	}
}

func TestContractTimeLimit(t *testing.T) {
	original := startOriginal(t, contractScript, "SCORING_TIMEOUT_MS=300", "SERVER_VERSION_LOG_RESPONSE_ENABLED=no")
	ours := start(t, contractScript, limit(300*time.Millisecond), func(s *Settings) { s.Version = "" })
	compareAll(t, original, ours, []exchange{
		{method: "POST", path: "/score", body: "sleep", headers: [][2]string{{"Content-Type", "text/plain"}}},
		{method: "POST", path: "/score", body: "own timeout", headers: [][2]string{{"Content-Type", "text/plain"}}},
		{method: "GET", path: "/"},
	})
}

func compareAll(t *testing.T, original, ours *running, all []exchange) map[string]int {
	t.Helper()
	return compareWith(t, original, ours, all, permitted)
}

func compareWith(t *testing.T, original, ours *running, all []exchange, permitted []difference) map[string]int {
	t.Helper()
	used, statuses := map[string]int{}, map[int]int{}
	for _, c := range all {
		want, got := original.exchange(c), ours.exchange(c)
		statuses[want.Status]++
		diff := cmp.Diff(normal(c, want), normal(c, got))
		if diff == "" {
			continue
		}
		if c.isForm() && !c.whole {
			// Then it must be what the original answers to the same as text.
			diff = cmp.Diff(normal(c, original.exchange(c.asText())), normal(c.asText(), got))
			if diff != "" && c.body != "headers" {
				t.Errorf("%s, against the original for text (-original +ours):\n%.1500s", c, diff)
			}
		}
		allowed := false
		for _, p := range permitted {
			if p.applies(c, want, got) {
				used[p.name]++
				allowed = true
				break
			}
		}
		if !allowed {
			t.Errorf("%s (-original +ours):\n%.1500s", c, diff)
		}
	}
	t.Logf("%d exchanges, by status %v; permitted differences: %v", len(all), statuses, used)
	return used
}

var (
	madeID     = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	cookieDate = regexp.MustCompile(`Expires=[^;]*; Max-Age=60`)
	execMS     = regexp.MustCompile(`^\d+\.\d{3}$`)
)

// normal takes out of an answer what must differ: ids that were made, times.
func normal(c exchange, a answer) answer {
	out := answer{Status: a.Status, Body: a.Body, Header: a.Header.Clone()}
	for _, name := range ignoredHeaders {
		delete(out.Header, name)
	}
	made := a.Header.Get("X-Request-Id")
	for name, values := range out.Header {
		for i, v := range values {
			switch {
			case madeID.MatchString(v) && v == made:
				values[i] = "(made)"
			case name == "Allow": // the original's order is that of a set
				methods := strings.Split(v, ", ")
				slices.Sort(methods)
				values[i] = strings.Join(methods, ", ")
			case name == "Set-Cookie":
				values[i] = cookieDate.ReplaceAllString(v, "Expires=(date); Max-Age=60")
			case name == "X-Ms-Run-Fn-Exec-Ms" && execMS.MatchString(v):
				values[i] = "(ms)"
			}
		}
	}
	if c.body == "headers" || c.whole {
		// The two are reached at different addresses.
		out.Body = regexp.MustCompile(`"Host": "[^"]*"`).ReplaceAllString(out.Body, `"Host": "(host)"`)
	}
	if c.body == "headers" {
		out.Header.Del("Content-Length")
	}
	return out
}

// exchange sends one request as it is, over a connection of its own. A status
// of 0 is a connection that ended without an answer.
func (r *running) exchange(c exchange) answer {
	r.t.Helper()
	conn, err := r.client.Transport.(*http.Transport).DialContext(r.t.Context(), "", "")
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		r.t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: sluice.test\r\nConnection: close\r\n", c.method, c.path)
	for _, h := range c.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	switch {
	case c.chunked:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n")
		if c.body != "" {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c.body), c.body)
		}
		b.WriteString("0\r\n\r\n")
	case c.body != "" || c.method == "POST":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(c.body), c.body)
	default:
		b.WriteString("\r\n")
	}
	if _, err := conn.Write(b.Bytes()); err != nil {
		r.t.Logf("%s: writing: %v", c, err)
	}
	return readAnswer(r.t, conn, c.method)
}

func readAnswer(t testing.TB, conn net.Conn, method string) answer {
	t.Helper()
	wire, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Logf("reading: %v", err)
	}
	if len(wire) == 0 {
		return answer{}
	}
	res, err := http.ReadResponse(newBufio(wire), &http.Request{Method: method})
	if err != nil {
		return answer{Status: -1, Body: string(wire)}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil { // it was cut short
		return answer{Status: -1, Header: res.Header, Body: string(body)}
	}
	return answer{Status: res.StatusCode, Header: res.Header, Body: string(body)}
}

// startOriginal starts the original server.
func startOriginal(t testing.TB, script string, env ...string) *running {
	t.Helper()
	return startOriginalIn(t, originalBin(t), script, env...)
}

// startOriginalIn starts the original server of an environment.
func startOriginalIn(t testing.TB, bin, script string, env ...string) *running {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "score.py"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	cmd := exec.Command(filepath.Join(bin, "azmlinfsrv"), "--entry_script", "score.py", "--model_dir", "/no/model", "--port", fmt.Sprint(port))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append([]string{"HOME=" + dir, "AML_APP_ROOT=" + dir}, env...)...)
	return startPeer(t, cmd, port, "/")
}

// startPeer starts another server and waits until a path of it answers.
func startPeer(t testing.TB, cmd *exec.Cmd, port int, path string) *running {
	t.Helper()
	r := &running{t: t, log: &output{}, dir: cmd.Dir}
	cmd.Stdout, cmd.Stderr = r.log, r.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // its exit code says nothing
		if t.Failed() {
			log := r.log.String()
			t.Logf("the original's log ends with:\n%s", log[max(0, len(log)-3000):])
		}
	})
	r.client = clientTo("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	r.eventually("the original is ready", func() bool {
		a, err := r.try("GET", path, "")
		return err == nil && a.Status == 200
	})
	return r
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// originalBin gives the bin folder of an environment with the original in it.
func originalBin(t testing.TB) string {
	t.Helper()
	return environmentBin(t, "azmlinfsrv-"+ContractVersion, "azureml-inference-server-http=="+ContractVersion)
}

// environmentBin gives the bin folder of an environment with some packages,
// which is made once and kept.
func environmentBin(t testing.TB, name string, packages ...string) string {
	t.Helper()
	cache := os.Getenv("SLUICE_TEST_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(user, "sluice-test")
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, name)
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ready := filepath.Join(dir, ".ready")
	if _, err := os.Stat(ready); err == nil {
		return filepath.Join(dir, "bin")
	}
	must := func(name string, args ...string) {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	}
	must(originalPython(t), "-m", "venv", "--clear", dir)
	must(filepath.Join(dir, "bin", "pip"), append([]string{"install", "--quiet", "--disable-pip-version-check"}, packages...)...)
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "bin")
}

// originalPython prefers a version that the original has been around for.
func originalPython(t testing.TB) string {
	t.Helper()
	found := pythons(t)
	for _, want := range []string{"python3.11", "python3.12", "python3.10"} {
		for _, path := range found {
			if strings.HasSuffix(path, want) {
				return path
			}
		}
	}
	return found[len(found)-1]
}
