//go:build unix

package scoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rawScript tells everything that a script can see of a request.
const rawScript = `
import io, json
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
import azureml_inference_server_http.api.aml_request as api
assert api.rawhttp is rawhttp
try:
    from flask import Response
except ModuleNotFoundError:
    from azureml_inference_server_http._response import Response

def init():
    pass

def seen(r):
    if r.args.get("read") == "form":
        r.form
    if r.args.get("read") == "stream":
        return {"stream": r.stream.read().decode("latin-1"), "data": r.get_data(as_text=True)}
    if r.args.get("read") == "raw":
        return {"raw": r.get_data().decode("latin-1"), "form": r.form.to_dict(flat=False),
                "files": sorted((f.name, f.filename, f.read().decode("latin-1")) for k, f in r.files.items(multi=True))}
    return {
        "method": r.method, "path": r.path, "full_path": r.full_path, "query": r.query_string.decode("latin-1"),
        "url": r.url.partition("/score")[2], "base_url": r.base_url.rpartition("/")[2], "scheme": r.scheme, "secure": r.is_secure,
        "host_url": r.host_url, "url_root": r.url_root, "route": list(r.access_route) if "X-Forwarded-For" in r.headers else None, "root": r.root_path, "script_root": r.script_root,
        "args": r.args.to_dict(flat=False), "first": dict(r.args), "list": r.args.getlist("a"), "int": r.args.get("n", 7, type=int),
        "ints": r.args.getlist("n", type=int),
        "missing": r.args.get("zz"), "in": ["a" in r.args, "zz" in r.args], "lists": sorted((k, v) for k, v in r.args.lists()),
        "headers": sorted((k, v) for k, v in r.headers.items() if k not in ("Host", "Connection")),
        "header": [r.headers.get("x-a"), r.headers.get("X-A", "d"), "x-A" in r.headers, r.headers.get("nope", "d"), r.headers.get("X-N", type=int)],
        "mimetype": r.mimetype, "params": r.mimetype_params, "type": r.content_type, "length": r.content_length,
        "encoding": r.content_encoding, "is_json": r.is_json, "cookies": dict(r.cookies), "referrer": r.referrer,
        "agent": str(r.user_agent), "auth": r.authorization and [r.authorization.type, r.authorization.token, r.authorization.username, r.authorization.password],
        "origin": r.origin,
        "data": r.data.decode("latin-1"), "text": r.get_data(as_text=True), "form": r.form.to_dict(flat=False),
        "files": sorted([k, f.filename, f.name, f.content_type, f.mimetype, f.mimetype_params, f.read().decode("latin-1"), sorted(f.headers.items()), bool(f)]
                        for k, f in r.files.items(multi=True)),
        "getlist": [f.filename for f in r.files.getlist("f")],
        "values": r.values.to_dict(flat=False), "silent": r.get_json(silent=True), "force": r.get_json(silent=True, force=True),
        "endpoint": r.endpoint, "blueprint": r.blueprint, "view": r.view_args,
    }

class Closing:
    def __init__(self, parts): self.parts = iter(parts)
    def __iter__(self): return self
    def __next__(self): return next(self.parts)

def broken():
    yield b"first"
    raise ValueError("in the middle")

def broken_at_once():
    raise ValueError("at once")
    yield b""

@rawhttp
def run(request):
    case = request.args.get("case")
    if case is None: return seen(request)
    if case == "none": return None
    if case == "json": return {"a": [1, "é"]}
    if case == "bytes": return b"x"
    if case == "raise": raise ValueError("no")
    if case == "badjson": return request.json
    if case == "getjson": return request.get_json()
    if case == "missing arg": return request.args["nope"]
    if case == "response": return Response("plain")
    if case == "response bytes": return Response(b"\xff\x00", status=201, mimetype="image/png", headers={"X-One": "1"})
    if case == "type": return Response("a", content_type="text/x-own; charset=latin-1")
    if case == "xml": return Response("<a/>", mimetype="application/xml")
    if case == "status text": return Response("a", status="404 NOWHERE")
    if case == "status number text": return Response("a", status="418")
    if case == "settable":
        r = Response("a")
        r.status_code = 202
        r.mimetype = "application/x-own"
        r.headers["X-A"] = "1"
        r.headers.add("X-A", "2")
        r.headers.setdefault("X-B", "3")
        r.headers.extend({"X-C": ["4", "5"]})
        r.headers.set("x-b", "6")
        r.data = "é"
        return r
    if case == "cookie":
        r = Response("a")
        r.set_cookie("k", "v", max_age=60, httponly=True)
        r.set_cookie("q", 'é"; \\x', domain="x.test", secure=True, samesite="lax", path=None)
        r.delete_cookie("gone")
        return r
    if case == "list body": return Response(["a", b"b", "é"])
    if case == "tuple body": return Response(("a", b"b"))
    if case == "empty": return Response()
    if case == "none body": return Response(None, status=204)
    if case == "304": return Response("a", status=304, headers={"ETag": '"x"', "Content-Language": "de"})
    if case == "204": return Response("a", status=204)
    if case == "500": return Response("down", status=500)
    if case == "503 own": return AMLResponse("down", 503, {"Retry-After": "1"})
    if case == "599": return AMLResponse("down", 599, run_function_failed=False)
    if case == "aml": return AMLResponse("text", 200)
    if case == "aml none": return AMLResponse(None, 201)
    if case == "aml json": return AMLResponse({"a": "é"}, 202, json_str=True)
    if case == "aml list": return AMLResponse([b"a", b"b"], 200)
    if case == "aml headers": return AMLResponse("t", 200, {"X-A": "1, 2,3", "Content-Type": "image/png", "x-b": ""})
    if case == "aml lower type": return AMLResponse("t", 200, {"content-type": "image/png"})
    if case == "aml failed": return AMLResponse("t", 200, run_function_failed=True)
    if case == "aml status text": return AMLResponse("t", "207 MANY")
    if case == "aml ids": return AMLResponse("t", 200, {"x-request-id": "mine", "x-ms-request-id": "mine", "TraceId": "mine", "x-ms-server-version": "mine", "x-ms-client-request-id": "mine"})
    if case == "aml number": return AMLResponse("t", 200, {"X-A": 1})
    if case == "aml newline": return AMLResponse("t", 200, {"X-A": "a\nb"})
    if case == "hop": return AMLResponse("t", 200, {"Connection": "x", "Keep-Alive": "y", "Transfer-Encoding": "chunked", "Server": "z"})
    if case == "location": return AMLResponse("t", 302, {"Location": "/elsewhere"})
    if case == "large": return AMLResponse(b"\x00\xff" * 100000, 200, {"Content-Type": "application/octet-stream"})
    if case == "stream": return AMLResponse((b"part %d " % i for i in range(5)), 200)
    if case == "stream text": return AMLResponse((p for p in ["é", b"", "b"]), 200, {"Content-Type": "text/event-stream"})
    if case == "stream none": return AMLResponse((p for p in []), 200)
    if case == "stream large": return AMLResponse((b"\x00\xff" * 50000 for i in range(5)), 200)
    if case == "stream length": return Response((b"12345" for i in range(2)), headers={"Content-Length": "10"})
    if case == "stream iterator": return Response(Closing([b"a", b"b"]))
    if case == "stream file": return Response(io.BytesIO(b"line\nline\n"))
    if case == "stream broken": return Response(broken())
    if case == "stream broken at once": return Response(broken_at_once())
    if case == "len body": return Response("abc", headers={"Content-Length": "3"})
    if case == "set": return {1}
    if case == "echo": return AMLResponse(request.get_data(), 200, {"Content-Type": request.content_type or "none"})
    if case == "read": return Response(Response("abc", 201).get_data(as_text=True) + str(Response(json.dumps([1]), mimetype="application/json").get_json()))
    raise LookupError(case)
`

