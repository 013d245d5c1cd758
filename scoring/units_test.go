package scoring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/scoring/frame"
)

func TestParseFlags(t *testing.T) {
	dir := "m"
	for _, c := range []struct {
		args string
		want Flags
		err  string
	}{
		{"--entry_script a.py --model_dir m --port 80 --worker_count 2", Flags{EntryScript: "a.py", ModelDir: &dir, Port: 80, Workers: 2}, ""},
		{"--entry=a.py --model=m", Flags{EntryScript: "a.py", ModelDir: &dir}, ""},
		{"--p 81 --rest", Flags{Port: 81}, ""},
		{"--socket /s --python /p", Flags{Socket: "/s", Python: "/p"}, ""},
		{"-h", Flags{Help: true}, ""},
		{"--port 0", Flags{}, "1 to 65535"},
		{"--port x", Flags{}, `invalid value "x"`},
		{"--worker_count 0", Flags{}, "invalid value"},
		{"--port", Flags{}, "expected one argument"},
		{"--port --rest", Flags{}, "expected one argument"},
		{"--entry_scirpt a.py", Flags{}, "unrecognized arguments: --entry_scirpt"},
		{"--so /s", Flags{}, "unrecognized arguments: --so"},
		{"--a x", Flags{}, "ambiguous option: --a could match --appinsights_instrumentation_key, --access_control_allow_origins"},
		{"a.py", Flags{}, "unrecognized arguments: a.py"},
		{"--rest=1", Flags{}, "ignored explicit argument"},
	} {
		got, err := ParseFlags(strings.Fields(c.args))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want …%s…", c.args, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.args, diff)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	with := func(change func(*Settings)) Settings {
		s := Settings{EntryScript: filepath.Join(dir, "score.py"), AppRoot: dir, Python: "python3", Port: 5001, Workers: 1,
			Timeout: time.Hour, Grace: 30 * time.Second, AskAfter: 5 * time.Second, Queue: DefaultQueue, MaxBody: DefaultMaxBody, Version: "azmlinfsrv/" + ContractVersion,
			Service: Service{Name: "ML service", Version: "1.0"}}
		change(&s)
		return s
	}
	for _, c := range []struct {
		name  string
		flags Flags
		env   []string
		want  Settings
	}{
		{"defaults", Flags{}, nil, with(func(*Settings) {})},
		{"flag beats variable", Flags{Workers: 3}, []string{"WORKER_COUNT=2"}, with(func(s *Settings) { s.Workers = 3 })},
		{"variable", Flags{}, []string{"WORKER_COUNT=2", "SCORING_TIMEOUT_MS=250", "SLUICE_GRACE_MS=10", "SLUICE_QUEUE=7", "SLUICE_MAX_BODY_BYTES=9"},
			with(func(s *Settings) {
				s.Workers, s.Timeout, s.Grace, s.Queue, s.MaxBody = 2, 250*time.Millisecond, 10*time.Millisecond, 7, 9
			})},
		{"no limit", Flags{}, []string{"SCORING_TIMEOUT_MS=0"}, with(func(s *Settings) { s.Timeout = 0 })},
		{"an inherited port does not count", Flags{}, []string{"SERVER_PORT=9"}, with(func(*Settings) {})},
		{"health port", Flags{}, []string{"SEPERATE_HEALTH_ENDPOINT=true"}, with(func(s *Settings) { s.HealthPort = 5000 })},
		{"version off", Flags{}, []string{"SERVER_VERSION_LOG_RESPONSE_ENABLED=off"}, with(func(s *Settings) { s.Version = "" })},
		{"interpreter", Flags{}, []string{"AZUREML_INFERENCE_PYTHON_PATH=/env/bin"}, with(func(s *Settings) { s.Python = "/env/bin/python" })},
		{"debugger", Flags{}, []string{"AZUREML_DEBUG_PORT=5678"}, with(func(s *Settings) { s.DebugPort = 5678 })},
		{"service", Flags{}, []string{"SERVICE_NAME=iris", "SERVICE_VERSION=2", "SERVICE_PATH_PREFIX=/api"},
			with(func(s *Settings) { s.Service = Service{"iris", "2", "/api"} })},
		{"termination file", Flags{}, []string{"SLUICE_TERMINATION_FILE=/t"}, with(func(s *Settings) { s.Termination = "/t" })},
		{"relative root", Flags{}, []string{"AML_APP_ROOT=sub", "AZUREML_SOURCE_DIRECTORY=src"}, with(func(s *Settings) { s.AppRoot, s.SourceDir = dir+"/sub", "src" })},
	} {
		c.flags.EntryScript = "score.py"
		got, err := Resolve(c.flags, c.env, dir)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, pair := range got.Environ {
			if strings.HasPrefix(pair, "SLUICE_TERMINATION_FILE=") {
				t.Errorf("%s: the script would see the termination file", c.name)
			}
		}
		got.Environ, got.Notices = nil, nil
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for _, c := range []struct {
		flags Flags
		env   string
		code  sluice.Code
		text  string
	}{
		{Flags{EntryScript: "s.py", Origins: "*.x.test"}, "", sluice.CodeInvalid, "no pattern of an origin"},
		{Flags{EntryScript: "s.py"}, "AML_CORS_ORIGINS=http://a, (?=b)", sluice.CodeInvalid, "(?=b)"},
		{Flags{EntryScript: "s.py"}, "AZUREML_DEBUG_PORT=no", sluice.CodeInvalid, "valid integer"},
		{Flags{EntryScript: "s.py"}, "SCORING_TIMEOUT_MS=soon", sluice.CodeInvalid, "valid integer"},
		{Flags{EntryScript: "s.py"}, "SCORING_TIMEOUT_MS=-1", sluice.CodeInvalid, "Input should be 0 to"},
		{Flags{EntryScript: "s.py"}, "WORKER_COUNT=0", sluice.CodeInvalid, "Input should be 1 to"},
		{Flags{}, "", sluice.CodeInvalid, "Either provide an entry_script"},
		{Flags{Strict: true}, "AZUREML_ENTRY_SCRIPT=s.py", sluice.CodeInvalid, "Either provide an entry_script"},
	} {
		_, err := Resolve(c.flags, []string{c.env}, t.TempDir())
		if sluice.ErrorCode(err) != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v %s: %v, want %s …%s…", c.flags, c.env, err, c.code, c.text)
		}
	}
}

func TestConfigFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "settings.json")
	text := `{"AZUREML_ENTRY_SCRIPT": "a/b.py", "SCORING_TIMEOUT_MS": 70, "WORKER_COUNT": 9, "SERVICE_NAME": null, "SERVICE_VERSION": 3, "AZUREML_DEBUG_PORT": 5678}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Resolve(Flags{ConfigFile: "settings.json", Strict: true}, nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.EntryScript != "a/b.py" || got.Timeout != 70*time.Millisecond || got.Workers != 1 ||
		got.DebugPort != 5678 || got.Service != (Service{Name: "ML service", Version: "3"}) {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(strings.Join(got.Notices, "\n"), "Extra keys = ['WORKER_COUNT']") {
		t.Errorf("the unknown key is not named: %q", got.Notices)
	}
	got, err = Resolve(Flags{ConfigFile: path}, []string{"SCORING_TIMEOUT_MS=80"}, dir)
	if err != nil || got.Timeout != 80*time.Millisecond {
		t.Errorf("the variable does not win over the file: %s, %v", got.Timeout, err)
	}
	for _, bad := range []string{"{", "[1]", `"x"`, `{"AZUREML_DEBUG_PORT": "x"}`} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Resolve(Flags{ConfigFile: path}, nil, dir); err == nil {
			t.Errorf("config file %s was accepted", bad)
		}
	}
}

func FuzzConfigValues(f *testing.F) {
	f.Add([]byte(`{"SCORING_TIMEOUT_MS": 1, "x": {}}`))
	f.Add([]byte(`{"HOSTNAME": "\u0000"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		values, unknown, err := configValues(text)
		if err == nil && len(values)+len(unknown) > len(text) {
			t.Errorf("%d values from %d bytes", len(values)+len(unknown), len(text))
		}
	})
}

