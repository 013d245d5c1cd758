package script

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func python(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("a Python is needed: ", err)
	}
	return path
}

// write puts files into a folder, whose name is as unhandy as a user's.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "my code – ü")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const both = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"

// One real Python: the cause is typed, and its file is named as the user
// knows it.
func TestCheck(t *testing.T) {
	dir := write(t, map[string]string{
		"good.py":           both,
		"windows.py":        strings.ReplaceAll(both, "\n", "\r\n"),
		"bad syntax.py":     "def init():\n    pass\n\ndef run(data)\n    return data\n",
		"sub/größe.py":      "def init():\n\tpass\n\ndef rum(data):\n\treturn data\n",
		"sub/imports.py":    "import helper\n" + both,
		"helper.py":         "\n\nx = = 1\n",
		"sub/helper.py":     both, // not on the path
		"sub/unreadable.py": strings.Repeat("#", 2<<20),
	})
	for _, tt := range []struct {
		script     string
		code       sluice.CauseCode
		at, says   string
		hintedWith string
	}{
		{script: "good.py"},
		{script: "windows.py"},
		{script: "no such file.py"},
		{script: "sub/unreadable.py"},
		{"bad syntax.py", sluice.CauseScriptSyntax, "bad syntax.py:4:14", "SyntaxError: ", ""},
		{"sub/imports.py", sluice.CauseScriptSyntax, "helper.py:3:5", "SyntaxError: invalid syntax", ""},
		{"sub/größe.py", sluice.CauseScriptFunctions, "sub/größe.py:4", "größe.py has no run() function; it has init(), rum()", "did you mean run?"},
	} {
		t.Run(tt.script, func(t *testing.T) {
			v := Check(context.Background(), []string{"/no/python", python(t)}, dir, tt.script)
			if v.Unchecked != "" {
				t.Fatalf("it was not checked: %s", v.Unchecked)
			}
			c := v.Cause
			if tt.code == "" {
				if c != nil {
					t.Errorf("a false alarm: %v", c)
				}
				return
			}
			if c == nil || c.Code != tt.code || c.Where() != tt.at || !strings.Contains(c.Message, tt.says) || !strings.Contains(c.Hint, tt.hintedWith) {
				t.Errorf("got %+v, want %s at %s: …%s… (…%s…)", c, tt.code, tt.at, tt.says, tt.hintedWith)
			}
			if strings.Contains(strings.Join(c.Evidence, " "), dir) {
				t.Errorf("the folder is this machine's: %q", c.Evidence)
			}
		})
	}
}

// fake is a Python that answers as it is told, and counts.
func fake(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// Where no Python can be sure, nothing is said.
func TestWhatIsNotKnown(t *testing.T) {
	old := fake(t, `cat >/dev/null; echo '{"python": "3.9.1", "newer": true, "cause": {"code": "ScriptSyntaxError", "message": "SyntaxError: no", "file": "s.py", "line": 3}}'`)
	sure := fake(t, `cat >/dev/null; echo '{"python": "3.12.1", "cause": {"code": "ScriptSyntaxError", "message": "SyntaxError: yes", "file": "s.py", "line": 3}}'`)
	fine := fake(t, `cat >/dev/null; echo '{"python": "3.13.1"}'`)
	broken := fake(t, `cat >/dev/null; echo 'Python was not found' >&2; exit 9`)
	killed := fake(t, `cat >/dev/null; kill -SEGV $$`)
	chatty := fake(t, `cat >/dev/null; head -c 1000000 /dev/zero`)
	for _, tt := range []struct {
		name      string
		pythons   []string
		cause     string
		unchecked string
	}{
		{"none", nil, "", "no Python 3.8 or later was found"},
		{"a broken one", []string{broken}, "", "no Python 3.8 or later was found"},
		{"no answer", []string{chatty}, "", "no Python 3.8 or later was found"},
		{"an old one", []string{old}, "", "Python 3.9.1 on this machine cannot read it, which a newer one may: s.py:3: SyntaxError: no"},
		{"an old one and a new one that reads it", []string{old, fine}, "", ""},
		{"an old one and one that is sure", []string{broken, old, sure}, "s.py:3: SyntaxError: yes", ""},
		{"an old one before a broken one", []string{old, broken}, "", "Python 3.9.1 on this machine"},
		{"a crash", []string{killed}, "", "gave up on it: signal: segmentation fault"},
		{"a crash before an answer", []string{killed, sure}, "s.py:3: SyntaxError: yes", ""},
		{"too many", []string{broken, broken, broken, broken, sure}, "", "no Python 3.8 or later was found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := Check(context.Background(), tt.pythons, t.TempDir(), "s.py")
			cause := ""
			if v.Cause != nil {
				cause = v.Cause.Error()
			}
			if cause != tt.cause || !strings.Contains(v.Unchecked, tt.unchecked) || (v.Unchecked == "") != (tt.unchecked == "") {
				t.Errorf("got %q and %q, want %q and …%q…", cause, v.Unchecked, tt.cause, tt.unchecked)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if v := Check(ctx, []string{sure}, t.TempDir(), "s.py"); v.Cause != nil || v.Unchecked == "" {
		t.Errorf("interrupted, it says %+v", v)
	}
}

// The two readings of one script, before the upload and in the worker, are by
// the same program: that what it says can be read is checked for real above.
func TestAnswerIsCleaned(t *testing.T) {
	text, err := json.Marshal(answer{Python: "3.12", Cause: &sluice.Cause{Code: sluice.CauseScriptSyntax, Message: "a\x1b[2J", Line: -1, Column: -4}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseAnswer(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&sluice.Cause{Code: sluice.CauseScriptSyntax, Message: "a [2J"}, got.Cause); diff != "" {
		t.Error(diff)
	}
}

// The program quotes a stranger's script: whatever it says is refused or made
// harmless.
func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"python": "3.11.7", "cause": null, "newer": false}`))
	f.Add([]byte(`{"python": "3.11.7", "cause": {"code": "ScriptSyntaxError", "message": "x\u001b[2J", "line": -3, "evidence": ["` + "\u0000" + `"]}}`))
	f.Add([]byte(`{"python": "` + strings.Repeat("3", 100) + `"}`))
	f.Add([]byte(`{"python": "3", "cause": {"code": "Internal"}}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parseAnswer(text)
		if err != nil {
			return
		}
		v := a.verdict()
		if v.Cause != nil && v.Unchecked != "" {
			t.Error("it is both known and not")
		}
		if a.Cause == nil {
			return
		}
		for _, text := range append(a.Cause.Evidence, a.Cause.Message, a.Cause.File, a.Cause.Hint, string(a.Cause.Code)) {
			if len(text) > 2100 || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
				t.Errorf("the cause is not clean: %q", text)
			}
		}
		if a.Cause.Line < 0 || a.Cause.Column < 0 {
			t.Error("it names a line before the first")
		}
	})
}

// Whatever bytes a script has, the program comes to an answer or gives up.
func FuzzScript(f *testing.F) {
	for _, seed := range []string{both, "\xef\xbb\xbf" + both, "# coding: klingon\n", "\x00", "def run(:", "import s\n" + both, "match x:\n case run: 1\n"} {
		f.Add([]byte(seed))
	}
	program := python(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "s.py"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		v := Check(context.Background(), []string{program}, dir, "s.py")
		if strings.Contains(v.Unchecked, "no Python") {
			t.Errorf("the program failed: %s", v.Unchecked)
		}
	})
}
