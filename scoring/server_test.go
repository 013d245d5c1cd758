package scoring

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

const echo = `
def init():
    pass
def run(data):
    return data
`

func TestEveryPython(t *testing.T) {
	for _, path := range pythons(t) {
		t.Run(path, func(t *testing.T) {
			r := start(t, `
import json, sys
def init():
    print("init runs on", sys.version_info[:2])
def run(data, request_headers):
    if data == "raise":
        raise ValueError("no")
    if data == "big":
        return "é" * 70000
    if data == "headers":
        return request_headers["X-Custom-Name"]
    return json.loads(data)
`, interpreter(path))
			r.score(`{"a": [1, "é"]}`).wants(t, 200, `{"a": [1, "\u00e9"]}`)
			r.score("raise").wants(t, 500, `{"message": "`+textScript+`"}`)
			r.score("big").wants(t, 200, `"`+strings.Repeat(`\u00e9`, 70000)+`"`)
			long := `"` + strings.Repeat("x", 1<<20) + `"`
			r.score(long).wants(t, 200, long)
			r.send("POST", "/score", "headers", "x-custom-name", "v").wants(t, 200, `"v"`)
			r.get("/score?a=1&b=x&a=[2]").wants(t, 200, `{"a": [1, [2]], "b": "x"}`)
			r.logs(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} I \[\d+\] azmlinfsrv\.print - init runs on \(3, \d+\)$`)
			r.logs(`^  File ".*/score.py", line 7, in run$`)
		})
	}
}

// TestWorkerThatReplacesAnother serves what the first one has described.
func TestWorkerThatReplacesAnother(t *testing.T) {
	r := start(t, "import os\ndef init(): pass\ndef run(data):\n    if data == 'end': os._exit(1)\n    return data\n")
	before := r.get("/swagger.json?version=3.1")
	if before.Status != 200 || !strings.Contains(before.Body, `"openapi": "3.1.0"`) {
		t.Fatalf("got %d %s", before.Status, before.Body)
	}
	if _, err := r.tryScore("end"); err != nil {
		t.Fatal(err)
	}
	r.score("x").wants(t, 200, `"x"`)
	r.get("/swagger.json?version=3.1").wants(t, 200, before.Body)
}

func TestInputAndOutput(t *testing.T) {
	r := start(t, `
def init():
    pass
def run(data):
    return {"none": None, "text": data, "tuple": (1, 2.5, True), "nan": float("nan"),
            "bytes": b"x", "exception": 0}.get(data, data)
`)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want, failed             string
	}{
		{"text", "POST", "/score", "text", 200, `"text"`, "False"},
		{"nothing returned", "POST", "/score", "none", 200, `{}`, "False"},
		{"tuple", "POST", "/score", "tuple", 200, `[1, 2.5, true]`, "False"},
		{"not a number", "POST", "/score", "nan", 200, `NaN`, "False"},
		{"bytes", "POST", "/score", "bytes", 500, `{"message": "` + textInternal + `"}`, "False"},
		{"empty body", "POST", "/score", "", 200, `""`, "False"},
		{"not UTF-8", "POST", "/score", "\xff", 400,
			`{"message": "Input cannot be decoded as UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"}`, "False"},
		{"GET without a query", "GET", "/score", "", 200, `"{}"`, "False"},
		{"slashes in front", "GET", "//score", "", 200, `"{}"`, "False"},
		{"OPTIONS", "OPTIONS", "/score", "", 200, ``, "False"},
		{"PUT", "PUT", "/score", "", 405, `{"message": "` + textMethod + `"}`, "False"},
		{"slash behind", "POST", "/score/", "", 404, `{"message": "` + textNotFound + `"}`, "False"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := r.send(c.method, c.path, c.body)
			got.wants(t, c.status, c.want)
			if f := got.Header.Get(fieldFailed); f != c.failed {
				t.Errorf("%s is %q, want %q", fieldFailed, f, c.failed)
			}
		})
	}
}

func TestStartFailures(t *testing.T) {
	model := t.TempDir()
	if err := os.MkdirAll(model+"/model", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(model+"/model/clf.pkl", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	type want struct {
		code    sluice.CauseCode
		line    int
		message string
		hint    string
	}
	const both = "def init(): pass\ndef run(data): pass\n"
	for _, c := range []struct {
		name, script string
		want         want
	}{
		{"syntax error", "def init():\n    return (\n",
			want{sluice.CauseScriptSyntax, 2, "SyntaxError: ", ""}},
		{"no init", "def innit(): pass\ndef run(data): pass\n",
			want{sluice.CauseScriptFunctions, 1, "score.py has no init() function; it has innit(), run()", "line 1 defines innit(): did you mean init?"}},
		{"init made while running", "globals()['run'] = lambda data: data\n",
			want{sluice.CauseScriptFunctions, 0, "score.py has no init() function; it has run()", "define init()"}},
		{"run in a class", "def init(): pass\nclass Model:\n    def run(self, data): pass\n",
			want{sluice.CauseScriptFunctions, 3, "score.py has no run() function; it has init()", "line 3 defines run() inside class Model"}},
		{"asynchronous run", "def init(): pass\nasync def run(data): pass\n",
			want{sluice.CauseScriptFunctions, 2, "run() is an async function", "def run(data)"}},
		{"asynchronous run, made while running", "def init(): pass\nasync def answer(data): pass\nrun = answer\n",
			want{sluice.CauseScriptFunctions, 2, "run() is an async function", "def run(data)"}},
		{"not UTF-8", "def init(): pass\n\ndef run(data): return 'caf\xe9'\n",
			want{sluice.CauseScriptSyntax, 3, "SyntaxError: ", "save the file as UTF-8"}},
		{"no run", "def init(): pass\n",
			want{sluice.CauseScriptFunctions, 0, "score.py has no run() function; it has init()", "run(data)"}},
		{"variadic run", "def init(): pass\ndef run(*data): pass\n",
			want{sluice.CauseScriptFunctions, 2, "run() cannot accept positional-only arguments, *args, or **kwargs", "def run(data)"}},
		{"run without input", "def init(): pass\ndef run(request_headers): pass\n",
			want{sluice.CauseScriptFunctions, 2, `run() needs to accept an argument other than "request_headers"`, ""}},
		{"module missing", "import os\nimport cv2_not_there.core\n" + both,
			want{sluice.CauseImportMissing, 2, "module cv2_not_there is not installed", "add cv2-not-there to"}},
		{"module missing in init", "def init():\n    import sklearn_not_there\ndef run(data): pass\n",
			want{sluice.CauseImportMissing, 2, "module sklearn_not_there is not installed", "conda file"}},
		{"package of the platform", "import os\nfrom azureml.core.model import Model\n" + both,
			want{sluice.CauseImportMissing, 2, "module azureml.core.model of azureml-core is not installed", "tags: {sluice.platform_packages: install}"}},
		{"import raises", "def init(): pass\ndef run(data): pass\nundefined\n",
			want{sluice.CauseImportFailed, 3, "NameError: name 'undefined' is not defined", ""}},
		{"init raises", "import json\ndef init():\n    json.loads('{')\ndef run(data): pass\n",
			want{sluice.CauseInitRaised, 3, "init() raised JSONDecodeError: ", ""}},
		{"model file missing", "import os\ndef init():\n    open(os.environ['AZUREML_MODEL_DIR'] + '/clf.pkl')\ndef run(data): pass\n",
			want{sluice.CauseModelFile, 3, model + "/clf.pkl, which does not exist; AZUREML_MODEL_DIR (" + model + ") holds model/clf.pkl", "AZUREML_MODEL_DIR"}},
		{"other file missing", "def init():\n    open('/no/such/file')\ndef run(data): pass\n",
			want{sluice.CauseInitRaised, 2, "FileNotFoundError", ""}},
		{"exit while importing", "import sys\n\nsys.exit(9)\n" + both,
			want{sluice.CauseScriptExited, 3, "exit code 9 while the script was imported", "raise an exception"}},
		{"exit past Python", "import os\ndef init():\n    os._exit(9)\ndef run(data): pass\n",
			want{sluice.CauseScriptExited, 3, "exit code 9 while init() ran", "raise an exception"}},
		{"exit past Python in a thread", "import os, threading, time\ndef end():\n    os._exit(9)\ndef init():\n    threading.Thread(target=end).start()\n    time.sleep(600)\ndef run(data): pass\n",
			want{sluice.CauseScriptExited, 3, "exit code 9 while init() ran", "raise an exception"}},
		{"exit in init", "def init():\n    exit(4)\ndef run(data): pass\n",
			want{sluice.CauseScriptExited, 2, "exit code 4 while init() ran", "raise an exception"}},
		{"exit in C", "import ctypes\ndef init():\n    ctypes.CDLL(None).exit(5)\ndef run(data): pass\n",
			want{sluice.CauseScriptExited, 0, "exit code 5 while init() ran", "raise an exception"}},
		{"abort", "import os\ndef init():\n    os.abort()\ndef run(data): pass\n",
			want{sluice.CauseCrashed, 3, "SIGABRT while init() ran", "native code"}},
		{"crash without a standard error", "import ctypes, os\nos.close(2)\ndef init():\n    ctypes.string_at(0)\ndef run(data): pass\n",
			want{sluice.CauseCrashed, 4, "SIGSEGV while init() ran", "native code"}},
		{"crash without a fault handler", "import ctypes, os\nos.closerange(5, 50)\ndef init():\n    ctypes.string_at(0)\ndef run(data): pass\n",
			want{sluice.CauseCrashed, 0, "SIGSEGV while init() ran", "get-logs"}},
		{"crash of a script with a fault handler", "import ctypes, faulthandler\nfaulthandler.enable()\ndef init():\n    ctypes.string_at(0)\ndef run(data): pass\n",
			want{sluice.CauseCrashed, 4, "SIGSEGV while init() ran", "native code"}},
		{"out of memory by Python", "def init():\n    bytearray(1 << 62)\ndef run(data): pass\n",
			want{sluice.CauseOutOfMemory, 2, "memory ran out while init() ran: MemoryError", "instance_type with more memory"}},
		{"terminated", "import os, signal\ndef init():\n    os.kill(os.getpid(), signal.SIGTERM)\ndef run(data): pass\n",
			want{sluice.CauseCrashed, 0, "SIGTERM while init() ran", "get-logs"}},
		{"segmentation fault", "import ctypes\ndef init():\n    ctypes.string_at(0)\ndef run(data): pass\n",
			want{sluice.CauseCrashed, 3, "SIGSEGV while init() ran", "native code"}},
		{"killed", "import os\ndef init():\n    os.kill(os.getpid(), 9)\ndef run(data): pass\n",
			want{sluice.CauseCrashed, 0, "SIGKILL while init() ran", "memory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := fails(t, c.script, modelDir(model), environ("AZUREML_MODEL_DIR="+model))
			var cause *sluice.Cause
			if !errors.As(err, &cause) {
				t.Fatalf("error without a cause: %v", err)
			}
			if cause.Code != c.want.code || cause.Line != c.want.line || cause.File != "score.py" ||
				!strings.Contains(cause.Message, c.want.message) || !strings.Contains(cause.Hint, c.want.hint) {
				t.Errorf("got  %s at %s: %s (%s)\nwant %s at score.py:%d: …%s… (…%s…)", cause.Code, cause.Where(),
					cause.Message, cause.Hint, c.want.code, c.want.line, c.want.message, c.want.hint)
			}
			text, err := encodeTermination(cause)
			if err != nil || len(text) > MaxTermination {
				t.Errorf("termination message of %d bytes, %v", len(text), err)
			}
		})
	}
}

func TestScriptAndInterpreterMissing(t *testing.T) {
	for _, c := range []struct {
		change option
		code   sluice.CauseCode
		text   string
	}{
		{func(s *Settings) { s.EntryScript += ".gone.py" }, sluice.CauseFileMissing, "score.py.gone.py"},
		{func(s *Settings) { s.Python = "/no/python" }, sluice.CausePythonMissing, "/no/python"},
		{func(s *Settings) { s.Python = "no-python-of-this-name" }, sluice.CausePythonMissing, "no-python-of-this-name"},
	} {
		var cause *sluice.Cause
		if err := fails(t, echo, c.change); !errors.As(err, &cause) || cause.Code != c.code || !strings.Contains(cause.Message, c.text) {
			t.Errorf("got %v, want %s naming %s", err, c.code, c.text)
		}
	}
}

func TestPhasesAndHealth(t *testing.T) {
	r := launch(t, gate+`
hold("import")
def init():
    hold("init")
def run(data):
    hold("run")
    return data
`)
	// The worker is a little ahead of what is heard of it.
	says := func(phase string) {
		t.Helper()
		r.file(phase + ".held")
		r.eventually("the server is in "+phase, func() bool { return r.get("/").Body == "Not ready: "+phase })
		r.get("/").wants(t, 503, "Not ready: "+phase)
	}
	says("import")
	r.touch("import.go")
	says("init")
	live := r.get("/v2/health/live")
	if live.Status != 200 || !strings.HasPrefix(live.Body, `{"live":true,"phase":"init","seconds":`) {
		t.Errorf("live during init: %d %s", live.Status, live.Body)
	}
	if ready := r.get("/v2/health/ready"); ready.Status != 503 {
		t.Errorf("ready during init: %d", ready.Status)
	}
	// A request that comes early waits, as the original's does.
	early := make(chan answer, 1)
	go func() { a, _ := r.tryScore("early"); early <- a }()
	r.eventually("the early request waits", func() bool { return r.server.pool.Waiting() == 1 })
	r.touch("init.go")
	r.file("run.held")
	// The only worker is stuck inside run() until run.go is there.
	r.get("/").wants(t, 200, "Healthy")
	if ready := r.get("/v2/health/ready"); ready.Status != 200 {
		t.Errorf("ready during run: %d", ready.Status)
	}
	r.touch("run.go")
	(<-early).wants(t, 200, `"early"`)
}

// Who says what phase it knows of hears of the next as soon as it comes, and
// nobody waits longer than he asked to.
func TestHealthIsHeldUntilThereIsNews(t *testing.T) {
	r := launch(t, gate+`
def init():
    hold("init")
def run(data):
    return data
`)
	r.eventually("the server is in init", func() bool { return r.get("/").Body == "Not ready: init" })
	held := func(path, prefer, known string) answer {
		a, err := r.try("GET", path, "", "Prefer", prefer, "If-None-Match", known)
		if err != nil {
			t.Error(err)
		}
		return a
	}
	for _, odd := range []string{"wait=x", "wait=-1", "wait=", "respond-async", "wait=99999999999999999999"} {
		held("/", odd, `"init"`).wants(t, 503, "Not ready: init")
	}
	held("/", "wait=60", `"import"`).wants(t, 503, "Not ready: init") // it is not what is known
	began := time.Now()
	held("/", "wait=1", `"init"`).wants(t, 503, "Not ready: init")
	if took := time.Since(began); took < time.Second {
		t.Errorf("it was held for %s, want a second", took)
	}
	news := make(chan answer, 2)
	for _, path := range []string{"/", "/v2/health/ready"} {
		go func() { news <- held(path, "wait=10", `"init"`) }()
	}
	r.touch("init.go")
	for range 2 {
		if a := <-news; a.Status != 200 {
			t.Errorf("news is %d %s", a.Status, a.Body)
		}
	}
}

// Whoever is inside run() finds the server ready, in the very first call and
// in the first one after a crash too.
func TestReadyBeforeTheFirstRun(t *testing.T) {
	r := launch(t, gate+`
import os, socket
def init():
    hold("init")
def run(data):
    if data == "crash":
        os.kill(os.getpid(), 9)
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.path.join(_here, "http.sock"))
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while True:
        more = s.recv(4096)
        if not more:
            return answer.split(b"\r\n")[0].decode()
        answer += more
`)
	r.file("init.held")
	for _, crash := range []bool{false, true, true} {
		answers := make(chan answer, 2)
		ask := func(data string) { a, _ := r.tryScore(data); answers <- a }
		if crash {
			if a := r.score("crash"); a.Status < 500 {
				t.Fatalf("a crash gives %d %s", a.Status, a.Body)
			}
		}
		go ask("one")
		go ask("two")
		if !crash {
			r.eventually("both wait", func() bool { return r.server.pool.Waiting() == 2 })
			r.touch("init.go")
		}
		for range 2 {
			(<-answers).wants(t, 200, `"HTTP/1.0 200 OK"`)
		}
	}
}

func TestManyClients(t *testing.T) {
	r := start(t, `
inside = False
def init():
    pass
def run(data):
    global inside
    assert not inside, "called while it ran"
    inside = True
    out = data[::-1]
    inside = False
    return out
`, workers(2))
	const clients, each = 32, 60
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				nonce := fmt.Sprintf("%d-%d", c, i)
				if i%20 == 7 {
					nonce += strings.Repeat("x", 100<<10)
				}
				got, err := r.tryScore(nonce)
				if err != nil || got.Status != 200 || got.Body != `"`+reverse(nonce)+`"` {
					t.Errorf("request %.20s: %d %.100s %v", nonce, got.Status, got.Body, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func reverse(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// What a worker that dies takes with it: the request it was running. What was
// finished is delivered, what was not begun is run by another, nothing twice.
func TestCrashLosesOnlyTheRunningRequest(t *testing.T) {
	r := start(t, gate+`
import ctypes
def init():
    pass
def run(data):
    note("executions", data)
    if data == "hold":
        hold("run")
        ctypes.string_at(0)
    return data
`)
	for range 10 { // makes the worker known as fast, so that requests are lined up in it
		r.score("warm").wants(t, 200, `"warm"`)
	}
	var wg sync.WaitGroup
	send := func(body string, status int, want string) {
		wg.Go(func() {
			got, err := r.tryScore(body)
			if err != nil {
				t.Errorf("request %s: %v", body, err)
				return
			}
			got.wants(t, status, want)
		})
	}
	send("hold", 500, `{"message": "`+textScript+`"}`)
	r.file("run.held")
	const behind = 40
	for i := range behind {
		send(fmt.Sprintf("behind-%d", i), 200, fmt.Sprintf(`"behind-%d"`, i))
	}
	r.eventually("all are in the server", func() bool { return r.server.inFlight.Load() == behind+1 })
	r.touch("run.go")
	wg.Wait()
	counts := map[string]int{}
	for line := range strings.SplitSeq(strings.TrimSpace(r.file("executions")), "\n") {
		counts[line]++
	}
	delete(counts, "warm")
	want := map[string]int{"hold": 1}
	for i := range behind {
		want[fmt.Sprintf("behind-%d", i)] = 1
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("executions (-want +got):\n%s", diff)
	}
	r.logs(`Worker with pid \d+ ended: score.py:\d+: the interpreter was ended by SIGSEGV while it was serving`)
}

func TestFinishedAnswersSurviveACrash(t *testing.T) {
	// The killer kills its process at once, when the answers before it have not
	// been sent yet: they are in the outbox only.
	r := start(t, gate+`
import os, signal
def init():
    global executions
    executions = os.open(os.path.join(_here, "executions"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
def run(data):
    os.write(executions, data.encode() + b"\n") # quick: what follows must not be sent yet
    if data == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if data == "hold":
        hold("run")
    return data
`)
	for range 20 {
		r.score("warm").wants(t, 200, `"warm"`)
	}
	var wg sync.WaitGroup
	bodies := []string{"hold", "a", "b", "c", "kill", "d"}
	for _, body := range bodies {
		before := r.server.inFlight.Load()
		wg.Go(func() {
			got, err := r.tryScore(body)
			if err != nil {
				t.Errorf("request %s: %v", body, err)
			} else if body == "kill" {
				got.wants(t, 500, `{"message": "`+textScript+`"}`)
			} else {
				got.wants(t, 200, `"`+body+`"`)
			}
		})
		r.eventually("request is in", func() bool { return r.server.inFlight.Load() > before })
		if body == "hold" {
			r.file("run.held")
		}
	}
	r.touch("run.go")
	wg.Wait()
	if got, want := strings.Count(r.file("executions"), "\n"), 20+len(bodies); got != want {
		t.Errorf("%d executions, want %d", got, want)
	}
}

func TestSlowNeighbourDoesNotHoldFinishedAnswers(t *testing.T) {
	r := start(t, gate+`
def init():
    pass
def run(data):
    if data.startswith("hold"):
        hold(data)
    return data
`)
	for range 20 {
		r.score("warm").wants(t, 200, `"warm"`)
	}
	// first, quick and second go into the worker together; quick is finished
	// when second is stuck.
	answers := map[string]chan answer{}
	for _, body := range []string{"hold1", "quick", "hold2"} {
		ch := make(chan answer, 1)
		answers[body] = ch
		before := r.server.inFlight.Load()
		go func() { a, _ := r.tryScore(body); ch <- a }()
		r.eventually("request is in", func() bool { return r.server.inFlight.Load() > before })
		if body == "hold1" {
			r.file("hold1.held")
		}
	}
	r.eventually("all three are in the worker", func() bool {
		r.server.pool.mu.Lock()
		defer r.server.pool.mu.Unlock()
		return len(r.server.pool.workers) == 1 && r.server.pool.workers[0].count == 3
	})
	r.touch("hold1.go")
	r.file("hold2.held")
	(<-answers["quick"]).wants(t, 200, `"quick"`)
	r.touch("hold2.go")
	(<-answers["hold2"]).wants(t, 200, `"hold2"`)
}

func TestTimeLimit(t *testing.T) {
	r := start(t, gate+`
import ctypes, time
def init():
    pass
def run(data):
    if data == "python":
        while True:
            time.sleep(0.001)
    if data == "native":
        # Not interruptible by a signal: PyDLL keeps the interpreter's lock and
        # the handler cannot run.
        libc = ctypes.PyDLL(None)
        while True:
            libc.usleep(100000)
    if data == "stubborn":
        while True:
            try:
                time.sleep(60)
            except TimeoutError:
                note("stubborn")
    if data == "own":
        raise TimeoutError("mine")
    import os
    return os.getpid()
`, limit(150*time.Millisecond))
	const late = `{"message": "Scoring timeout after 150 ms"}`
	pid := r.score("pid").Body
	got := r.score("python")
	got.wants(t, 500, late)
	if got.Header.Get(fieldFailed) != "True" {
		t.Errorf("%s is not True", fieldFailed)
	}
	r.score("own").wants(t, 500, late)
	r.score("pid").wants(t, 200, pid)
	r.score("stubborn").wants(t, 500, late)
	if again := r.score("pid"); again.Status != 200 || again.Body == pid {
		t.Errorf("after a stubborn script: %d %s, want another process than %s", again.Status, again.Body, pid)
	}
	r.file("stubborn")
	r.score("native").wants(t, 500, late)
	if again := r.score("pid"); again.Status != 200 {
		t.Errorf("after native code: %d", again.Status)
	}
}

func TestClientGoneCancelsWhatIsNotStarted(t *testing.T) {
	r := start(t, gate+`
def init():
    pass
def run(data):
    note("executions", data)
    if data.startswith("hold"):
        hold(data)
    return data
`)
	for _, depth := range []string{"one at a time", "lined up"} {
		t.Run(depth, func(t *testing.T) {
			name := "hold-" + strings.ReplaceAll(depth, " ", "-")
			held := make(chan answer, 1)
			go func() { a, _ := r.tryScore(name); held <- a }()
			r.file(name + ".held")
			ctx, cancel := context.WithCancel(context.Background())
			gone := make(chan error, 1)
			req, err := http.NewRequestWithContext(ctx, "POST", "http://sluice/score", strings.NewReader("gone"))
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, err := r.do(req); gone <- err }()
			r.eventually("both are in", func() bool { return r.server.inFlight.Load() == 2 })
			cancel()
			if err := <-gone; err == nil {
				t.Error("the request that was given up was answered")
			}
			r.eventually("it has left", func() bool { return r.server.inFlight.Load() == 1 })
			r.touch(name + ".go")
			(<-held).wants(t, 200, `"`+name+`"`)
			r.score("after").wants(t, 200, `"after"`)
			if strings.Contains(r.file("executions"), "gone") {
				t.Error("the request that was given up was run")
			}
			for range 100 {
				r.score("warm")
			}
		})
	}
}

func TestQueueFull(t *testing.T) {
	r := start(t, gate+`
def init():
    pass
def run(data):
    hold("run")
    return data
`, queue(1))
	answers := make(chan answer, 2)
	for _, body := range []string{"runs", "waits"} {
		go func() { a, _ := r.tryScore(body); answers <- a }()
		if body == "runs" {
			r.file("run.held")
		}
	}
	r.eventually("one waits", func() bool { return r.server.pool.Waiting() == 1 })
	got := r.score("refused")
	if got.Status != 503 || got.Header.Get(fieldNotStarted) != "true" {
		t.Errorf("got %d with %s %q", got.Status, fieldNotStarted, got.Header.Get(fieldNotStarted))
	}
	r.touch("run.go")
	for range 2 {
		if a := <-answers; a.Status != 200 {
			t.Errorf("got %d %s", a.Status, a.Body)
		}
	}
}

func TestCrashLoopIsRefused(t *testing.T) {
	r := start(t, `
import os
def init():
    pass
def run(data):
    os._exit(1)
`)
	r.eventually("requests are refused", func() bool {
		got := r.score("x")
		if got.Status == 500 {
			return false
		}
		return got.Status == 503 && got.Header.Get(fieldNotStarted) == "true"
	})
	r.eventually("a worker is back", func() bool { return r.get("/").Status == 200 })
}

func TestExitInRun(t *testing.T) {
	r := start(t, `
import sys, os
def init():
    pass
def run(data):
    if data == "exit":
        sys.exit(5)
    return os.getpid()
`)
	pid := r.score("").Body
	r.score("exit").wants(t, 500, `{"message": "`+textScript+`"}`)
	if got := r.score(""); got.Status != 200 || got.Body == pid {
		t.Errorf("after exit: %d %s, want another process than %s", got.Status, got.Body, pid)
	}
}

func TestDrain(t *testing.T) {
	r := start(t, gate+`
def init():
    pass
def run(data):
    if data == "hold":
        hold("run")
    return data
`, workers(2))
	held := make(chan answer, 1)
	go func() { a, _ := r.tryScore("hold"); held <- a }()
	r.file("run.held")
	r.server.Drain()
	// It still accepts, and asks the client not to come back.
	got := r.score("late")
	got.wants(t, 200, `"late"`)
	if !got.Close {
		t.Error("an answer during the drain does not say Connection: close")
	}
	r.touch("run.go")
	(<-held).wants(t, 200, `"hold"`)
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("drained server ended with %v", err)
		}
	case <-time.After(deadline):
		t.Fatal("the drained server did not end")
	}
}

func TestDrainEndsAtItsGrace(t *testing.T) {
	r := start(t, gate+`
def init():
    pass
def run(data):
    hold("run")
`, grace(50*time.Millisecond))
	held, waits := make(chan error, 1), make(chan answer, 1)
	go func() { _, err := r.tryScore("hold"); held <- err }()
	r.file("run.held")
	go func() { a, _ := r.tryScore("waits"); waits <- a }()
	r.eventually("one waits", func() bool { return r.server.pool.Waiting() == 1 })
	r.server.Drain()
	if a := <-waits; a.Status != 503 || a.Header.Get(fieldNotStarted) != "true" {
		t.Errorf("what waited got %d with %s %q", a.Status, fieldNotStarted, a.Header.Get(fieldNotStarted))
	}
	select {
	case <-r.done:
	case <-time.After(deadline):
		t.Fatal("the server outlived its grace")
	}
	<-held
}

func TestBodies(t *testing.T) {
	r := start(t, `
def init():
    pass
def run(data):
    return len(data)
`, maxBody(3<<20))
	for _, n := range []int{0, 1, 4095, 4096, 65535, 65536, 65537, 131072, 262144, 262145, 1 << 20, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			body := strings.Repeat("a", n)
			req, err := http.NewRequest("POST", "http://sluice/score", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if chunked {
				req.ContentLength = -1
			}
			got, err := r.do(req)
			if err != nil || got.Status != 200 || got.Body != fmt.Sprint(n) {
				t.Errorf("%d bytes, chunked %t: %d %s %v", n, chunked, got.Status, got.Body, err)
			}
		}
	}
	for _, length := range []int64{3<<20 + 1, -1} {
		req, err := http.NewRequest("POST", "http://sluice/score", strings.NewReader(strings.Repeat("a", 3<<20+1)))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		got, err := r.do(req)
		if err == nil && got.Status != 413 {
			t.Errorf("a body over the limit (length %d): %d %s", length, got.Status, got.Body)
		}
	}
	if shelf := r.server.pool.shelf; shelf.used != 0 {
		t.Errorf("%d bytes of segments are still in use", shelf.used)
	}
}

func TestOutputIsLogged(t *testing.T) {
	r := start(t, `
import logging, os, sys
def init():
    print("one", 2, sep="-")
    sys.stdout.write("raw out\n")
    sys.stderr.write("raw err\n")
    os.write(1, b"\xff not text\n")
    print("two\nlines")
    print("elsewhere", file=sys.stderr)
    logging.getLogger("azmlinfsrv").warning("from the script")
def run(data):
    return data
`)
	r.score("x")
	const head = `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [IWE] \[\d+\] `
	for _, line := range []string{
		head + `azmlinfsrv\.print - one-2$`, head + `azmlinfsrv\.stdout - raw out$`, head + `azmlinfsrv\.stderr - raw err$`,
		head + `azmlinfsrv\.stdout - .* not text$`, head + `azmlinfsrv\.print - two$`, `^lines$`,
		head + `azmlinfsrv\.stderr - elsewhere$`, head + `azmlinfsrv - from the script$`,
		head + `azmlinfsrv\.user_script - Invoking user's init function$`,
		head + `azmlinfsrv - POST /score 200 \d+\.\d{3}ms 3$`,
	} {
		r.logs(line)
	}
	r.get("/score?a=b%20c")
	r.logs(`azmlinfsrv - GET /score\?a=b%20c 200 \d+\.\d{3}ms \d+$`)
	if strings.Contains(r.log.String(), "GET / ") {
		t.Error("health is in the access log")
	}
}

// A script shares its process with the worker and can do anything there; the
// server must come out of it whole.
func TestHostileWorker(t *testing.T) {
	r := start(t, `
import array, mmap, os, socket, struct
def init():
    pass
def run(data):
    if data == "garbage":
        os.write(3, b"\xff" * 100)
    if data == "endless":
        os.write(3, struct.pack("<BBBBIQqQ", 7, 0, 0, 0, 2 << 20, 1, 0, 0))
    if data == "no file":
        os.write(3, struct.pack("<BBBBIQqQ", 7, 2, 0, 0, 0, 1, 0, 1 << 40))
    if data == "short file":
        with socket.socket(fileno=os.dup(3)) as s, open(__file__) as f:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [f.fileno()]))]
            s.sendmsg([struct.pack("<BBBBIQqQ", 7, 2, 0, 0, 0, 1, 0, 1 << 40)], rights)
    if data == "files":
        with socket.socket(fileno=os.dup(3)) as s, open(__file__) as f:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [f.fileno()] * 50))]
            for _ in range(3):
                s.sendmsg([b"\x07"], rights)
    if data == "close":
        os.close(3)
    if data == "shrink":
        try:
            os.ftruncate(4, 0)
        except OSError as e:
            return type(e).__name__
    if data == "scribble":
        m = mmap.mmap(4, 4096 + (256 << 10))
        m[:] = os.urandom(len(m))
        os.kill(os.getpid(), 9)
    if data == "answers for others":
        for rid in range(200):
            for slot in (0, 31, 255):
                os.write(3, struct.pack("<BBBBIQqQ", 7, 0, 0, slot, 0, rid + 1000, 0, 2) + b"{}")
    return data
`)
	for _, what := range []string{"garbage", "endless", "no file", "short file", "files", "close", "scribble", "answers for others", "shrink"} {
		t.Run(what, func(t *testing.T) {
			r.eventually("a worker is there", func() bool { return r.get("/").Status == 200 })
			got, err := r.tryScore(what)
			if err != nil {
				t.Fatal(err)
			}
			// 503 is for the one that wipes out the trace that it was begun.
			if got.Status != 200 && got.Status != 500 && (what != "scribble" || got.Status != 503) {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			if what == "shrink" && got.Body != `"PermissionError"` {
				t.Errorf("the shared page could be shrunk: %s", got.Body)
			}
			r.eventually("the server serves again", func() bool { return r.score("x").Body == `"x"` })
		})
	}
}