func TestIDs(t *testing.T) {
	long := strings.Repeat("x", maxID+1)
	for _, c := range []struct {
		name       string
		headers    map[string]string
		want       ids
		refusal    string
		deprecated bool
	}{
		{"request id alone", map[string]string{"X-Request-Id": "r"}, ids{"r", "r", ""}, "", false},
		{"old name", map[string]string{"X-Request-Id": "r", "X-Ms-Request-Id": "m"}, ids{"r", "m", "m"}, "", true},
		{"client id", map[string]string{"X-Request-Id": "r", "X-Ms-Client-Request-Id": "c"}, ids{"r", "c", "c"}, "", false},
		{"all", map[string]string{"X-Request-Id": "r", "X-Ms-Request-Id": "m", "X-Ms-Client-Request-Id": "c"}, ids{"r", "m", "c"}, "", true},
		{"empty", map[string]string{"X-Request-Id": ""}, ids{}, "", false},
		{"long request id", map[string]string{"X-Request-Id": long}, ids{}, textRequest, false},
		{"long client id", map[string]string{"X-Request-Id": "r", "X-Ms-Client-Request-Id": long}, ids{request: "r"}, textClient, false},
	} {
		h := Head{Get: func(name string) (string, bool) { v, ok := c.headers[name]; return v, ok }}
		got, refusal, deprecated := idsOf(h)
		if got != c.want || refusal != c.refusal || deprecated != c.deprecated {
			t.Errorf("%s: got %+v %q %t", c.name, got, refusal, deprecated)
		}
	}
	made, _, _ := idsOf(Head{Get: func(string) (string, bool) { return "", false }})
	if len(made.request) != 36 || made.legacy != made.request || made.client != "" {
		t.Errorf("made ids: %+v", made)
	}
}

func TestPace(t *testing.T) {
	var p pace
	if p.depth() != 1 {
		t.Errorf("depth %d before anything is known", p.depth())
	}
	for _, c := range []struct {
		ran  time.Duration
		want int
	}{{0, slots}, {10 * time.Microsecond, slots}, {time.Millisecond, 4}, {2 * time.Millisecond, 2}, {3 * time.Millisecond, 1}, {time.Hour, 1}} {
		p := pace{}
		p.observe(c.ran)
		if got := p.depth(); got != c.want {
			t.Errorf("runs of %s: depth %d, want %d", c.ran, got, c.want)
		}
	}
	p.observe(10 * time.Microsecond)
	p.observe(time.Second)
	if p.depth() != 1 {
		t.Error("one slow run does not end lining up")
	}
	for range 100 {
		p.observe(10 * time.Microsecond)
	}
	if p.depth() != slots {
		t.Error("fast runs do not bring lining up back")
	}
}

func TestBackOff(t *testing.T) {
	last := time.Duration(-1)
	for n := 1; n < 100; n++ {
		got := backOff(n)
		if n == 1 && got != 0 || got < last || got > longestWait {
			t.Errorf("back-off %d is %s after %s", n, got, last)
		}
		last = got
	}
	if last != longestWait {
		t.Errorf("back-off ends at %s", last)
	}
}

func TestShelfReadsBodies(t *testing.T) {
	s := newShelf(8 << 20)
	defer s.close()
	for _, n := range []int{0, 1, frame.MaxInline - 1, frame.MaxInline, frame.MaxInline + 1, smallestSegment, smallestSegment + 1, 1<<20 + 3} {
		want := bytes.Repeat([]byte("abc"), n/3+1)[:n]
		for _, told := range []bool{true, false} {
			length := int64(n)
			if !told {
				length = -1
			}
			b, err := s.read(oneByOne{bytes.NewReader(want)}, length, 1<<21)
			if err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			got := b.inline
			if b.segment != nil {
				got = b.segment.data[:b.length]
			}
			if !bytes.Equal(got, want) || (b.segment != nil) != (n >= frame.MaxInline) {
				t.Errorf("%d bytes, told %t: got %d, by descriptor %t", n, told, len(got), b.segment != nil)
			}
			b.release()
			b.release()
		}
	}
	if s.used != 0 {
		t.Errorf("%d bytes still in use", s.used)
	}
}