const boundary = "AaB03x"

// multipart makes the body of a form out of its parts.
func multipart(newline string, parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("--" + boundary + newline + strings.ReplaceAll(part, "\n", newline) + newline)
	}
	return b.String() + "--" + boundary + "--" + newline
}

func rawCorpus() []exchange {
	var all []exchange
	add := func(method, path, body string, headers ...string) {
		c := exchange{method: method, path: path, body: body}
		for i := 0; i < len(headers); i += 2 {
			c.headers = append(c.headers, [2]string{headers[i], headers[i+1]})
		}
		all = append(all, c)
	}
	for _, line := range strings.Split(rawScript, "\n") {
		if _, rest, ok := strings.Cut(line, `if case == "`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			for _, method := range []string{"POST", "GET", "HEAD", "OPTIONS"} {
				add(method, "/score?case="+strings.ReplaceAll(name, " ", "+"), "")
			}
		}
	}
	for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "FOO"} {
		for _, path := range []string{"/score", "/score?a=1&a=2&n=3&n=x&b=%20+c&d&=e&f=%ff&g=%C3%A9", "//score", "/%73core?x=/?", "/score/", "/nope", "/score?q=a%2Fb'(c)~$!*"} {
			add(method, path, "")
		}
	}
	add("GET", "/score?a=1", "with a body", "Content-Type", "text/plain")
	add("POST", "/score?a=1", "body", "X-A", "1", "x-a", "2", "X_Under", "u", "X-N", "12", "X-Latin", "caf\xe9", "Cookie", `a=1; b="q\"x"; c; =d; e=f=g; a=2`,
		"Referer", "http://r/", "User-Agent", "agent/1", "Authorization", "Basic dTpwOnE=", "Origin", "http://o", "Content-Encoding", "gzip", "X-Forwarded-For", "1.2.3.4, 5.6.7.8", "X-Request-Id", "r")
	add("POST", "/score", "body", "Authorization", "Bearer abc.def", "X-Forwarded-Proto", "https")
	add("POST", "/score", "body", "Authorization", "Basic !!!")
	for _, body := range []string{"", `{"a": [1]}`, "[1", "\xff", `"é"`, "null", "NaN", strings.Repeat("[", 50)} {
		for _, kind := range []string{"", "application/json", "application/json; charset=utf-8", "application/vnd.x+json", "Application/JSON", "text/json", "text/plain"} {
			for _, path := range []string{"/score", "/score?case=badjson", "/score?case=getjson", "/score?case=echo"} {
				if kind == "" {
					add("POST", path, body)
				} else {
					add("POST", path, body, "Content-Type", kind)
				}
			}
		}
	}
	large := strings.Repeat("binary\x00\xff", 20000)
	forms := []string{"a=1&a=2&b=x+y&c=%C3%A9&d=%ff&e", "&&=", "a=\xff", "", strings.Repeat("a=1&", 2000), "a=" + strings.Repeat("x", 500_001)}
	const disposition = "Content-Disposition: form-data; "
	parts := []string{
		multipart("\r\n", disposition+"name=\"a\"\n\none", disposition+"name=\"a\"\n\ntwo\nlines"),
		multipart("\r\n", disposition+"name=\"f\"; filename=\"x.png\"\nContent-Type: image/png; x=y\n\n\x89PNG\x00\xff", disposition+"name=\"f\"; filename=\"\"\n\n", disposition+"name=\"g\"\n\n"),
		multipart("\n", disposition+"name=\"a\"\n\none", disposition+"name=\"f\"; filename=y\n\nbody"),
		multipart("\r\n", disposition+"name=\"f\"; filename*=UTF-8''%C3%A9.txt\n\nx", disposition+"name=\"q\\\"uote\"\n\nv", disposition+"name=\"f\"; filename=\"C:\\dir\\a.txt\"\n\nx"),
		multipart("\r\n", disposition+"name=\"c\"\nContent-Type: text/plain; charset=iso-8859-1\n\ncaf\xe9", disposition+"name=\"d\"\n\n\xff", disposition+"name=\"e\"\nContent-Type: text/plain; charset=koi8-r\n\n\xc1"),
		multipart("\r\n", "X-Other: 1\n\nno disposition"),
		multipart("\r\n", disposition+"name=\"a\"\nX-Long: one\n two\n\nfolded"),
		multipart("\r\n", disposition+"\n\nno name", disposition+"filename=\"z\"\n\nno name"),
		multipart("\r\n", disposition+"name=\"f\"; filename=\"l.bin\"\n\n"+large),
		multipart("\r\n"),
		"--" + boundary + "\r\n" + disposition + "name=\"a\"\r\n\r\nno end",
		"preamble\r\n" + multipart("\r\n", disposition+"name=\"a\"\n\none") + "epilogue",
		"--" + boundary + "  \r\n" + disposition + "name=a\r\n\r\none\r\n--" + boundary + "--",
		multipart("\r\n", disposition+"name=\"a\"\n\n--"+boundary+"x\nnot a boundary"),
		multipart("\r\n", strings.Split(strings.Repeat(disposition+"name=\"a\"\n\n1|", 1001), "|")[:1001]...),
		multipart("\r\n", strings.Split(strings.Repeat(disposition+"name=\"a\"\n\n1|", 1000), "|")[:1000]...),
		multipart("\r\n", disposition+"name=\"a\"\n\n"+strings.Repeat("x", 600_000)),
		"", "junk", "--" + boundary, "--" + boundary + "\r\n\r\n\r\n--" + boundary + "--\r\n",
	}
	for _, path := range []string{"/score", "/score?read=form", "/score?read=stream", "/score?read=raw"} {
		for _, body := range forms {
			add("POST", path, body, "Content-Type", "application/x-www-form-urlencoded")
		}
		for _, body := range parts {
			add("POST", path, body, "Content-Type", "multipart/form-data; boundary="+boundary)
		}
		add("POST", path, parts[0], "Content-Type", "multipart/form-data; boundary=\""+boundary+"\"; charset=utf-8")
		add("POST", path, parts[0], "Content-Type", "multipart/form-data")
		add("POST", path, parts[0], "Content-Type", "Multipart/Form-Data; Boundary="+boundary)
		add("POST", path, parts[0], "Content-Type", "multipart/mixed; boundary="+boundary)
		add("OPTIONS", path, parts[0], "Content-Type", "multipart/form-data; boundary="+boundary)
	}
	all = append(all, exchange{method: "POST", path: "/score?case=echo", body: large, chunked: true})
	return all
}

