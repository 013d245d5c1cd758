package reconcile

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/probe"
)

func answer(t *testing.T, v any) probe.Answer {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return probe.Answer{Status: 200, Body: body}
}

// What an instance says of itself is bounded and cannot steer a terminal.
func TestHearBelievesNothing(t *testing.T) {
	long := strings.Repeat("\x1b[2J", 5000)
	got := hear(answer(t, map[string]any{"phase": long, "version": long,
		"at":      map[string]any{"file": long, "line": -4, "function": long, "stack": slices.Repeat([]string{long}, 100)},
		"trouble": sluice.Cause{Code: "X", Message: long, File: long, Line: -1, Hint: long, Request: long, Evidence: slices.Repeat([]string{long}, 100)}}))
	if got.phase != "" || len(got.version) > 64 || got.at.line != 0 || got.trouble.Line != 0 || len(got.at.stack) > 50 || len(got.trouble.Evidence) > 50 {
		t.Errorf("got %+v", got)
	}
	if n := len([]rune(got.at.sentence())); n > 500 {
		t.Errorf("the place is %d characters long", n)
	}
	for _, text := range append(append([]string{got.at.sentence(), got.trouble.Message, got.trouble.Request}, got.at.stack...), got.trouble.Evidence...) {
		if strings.Contains(text, "\x1b") || len(text) > 3000 {
			t.Errorf("%d bytes with control characters or too many: %.40q", len(text), text)
		}
	}
	for _, a := range []probe.Answer{{Status: 200, Body: []byte("no")}, {Status: 500}, {Status: 200, Body: []byte(`{"at":7}`)}} {
		if got := hear(a); got.version != "" || got.at != nil || got.trouble != nil {
			t.Errorf("%q is heard as %+v", a.Body, got)
		}
	}
}

