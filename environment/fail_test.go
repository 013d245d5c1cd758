package environment

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
)

// TestFailures makes each kind of failure happen with each tool, and checks
// that the facts are in the sentence and the next step is named.
func TestFailures(t *testing.T) {
	here := thisPython(t)
	other := "3.9"
	if here.Series() == other {
		other = "3.10"
	}
	tag := func(series string) string { return "cp" + strings.ReplaceAll(series, ".", "") + "-none-any" }
	wheels := []wheel{
		{name: "below", version: "1.0"}, {name: "below", version: "1.1"},
		{name: "wants-old", version: "1.0", requires: []string{"below==1.0"}},
		{name: "wants-new", version: "1.0", requires: []string{"below==1.1"}},
		{name: "elsewhere", version: "2.0", tag: tag(other)},
		{name: "elsewhere", version: "3.0"},
		{name: "needs-elsewhere", version: "1.0", requires: []string{"elsewhere==2.0"}},
		{name: "nowhere", version: "2.0", tag: "cp27-none-any"},
	}
	for name, c := range map[string]struct {
		requirements string
		code         sluice.CauseCode
		says         []string
		hint         string
	}{
		"conflict":        {"wants-old\nwants-new", sluice.CauseUnresolvable, []string{"wants-old", "wants-new", "below==1.0"}, "loosen"},
		"no such package": {"below-zero", sluice.CauseUnresolvable, []string{"no package below-zero"}, "below-zero"},
		"no such version": {"below==9.9", sluice.CauseUnresolvable, []string{"no version", "below==9.9"}, "below==9.9"},
		"no wheel here":   {"elsewhere==2.0", sluice.CauseNoWheel, []string{"elsewhere==2.0", here.Series(), other}, "python=" + other},
		"no wheel below":  {"needs-elsewhere", sluice.CauseNoWheel, []string{"elsewhere==2.0", here.Series(), other}, "python=" + other},
		"no wheel at all": {"nowhere==2.0", sluice.CauseNoWheel, []string{"nowhere==2.0", "nor for any other"}, "another version"},
	} {
		t.Run(name, func(t *testing.T) {
			forTools(t, func(t *testing.T, tool string) {
				x := newIndex(t, wheels...)
				b := open(t, Config{UV: tool, Environ: x.environ(t)})
				_, err := b.Prepare(t.Context(), Spec{Requirements: c.requirements, Python: here.Series()}, nil)
				wantCause(t, err, c.code, c.hint, c.says...)
				leftNothing(t, b.dir)
			})
		})
	}
}

// thisPython gives the version that an open pin comes to here.
func thisPython(t *testing.T) Version {
	t.Helper()
	b := open(t, Config{UV: "off"})
	installed, err := b.pythons.list(t.Context(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	i, _, err := choose(Pin{}, installed)
	if err != nil {
		t.Fatal(err)
	}
	return i.Version
}

func wantCause(t *testing.T, err error, code sluice.CauseCode, hint string, says ...string) {
	t.Helper()
	var c *sluice.Cause
	if !errors.As(err, &c) {
		t.Fatalf("got %v, want a cause", err)
	}
	if c.Code != code {
		t.Errorf("got %s (%s), want %s; evidence:\n%s", c.Code, c.Message, code, strings.Join(c.Evidence, "\n"))
	}
	for _, s := range says {
		if !strings.Contains(c.Message, s) {
			t.Errorf("%q does not say %q", c.Message, s)
		}
	}
	if c.Hint == "" || !strings.Contains(c.Hint, hint) {
		t.Errorf("hint %q does not name %q", c.Hint, hint)
	}
	if code == sluice.CauseDiskFull {
		return
	}
	last := ""
	if len(c.Evidence) > 0 {
		last = c.Evidence[len(c.Evidence)-1]
	}
	log, ok := strings.CutPrefix(last, "the whole log: ")
	if !ok {
		t.Fatalf("evidence %q does not name the log", c.Evidence)
	}
	if text, err := os.ReadFile(log); err != nil || len(text) == 0 {
		t.Errorf("the log: %v", err)
	}
}

func TestIndexFailures(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()
	for name, c := range map[string]struct {
		change func(x *index)
		url    string
		says   string
	}{
		"wrong password": {change: func(x *index) { x.password = "right-password" }, says: "401"},
		"forbidden":      {change: func(x *index) { x.status = 403 }, says: "403"},
		"broken":         {change: func(x *index) { x.status = 500 }, says: "500"},
		"nobody there":   {url: nobody, says: "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			forTools(t, func(t *testing.T, tool string) {
				x := newIndex(t)
				environ := x.environ(t)
				at := x.URL
				if c.change != nil {
					c.change(x)
				}
				if c.url != "" {
					at = c.url
				}
				at = strings.Replace(at, "http://", "http://someone:wrong-password@", 1)
				environ = append(environ, "PIP_INDEX_URL="+at+"/simple")
				_, err := open(t, Config{UV: tool, Environ: environ}).Prepare(t.Context(), Spec{Requirements: "below"}, nil)
				wantCause(t, err, sluice.CauseIndex, "PIP_INDEX_URL", c.says, "127.0.0.1")
				if strings.Contains(err.Error(), "wrong-password") {
					t.Errorf("%v tells the password", err)
				}
			})
		})
	}
}

func TestNoPython(t *testing.T) {
	b := open(t, Config{UV: "off", FindPythons: func() []string { return []string{"/bin/sh", "/no/such/python"} }})
	_, err := b.Prepare(t.Context(), Spec{Python: "3.11"}, nil)
	var c *sluice.Cause
	if !errors.As(err, &c) || c.Code != sluice.CausePythonMissing || !strings.Contains(c.Message, "3.11") || !strings.Contains(c.Hint, "install 3.11") {
		t.Errorf("got %+v", err)
	}
}