// TestContractRaw sends the same requests to scripts that take them whole: once
// with what we provide and no Flask, once with what we provide and Flask, and
// once where the original is installed.
func TestContractRaw(t *testing.T) {
	original := startOriginal(t, rawScript)
	bin, bare := originalBin(t), barePython(t)
	for _, c := range []struct {
		name string
		opts []option
	}{
		{"stand-in", []option{interpreter(bare)}},
		{"Flask", []option{interpreter(bare), environ("PYTHONPATH=" + justFlask(t, bin))}},
		{"the original's modules", []option{interpreter(filepath.Join(bin, "python"))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours := start(t, rawScript, append(c.opts, environ("AZUREML_MODEL_DIR=/no/model"))...)
			compareRaw(t, original, ours, rawCorpus())
		})
	}
}

// permittedRaw are the differences for scripts that see HTTP.
var permittedRaw = []difference{
	{"broken stream", "the original's HTTP layer sends a page of HTML when a stream fails before its first piece; ours answers as for any failure of the server's part",
		func(c exchange, original, ours answer) bool {
			return c.path == "/score?case=stream+broken+at+once" && original.Status == 500 && ours.Status == 500 && ours.Body == `{"message": "`+textInternal+`"}`
		}},
}

func compareRaw(t *testing.T, original, ours *running, all []exchange) {
	t.Helper()
	for i := range all {
		all[i].whole = true
	}
	compareWith(t, original, ours, all, permittedRaw)
}