func FuzzHear(f *testing.F) {
	f.Add([]byte(`{"phase":"init","version":"init-3","at":{"file":"score.py","line":12,"function":"load","stack":["a"]}}`))
	f.Add([]byte(`{"phase":"ready","version":"ready-9","served":true,"trouble":{"code":"RunRaises","message":"m","line":-3}}`))
	f.Add([]byte(`{"version":"\u001b[2J","at":{"function":"\u009b"},"trouble":{"message":"\ud800","evidence":[""]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := hear(probe.Answer{Status: 200, Body: body})
		texts := []string{got.phase}
		if got.at != nil {
			texts = append(texts, got.at.sentence())
		}
		if got.trouble != nil {
			texts = append(texts, got.trouble.Error())
		}
		for _, text := range texts {
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 }) {
				t.Errorf("a control character is left in %q", text)
			}
		}
	})
}

func TestSentence(t *testing.T) {
	for want, p := range map[string]place{
		"at score.py:12 in load": {file: "score.py", line: 12, function: "load"},
		"at score.py:3":          {file: "score.py", line: 3, function: "<module>"},
		"outside of the script":  {},
	} {
		if got := p.sentence(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The cause of a start that takes too long says where it stands, and so does
// its stage until then.
func TestASlowStartNamesItsPlace(t *testing.T) {
	at := &place{file: "score.py", line: 12, function: "load", stack: []string{`  File "score.py", line 12 in load`}}
	labels := map[string]string{LabelEndpoint: "iris", LabelDeployment: "blue"}
	i := seen{Instance: engine.Instance{ID: "i1", Phase: engine.Running, Labels: labels}, phase: "init", told: told{phase: "init", at: at}}
	got := lateCause(i, 311*time.Second, 310*time.Second)
	want := &sluice.Cause{Code: sluice.CauseInitHangs, Instance: "i1", File: "score.py", Line: 12,
		Message: "the instance was not ready after 311 s: it is still in init, at score.py:12 in load",
		Hint: "readiness_probe bounds this at initial_delay + failure_threshold × period = 310 s; " +
			"`sluice online-deployment get-logs -e iris -n blue --instance i1` shows what it wrote",
		Evidence: []string{"Stack (most recent call first):", `  File "score.py", line 12 in load`}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := detailOf(i); got != "at score.py:12 in load" {
		t.Errorf("the stage says %q", got)
	}
	i.phase = "import" // what is told is of another phase
	if got := lateCause(i, time.Minute, time.Minute); got.Line != 0 || detailOf(i) != "" {
		t.Errorf("got %+v and %q", got, detailOf(i))
	}
	i.phase, i.ready = "init", true
	if got := detailOf(i); got != "" {
		t.Errorf("a ready one stands %q", got)
	}
}

func TestTroubleOf(t *testing.T) {
	now := time.Unix(1e9, 0)
	raises := &sluice.Cause{Code: sluice.CauseRunRaises, Message: "run() raised KeyError: 'x'"}
	crash := &sluice.Cause{Code: sluice.CauseCrashed, Message: "SIGSEGV", Hint: "mend it"}
	live := func(id string, of told) seen {
		return seen{Instance: engine.Instance{ID: id, Phase: engine.Running, Created: now.Add(-time.Minute)}, ready: true, everReady: true, told: of}
	}
	ended := func(id string, ago time.Duration, change func(*seen)) seen {
		s := seen{Instance: engine.Instance{ID: id, Phase: engine.Failed, Ended: now.Add(-ago)}, everReady: true, cause: crash}
		if change != nil {
			change(&s)
		}
		return s
	}
	in := told{trouble: raises}
	for name, tt := range map[string]struct {
		before *sluice.Cause
		all    []seen
		want   string // instance and message
	}{
		"none":                      {nil, []seen{live("a", told{})}, ""},
		"one":                       {nil, []seen{live("a", told{}), live("b", in)}, "b run() raised KeyError: 'x'"},
		"the first":                 {nil, []seen{live("a", in), live("b", in)}, "a run() raised KeyError: 'x'"},
		"the one it was":            {&sluice.Cause{Instance: "b"}, []seen{live("a", in), live("b", in)}, "b run() raised KeyError: 'x'"},
		"draining":                  {nil, []seen{func() seen { s := live("a", in); s.Phase = engine.Draining; return s }()}, ""},
		"ended":                     {nil, []seen{ended("a", time.Minute, nil), ended("b", time.Second, nil)}, "b SIGSEGV"},
		"ended long ago":            {nil, []seen{ended("a", time.Hour, nil)}, ""},
		"ended before it was ready": {nil, []seen{ended("a", time.Second, func(s *seen) { s.everReady = false })}, ""},
		"asked to end":              {nil, []seen{ended("a", time.Second, func(s *seen) { s.Asked = true })}, ""},
		"its machine was lost":      {nil, []seen{ended("a", time.Second, func(s *seen) { s.Reason = engine.Evicted })}, ""},
		"another has served since":  {nil, []seen{ended("a", 2*time.Minute, nil), live("b", told{served: true})}, ""},
		"another serves since":      {nil, []seen{ended("a", 2*time.Minute, nil), live("b", told{})}, "a SIGSEGV"},
		"another served before":     {nil, []seen{ended("a", time.Second, nil), live("b", told{served: true})}, "a SIGSEGV"},
		"what serves comes first":   {nil, []seen{ended("a", time.Second, nil), live("b", in)}, "b run() raised KeyError: 'x'"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &sluice.Deployment{Endpoint: "iris", Trouble: tt.before, Meta: sluice.Meta{Name: "blue"}}
			got := troubleOf(view{deployment: d, instances: tt.all}, now)
			text := ""
			if got != nil {
				text = got.Instance + " " + got.Message
				if !strings.Contains(got.Hint, "`sluice online-endpoint invoke -n iris -d blue -r FILE`") {
					t.Errorf("the hint is %q", got.Hint)
				}
			}
			if text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
		})
	}
	if raises.Hint != "" || crash.Hint != "mend it" {
		t.Error("what was told has been altered")
	}
}
