package scoring

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

func askAfter(d time.Duration) option { return func(s *Settings) { s.AskAfter = d } }

// live reads what a server says of itself.
func (r *running) live(header ...string) Live {
	r.t.Helper()
	var l Live
	a := r.send("GET", "/v2/health/live", "", header...)
	if err := json.Unmarshal([]byte(a.Body), &l); err != nil || a.Status != 200 {
		r.t.Fatalf("live: %d %s, %v", a.Status, a.Body, err)
	}
	return l
}

// standsAt waits until the server says where its worker stands.
func (r *running) standsAt(file string, line int, function string) *Standing {
	r.t.Helper()
	var at *Standing
	r.eventually("it stands in "+function, func() bool {
		at = r.live().At
		return at != nil && at.File == file && at.Line == line && at.Function == function
	})
	return at
}

func TestASlowStartSaysWhereItStands(t *testing.T) {
	for _, path := range pythons(t) {
		r := launch(t, gate+`
import collections, itertools
def load():
    hold("load")
def init():
    load()
    collections.deque(itertools.repeat(0), maxlen=0)  # has no end, and lets nothing else run
def run(data):
    return data
`, askAfter(20*time.Millisecond), interpreter(path))
		at := r.standsAt("score.py", 10, "hold")
		if !slices.ContainsFunc(at.Stack, func(l string) bool { return strings.Contains(l, `File "score.py", line 16 in init`) }) {
			t.Errorf("%s: the stack is %q", path, at.Stack)
		}
		if strings.Contains(strings.Join(at.Stack, "\n"), "<") {
			t.Errorf("the stack shows our own calls: %q", at.Stack)
		}
		before := r.live()
		if before.Phase != PhaseInit || !strings.HasPrefix(before.Version, "init-") {
			t.Errorf("it says %+v", before)
		}
		news := make(chan Live, 1)
		go func() { news <- r.live("Prefer", "wait=10", "If-None-Match", `"`+before.Version+`"`) }()
		r.touch("load.go")
		if l := <-news; l.Version == before.Version {
			t.Errorf("who waits for news is told nothing new: %+v", l)
		}
		r.standsAt("score.py", 17, "init")
	}
}

// Being asked disturbs nothing: what waits goes on waiting as long as it wanted.
func TestBeingAskedInterruptsNothing(t *testing.T) {
	r := launch(t, gate+`
import select, socket
def init():
    a, b = socket.socketpair()
    began = time.monotonic()
    time.sleep(0.3)
    note("slept", str(time.monotonic() - began >= 0.3))
    note("selected", str(select.select([a], [], [], 0.3)[0]))
    a.settimeout(0.3)
    try:
        a.recv(1)
    except socket.timeout:
        note("received", "nothing")
def run(data):
    return data
`, askAfter(5*time.Millisecond))
	r.eventually("it is ready", func() bool { return r.get("/").Status == 200 })
	for name, want := range map[string]string{"slept": "True\n", "selected": "[]\n", "received": "nothing\n"} {
		if got := r.file(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if l := r.live(); l.At != nil {
		t.Errorf("it still stands at %+v although it is ready", l.At)
	}
}

// Whatever a script does to the channel and to the handler, the server goes on
// and the worker does too.
func TestTheFaultChannelIsTheScriptsToBreak(t *testing.T) {
	for name, do := range map[string]string{
		"closed":     "os.close(5)",
		"no handler": "faulthandler.disable(); faulthandler.unregister(signal.SIGURG)",
		"default":    "signal.signal(signal.SIGURG, signal.SIG_DFL)",
		"blocked":    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG])",
		"far away":   "os.lseek(5, 1 << 40, 0)",
		"forged":     `os.write(5, b"Stack (most recent call first):\n" + b'  File "\x1b[2J", line 1 in \x1b[2J\n' * 1000)`,
		"last words": `os.write(5, b"Fatal Python error: no\nExit with code 0\n")`,
		"full":       "fill()",
	} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, gate+`
import faulthandler, signal
def fill():
    try:
        for _ in range(100):
            os.write(5, b"x" * (1 << 20))
    except OSError:
        pass
def init():
    `+do+`
    time.sleep(0.2)
    note("slept")
    hold("init")
def run(data):
    os.kill(os.getpid(), 11)
`, askAfter(10*time.Millisecond))
			r.file("init.held")
			if l := r.live(); strings.Contains(strings.Join(append([]string{""}, stackOf(l)...), ""), "\x1b") {
				t.Errorf("it tells %+v", l)
			}
			r.touch("init.go")
			r.eventually("it is ready", func() bool { return r.get("/").Status == 200 })
			r.score("x").wants(t, 500, `{"message": "`+textScript+`"}`)
			r.eventually("the crash is told", func() bool { l := r.live(); return l.Trouble != nil && l.Trouble.Code == sluice.CauseCrashed })
		})
	}
}

func stackOf(l Live) []string {
	if l.At == nil {
		return nil
	}
	return append(l.At.Stack, l.At.File, l.At.Function)
}

// Children that a script forks crash on their own: nothing of it is taken for
// the worker's.
func TestForkedChildrenAreNotTheWorker(t *testing.T) {
	r := launch(t, `
import ctypes, os
def child(end):
    pid = os.fork()
    if pid == 0:
        end()
    return os.waitpid(pid, 0)[1]
def init():
    child(lambda: ctypes.string_at(0))
    child(lambda: os._exit(9))
    ctypes.CDLL(None)._exit(9)
def run(data):
    return data
`)
	err := <-r.done
	cause, ok := err.(*sluice.Cause)
	if !ok || cause.Code != sluice.CauseScriptExited || cause.Line != 0 {
		t.Errorf("the end is %v", err)
	}
}