// barePython makes an environment with no package at all.
func barePython(t testing.TB) string {
	t.Helper()
	return bareOf(t, originalPython(t))
}

func bareOf(t testing.TB, python string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command(python, "-m", "venv", "--without-pip", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "bin", "python")
}

// justFlask makes a folder with Flask of the original's environment and what it
// needs, and nothing else of it.
func justFlask(t *testing.T, bin string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"flask", "werkzeug", "jinja2", "markupsafe", "itsdangerous", "click", "blinker"} {
		found, err := filepath.Glob(filepath.Join(filepath.Dir(bin), "lib", "python3*", "site-packages", name))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s is not in the original's environment: %v", name, err)
		}
		if err := os.Symlink(found[0], filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// FuzzForm gives the stand-in's parsers what a stranger may send: each request
// is answered, and a form holds no more than was sent.
func FuzzForm(f *testing.F) {
	for _, c := range rawCorpus() {
		if kind := c.header("Content-Type"); c.isForm() && len(c.body) < 10_000 {
			f.Add(kind, c.header("Cookie"), c.body)
		}
	}
	f.Add("application/json; a*0=x; a*1*=utf-8''%ff; a=\"", `a="\303\"; =b;c`, "[1")
	r := start(f, `
from azureml.contrib.services.aml_request import rawhttp
from azureml_inference_server_http._values import HTTPError
def init(): pass
@rawhttp
def run(request):
    try:
        size = sum(len(v) for k, v in request.form.items(multi=True)) + sum(len(file.read()) for k, file in request.files.items(multi=True))
        return [size <= 3 * int(request.headers["Content-Length"]), request.mimetype_params, dict(request.cookies), request.get_json(silent=True) is None]
    except HTTPError as error:
        return error.code
`, interpreter(barePython(f)))
	f.Fuzz(func(t *testing.T, kind, cookie, body string) {
		odd := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f } // no client can send these
		if strings.ContainsFunc(kind+cookie, odd) || len(body) > 1<<20 {
			t.Skip()
		}
		got, err := r.try("POST", "/score", body, "Content-Type", kind, "Cookie", cookie)
		if err != nil {
			t.Fatal(err)
		}
		if got.Status != 200 || strings.HasPrefix(got.Body, "[false") {
			t.Errorf("got %d %.300q", got.Status, got.Body)
		}
	})
}