func TestShelfRefuses(t *testing.T) {
	s := newShelf(4 << 20)
	defer s.close()
	for _, c := range []struct {
		name   string
		sent   int
		length int64
		want   error
	}{
		{"too large, told", 10, 2 << 20, errTooLarge},
		{"too large, not told", 600 << 10, -1, errTooLarge},
		{"too large for inline, not told", frame.MaxInline + 500<<10, -1, errTooLarge},
		{"cut short", 10, 20, io.ErrUnexpectedEOF},
		{"large, cut short", 70 << 10, 80 << 10, io.ErrUnexpectedEOF},
	} {
		_, err := s.read(&cutShort{n: c.sent, whole: c.length}, c.length, 512<<10)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	s.most = 1 << 20
	var held []body
	for {
		b, err := s.read(strings.NewReader(strings.Repeat("x", 300<<10)), 300<<10, 1<<20)
		if errors.Is(err, errNoMemory) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, b)
	}
	if len(held) != 2 {
		t.Errorf("%d bodies were held in 1 MiB", len(held))
	}
	for i := range held {
		held[i].release()
	}
	if s.used != 0 {
		t.Errorf("%d bytes still in use", s.used)
	}
}

// cutShort is a body as an HTTP layer gives it: one that ends before its told
// length is an error.
type cutShort struct {
	n     int
	whole int64
}

func (c *cutShort) Read(p []byte) (int, error) {
	if c.n == 0 {
		if c.whole >= 0 {
			return 0, io.ErrUnexpectedEOF
		}
		return 0, io.EOF
	}
	n := min(c.n, len(p))
	c.n -= n
	return n, nil
}

// oneByOne gives its reader's bytes in small pieces.
type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 3000)]) }