// What clients of the endpoint reach tells them nothing of the script's insides:
// the gateway gives all it passes on an id.
func TestOnlyTheKeeperIsToldMore(t *testing.T) {
	r := start(t, "def init(): pass\ndef run(data): raise ValueError('secret of another client')\n")
	r.score("x")
	r.eventually("it is told", func() bool { return r.live().Trouble != nil })
	got := r.send("GET", "/v2/health/live", "", "X-Request-Id", "1")
	if got.Status != 200 || !strings.HasPrefix(got.Body, `{"live":true,"phase":"ready","seconds":`) || strings.Contains(got.Body, "secret") {
		t.Errorf("a client is told %d %s", got.Status, got.Body)
	}
	for _, other := range []string{"/", "/v2/health/ready", "/score", "/swagger.json"} {
		if got := r.get(other); strings.Contains(got.Body, "secret") {
			t.Errorf("%s tells %s", other, got.Body)
		}
	}
	// Over a port anybody may ask.
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := newFront(r.server)
	go front.serve(t.Context(), port)
	resp, err := clientTo("tcp", port.Addr().String()).Get("http://sluice/v2/health/live")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || strings.Contains(string(body), "secret") || strings.Contains(string(body), "trouble") {
		t.Errorf("over a port it tells %s, %v", body, err)
	}
}

// A run() that goes on when its client has gone is told, with its place, and
// counted once.
func TestRunIsLeft(t *testing.T) {
	r := start(t, gate+`
def init():
    pass
def run(data):
    if data == "slow":
        hold("run")
    return data
`)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", "http://sluice/score", strings.NewReader("slow"))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { _, err := r.client.Do(req); gone <- err }()
	r.file("run.held")
	held := time.Now()
	r.eventually("it has run for long enough", func() bool { return time.Since(held) > leftAfter })
	cancel()
	<-gone
	var got *sluice.Cause
	r.eventually("it is told", func() bool { got = r.live().Trouble; return got != nil })
	if got.Code != sluice.CauseRunTimeout || got.Where() != "score.py:10" || !strings.Contains(got.Message, "nobody waited for it any more, in the last request") {
		t.Errorf("told is %s at %s: %s", got.Code, got.Where(), got.Message)
	}
	r.touch("run.go")
	r.score("fast").wants(t, 200, `"fast"`)
	r.eventually("it is over", func() bool { return r.live().Trouble == nil })
}

func TestTroubleIsTold(t *testing.T) {
	r := start(t, `
import collections, ctypes, itertools, os, sys, time
def init():
    pass
def run(data):
    if data == "raise":
        raise KeyError("data\x1b[2J")
    if data == "odd":
        return object()
    if data == "exit":
        sys.exit(5)
    if data == "_exit":
        os._exit(6)
    if data == "crash":
        ctypes.string_at(0)
    if data == "slow":
        time.sleep(600)
    if data == "stuck":
        collections.deque(itertools.repeat(0), maxlen=0)
    return data
`, limit(300*time.Millisecond))
	known := r.live()
	if known.Trouble != nil || known.Version == "" {
		t.Fatalf("before anything it says %+v", known)
	}
	for _, c := range []struct {
		data string
		code sluice.CauseCode
		line int
		text string
	}{
		{"raise", sluice.CauseRunRaises, 7, "run() raised KeyError: 'data"},
		{"odd", sluice.CauseRunRaises, 5, "run() returned what cannot be sent as JSON: TypeError: Object of type object"},
		{"exit", sluice.CauseScriptExited, 11, "exit code 5 while run() ran"},
		{"_exit", sluice.CauseScriptExited, 13, "exit code 6 while it was serving"},
		{"crash", sluice.CauseCrashed, 15, "the interpreter was ended by SIGSEGV while it was serving"},
		{"slow", sluice.CauseRunTimeout, 17, "run() did not finish within SCORING_TIMEOUT_MS, 300 ms,"},
		{"stuck", sluice.CauseRunTimeout, 19, "run() did not finish within SCORING_TIMEOUT_MS, 300 ms,"},
	} {
		t.Run(c.data, func(t *testing.T) {
			r.eventually("a worker is there", func() bool { return r.get("/").Status == 200 })
			news := make(chan Live, 1)
			known := r.live()
			go func() { news <- r.live("Prefer", "wait=10", "If-None-Match", `"`+known.Version+`"`) }()
			if a := r.send("POST", "/score", c.data, "x-request-id", "id-of-"+c.data); a.Status != http.StatusInternalServerError ||
				strings.Contains(a.Body, "Error") {
				t.Fatalf("it answers %d %s", a.Status, a.Body)
			}
			<-news
			var got *sluice.Cause
			r.eventually("it is told", func() bool {
				got = r.live().Trouble
				return got != nil && got.Request == "id-of-"+c.data
			})
			if got.Code != c.code || got.File != "score.py" || got.Line != c.line || !strings.Contains(got.Message, c.text) {
				t.Errorf("told is %s at %s: %s", got.Code, got.Where(), got.Message)
			}
			if !strings.Contains(got.Message, " of the last ") && c.data != "raise" || strings.Contains(got.Message, "\x1b") {
				t.Errorf("the message is %q", got.Message)
			}
		})
	}
	r.eventually("it is over", func() bool {
		return r.score("fine").Status == 200 && r.live().Trouble == nil
	})
}