// TestRawOnEveryPython compares what we provide on all versions of Python with
// what it is on the one that was compared with the original.
func TestRawOnEveryPython(t *testing.T) {
	want := start(t, rawScript, interpreter(barePython(t)))
	for _, path := range pythons(t) {
		t.Run(path, func(t *testing.T) {
			ours := start(t, rawScript, interpreter(bareOf(t, path)))
			for i, c := range rawCorpus() {
				if i%3 != 0 {
					continue
				}
				c.whole = true
				if diff := cmp.Diff(normal(c, want.exchange(c)), normal(c, ours.exchange(c))); diff != "" {
					t.Errorf("%s (-one +other):\n%.1500s", c, diff)
				}
			}
		})
	}
}

// TestContractResponseOfText is about scripts that take text and yet see HTTP:
// they return responses, or ask Flask for the request.
func TestContractResponseOfText(t *testing.T) {
	const script = `
from azureml_inference_server_http.api.aml_response import AMLResponse
try:
    import flask
except ModuleNotFoundError:
    flask = None
def init(): pass
def run(data, request_headers):
    if data == "response": return AMLResponse("é", 203, {"X-A": request_headers.get("X-A", "none")})
    if data == "stream": return AMLResponse(iter([b"a", b"b"]), 200)
    if data == "raise": raise ValueError("no")
    if data == "flask" and flask: return flask.jsonify({"path": flask.request.full_path, "method": flask.request.method})
    if data == "nested": return [AMLResponse("x", 200)]
    return data
`
	var all []exchange
	for _, body := range []string{"response", "stream", "raise", "nested", "other", "\xff", strings.Repeat("x", 100_000)} {
		all = append(all, exchange{method: "POST", path: "/score?q=1", body: body, headers: [][2]string{{"Content-Type", "text/plain"}, {"X-A", "1"}}})
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT"} {
		all = append(all, exchange{method: method, path: "/score?data=response"})
	}
	withFlask := append(slices.Clone(all), exchange{method: "POST", path: "/score?q=1", body: "flask", headers: [][2]string{{"Content-Type", "text/plain"}}})
	original, bare := startOriginal(t, script), barePython(t)
	compareRaw(t, original, start(t, script, interpreter(bare)), all)
	compareRaw(t, original, start(t, script, interpreter(bare), environ("PYTHONPATH="+justFlask(t, originalBin(t)))), withFlask)
}

// TestWhatTheStandInLacks says what has it.
func TestWhatTheStandInLacks(t *testing.T) {
	r := start(t, `
from azureml.contrib.services.aml_request import rawhttp
def init(): pass
@rawhttp
def run(request): return str(request.accept_mimetypes)
`, interpreter(barePython(t)))
	r.score("x").wants(t, 500, `{"message": "`+textScript+`"}`)
	r.logs(`AttributeError: 'Request' object has no attribute 'accept_mimetypes'; with flask in the environment requests are Flask's$`)
}

// TestHelperReturnsResponse is a script that does not show that it sees HTTP.
func TestHelperReturnsResponse(t *testing.T) {
	r := start(t, `
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
open(os.path.join(sys.path[0], "helper_of_script.py"), "w").write("""
from azureml_inference_server_http.api.aml_response import AMLResponse
def answer(): return AMLResponse((p for p in [b"from ", b"afar"]), 206, {"X-A": "1, 2"})
""")
import helper_of_script
def init(): pass
def run(data): return helper_of_script.answer()
`, interpreter(barePython(t)))
	got := r.score("x")
	got.wants(t, 206, "from afar")
	if values := got.Header["X-A"]; len(values) != 2 {
		t.Errorf("X-A is %q", values)
	}
}