func TestPageAnswers(t *testing.T) {
	p, err := newPage()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if got := p.answers(); got != nil {
		t.Errorf("an empty outbox gives %v", got)
	}
	var wire []byte
	for id := range 3 {
		wire, err = frame.Append(wire, &frame.Frame{Type: frame.Response, ID: uint64(id + 1), Body: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
	}
	copy(p.memory.data[outboxAt:], wire)
	*p.word(4) = uint64(len(wire))
	if got := p.answers(); len(got) != 3 || got[2].ID != 3 || string(got[0].Body) != "{}" {
		t.Errorf("got %v", got)
	}
	// Whatever a worker has written there, it is only looked at.
	*p.word(4) = 1 << 60
	p.memory.data[outboxAt] = 99
	if got := p.answers(); len(got) != 0 {
		t.Errorf("rubbish gives %v", got)
	}
}

func FuzzPageAnswers(f *testing.F) {
	wire, err := frame.Append(nil, &frame.Frame{Type: frame.Response, ID: 1, Body: []byte("{}")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire, uint64(len(wire)))
	f.Add([]byte{}, uint64(1<<63))
	page, err := newPage()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, outbox []byte, length uint64) {
		copy(page.memory.data[outboxAt:], outbox)
		*page.word(4) = length
		for _, a := range page.answers() {
			if a.Type != frame.Response {
				t.Errorf("a frame of type %d came out of the outbox", a.Type)
			}
		}
	})
}

func TestCrashCause(t *testing.T) {
	s := Settings{AppRoot: "/app", EntryScript: "/app/score.py"}
	said := strings.Join([]string{
		"Fatal Python error: Segmentation fault", "",
		"Thread 0x00007f (most recent call first):",
		`  File "/app/other.py", line 3 in wait`,
		"Current thread 0x00007f (most recent call first):",
		`  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at`,
		`  File "/env/lib/python3.11/site-packages/lib/x.py", line 1 in call`,
		`  File "/app/sub/model.py", line 7 in predict`,
		`  File "/app/score.py", line 12 in run`,
		`  File "<sluice>/sluice_worker.py", line 74 in serve`,
		"",
	}, "\n")
	got := ending{phase: PhaseInit, signal: syscall.SIGSEGV, faults: said}.cause(s)
	if got.Code != sluice.CauseCrashed || got.Where() != "sub/model.py:7" || !strings.Contains(got.Message, "SIGSEGV while init() ran") {
		t.Errorf("got %s at %s: %s", got.Code, got.Where(), got.Message)
	}
	for _, c := range []struct {
		name string
		end  ending
		code sluice.CauseCode
	}{
		{"its own words win", ending{failed: &sluice.Cause{Code: sluice.CauseInitRaised}, code: 3}, sluice.CauseInitRaised},
		{"no interpreter", ending{err: &exec.Error{Name: "p", Err: exec.ErrNotFound}}, sluice.CausePythonMissing},
		{"no permission", ending{err: fs.ErrPermission}, sluice.CausePythonMissing},
		{"protocol", ending{err: errors.New("frame of unknown type 9")}, sluice.CauseInternal},
		{"signal after protocol error", ending{err: errors.New("x"), signal: syscall.SIGABRT}, sluice.CauseCrashed},
		{"exit", ending{code: 4, phase: PhaseReady}, sluice.CauseScriptExited},
	} {
		if got := c.end.cause(s); got.Code != c.code {
			t.Errorf("%s: %s, want %s", c.name, got.Code, c.code)
		}
	}
}

func TestTerminationIsBounded(t *testing.T) {
	long := strings.Repeat(`<é"`, 3000)
	cause := &sluice.Cause{Code: sluice.CauseInitRaised, Message: long, Hint: long, File: "score.py", Line: 3,
		Evidence: []string{long, "the last line"}}
	text, err := encodeTermination(cause)
	if err != nil || len(text) > MaxTermination {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	var back sluice.Cause
	if err := json.Unmarshal(text, &back); err != nil || back.Code != cause.Code || back.File != "score.py" || back.Line != 3 {
		t.Errorf("read back: %+v, %v", back, err)
	}
	short := &sluice.Cause{Code: sluice.CauseCrashed, Message: "m", Evidence: []string{strings.Repeat("x", 5000), "kept"}}
	if text, err = encodeTermination(short); err != nil || !strings.Contains(string(text), `"evidence":["kept"]`) {
		t.Errorf("%s, %v", text, err)
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Error(err)
	}
}

func TestLogFlushesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &output{}
		log := NewLog(out, 7)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- log.Run(ctx) }()
		log.Printf('I', "hello")
		synctest.Wait()
		if out.String() != "" {
			t.Errorf("written at once: %q", out)
		}
		<-time.After(flushAfter)
		synctest.Wait()
		const want = "2000-01-01 00:00:00,000 I [7] azmlinfsrv - hello\n"
		if out.String() != want {
			t.Errorf("got %q, want %q", out, want)
		}
		log.Access(8, "POST", "/score", "a=1", 200, 1234567*time.Nanosecond, 9)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimPrefix(out.String(), want); got != "2000-01-01 00:00:00,010 I [8] azmlinfsrv - POST /score?a=1 200 1.235ms 9\n" {
			t.Errorf("access line %q", got)
		}
	})
}

func TestLogDoesNotWaitForItsOutput(t *testing.T) {
	release := make(chan struct{})
	out := &stuck{release: release}
	log := NewLog(out, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	line := strings.Repeat("x", 1<<20)
	for range 20 {
		log.Plain(line)
	}
	close(release)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "log lines were dropped because the output stood still") {
		t.Error("nothing was dropped, or nobody was told")
	}
}

// stuck is an output that takes nothing until it is released.
type stuck struct {
	output
	release chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	return s.output.Write(p)
}

func FuzzPump(f *testing.F) {
	f.Add([]byte("raw\n\x1erecord\n\x1fmore\nlast"))
	f.Add(bytes.Repeat([]byte("x"), 3*maxLine))
	f.Fuzz(func(t *testing.T, text []byte) {
		out := &output{}
		log := NewLog(out, 1)
		if err := log.pump(bytes.NewReader(text), 2, "azmlinfsrv.stdout", nil); err != nil {
			t.Fatal(err)
		}
		if err := log.flush(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); len(text) > 0 && len(text) < maxPending && !strings.HasSuffix(got, "\n") {
			t.Errorf("the log does not end with a line's end: %q", got)
		}
	})
}

func TestOnlyOneFileKnowsHTTP(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "http.go" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"net/http`) {
			t.Errorf("%s imports net/http: the HTTP layer must stay replaceable", file)
		}
	}
}
