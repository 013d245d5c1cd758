package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/args"
	"github.com/sluice-ml/sluice/manifest"
)

func TestExplain(t *testing.T) {
	cause := &sluice.Cause{Code: sluice.CauseInitRaised, Message: "init() raised ValueError: x", File: "score.py", Line: 3,
		Hint: "mend it", Evidence: []string{"Traceback\x1b[2J", "ValueError: x"}}
	tests := []struct {
		name string
		err  error
		code int
		text string
	}{
		{"nothing", nil, 0, ""},
		{"said already", fmt.Errorf("x: %w", silent(1)), 1, ""},
		{"usage", usage("which?"), 2, "sluice: which?\n  hint: --help shows how to use the command\n"},
		{"arguments", &args.Error{Message: "no", Hint: "yes"}, 2, "sluice: no\n  hint: yes\n"},
		{"not found", fmt.Errorf("reading: %w", sluice.Errorf(sluice.CodeNotFound, "no iris")), 3, "sluice: reading: no iris\n"},
		{"with a cause", &sluice.Error{Code: sluice.CodeInvalid, Message: "m", Cause: cause}, 1,
			"  | Traceback [2J\n  | ValueError: x\nsluice: score.py:3: init() raised ValueError: x\n  hint: mend it\n"},
		{"a cause without a hint", &sluice.Error{Code: sluice.CodeBusy, Hint: "wait", Cause: &sluice.Cause{Message: "busy"}}, 1,
			"sluice: busy\n  hint: wait\n"},
		{"several causes", manifest.Causes{cause, {Message: "two"}}, 1,
			"  | Traceback [2J\n  | ValueError: x\nsluice: score.py:3: init() raised ValueError: x\n  hint: mend it\nsluice: two\n"},
		{"goes on", &goesOn{what: "deployment blue", follow: "sluice x"}, 130,
			"sluice: deployment blue goes on without this command\n  hint: see how far it is with `sluice x`\n"},
		{"anything else", errors.New("odd\nline"), 1, "sluice: odd line\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			p := &program{stderr: &b}
			if got := p.explain(context.Background(), tt.err); got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
			if diff := cmp.Diff(tt.text, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExplainInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var b bytes.Buffer
	p := &program{stderr: &b}
	if got := p.explain(ctx, fmt.Errorf("asking: %w", context.Canceled)); got != exitInterrupted || b.String() != "sluice: interrupted\n" {
		t.Errorf("got %d and %q", got, b.String())
	}
	b.Reset()
	if got := p.explain(ctx, errors.New("disk full")); got != exitFailed || b.String() != "sluice: disk full\n" {
		t.Errorf("an error of its own became %d and %q", got, b.String())
	}
}

// runHere runs a command in this process, without a terminal.
func runHere(t *testing.T, env map[string]string, line ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	look := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	code = run(context.Background(), line, strings.NewReader(""), &out, &err, look)
	return code, out.String(), err.String()
}

// Every command has help with an example, and its flags can be told apart.
func TestEveryCommandHelps(t *testing.T) {
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, lookup: func(string) (string, bool) { return "", false }}
	p.build()
	seen := 0
	for _, group := range p.root.Commands() {
		for _, cmd := range append(group.Commands(), group) {
			if cmd.HasSubCommands() || cmd.Hidden || strings.HasPrefix(cmd.CommandPath(), "sluice completion") || cmd.Name() == "help" {
				continue
			}
			seen++
			if cmd.Example == "" || cmd.Short == "" {
				t.Errorf("%s has no example or no short help", cmd.CommandPath())
			}
			line := append(strings.Fields(cmd.CommandPath())[1:], "--help")
			if code, out, _ := runHere(t, nil, line...); code != 0 || !strings.Contains(out, "Usage:") {
				t.Errorf("%v: exit code %d and %q", line, code, out)
			}
			short := map[string]string{}
			for _, f := range flagsOf(cmd) {
				if f.Short != "" && short[f.Short] != "" && short[f.Short] != f.Name {
					t.Errorf("%s: -%s is both --%s and --%s", cmd.CommandPath(), f.Short, f.Name, short[f.Short])
				}
				short[f.Short] = f.Name
			}
		}
	}
	if seen < 25 {
		t.Errorf("only %d commands were seen", seen)
	}
}

// Flags before and between the words of a command are understood.
func TestFlagsAnywhere(t *testing.T) {
	for _, line := range [][]string{
		{"-o", "tsv", "version", "--query", "sluice"},
		{"--out=tsv", "version", "--q", "sluice"},
		{"version", "-otsv", "--query=sluice"},
	} {
		if code, out, stderr := runHere(t, nil, line...); code != 0 || out != "dev\n" {
			t.Errorf("%v: exit code %d, %q and %q", line, code, out, stderr)
		}
	}
}

func TestPatchFlagsKeepTheirOrder(t *testing.T) {
	var p patchFlags
	for _, use := range []struct{ verb, value string }{{"set", "a=1" + args.Separator + "b=2"}, {"remove", "c"}, {"set", "d=3"}, {"add", "e" + args.Separator + "f=1"}} {
		if err := (patchValue{&p, use.verb}).Set(use.value); err != nil {
			t.Fatal(err)
		}
	}
	want := []patchUse{{"set", []string{"a=1", "b=2"}}, {"remove", []string{"c"}}, {"set", []string{"d=3"}}, {"add", []string{"e", "f=1"}}}
	if diff := cmp.Diff(want, p.uses, cmp.AllowUnexported(patchUse{})); diff != "" {
		t.Error(diff)
	}
	patches, err := p.patches()
	if err != nil || len(patches) != 5 {
		t.Errorf("got %d patches and %v, want 5", len(patches), err)
	}
}

func TestPosition(t *testing.T) {
	for _, tt := range []struct {
		text         string
		offset       int64
		line, column int
	}{{"", 0, 1, 1}, {"{a", 2, 1, 2}, {"{\n x", 4, 2, 2}, {"{", 99, 1, 2}} {
		if line, column := position([]byte(tt.text), tt.offset); line != tt.line || column != tt.column {
			t.Errorf("position(%q, %d) = %d:%d, want %d:%d", tt.text, tt.offset, line, column, tt.line, tt.column)
		}
	}
}

func TestSumTellsPartsApart(t *testing.T) {
	if sum("a", "bc") == sum("ab", "c") {
		t.Error("the border between parts makes no difference")
	}
	if a := sum("a"); a != sum("a") || sluice.CheckAsset("code", a, anonymous) != nil {
		t.Errorf("%q is no stable asset name", a)
	}
}

func TestCheckAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://sluice.example:7443": true, "http://localhost:7443": true, "http://127.0.0.1": true, "http://[::1]:80": true,
		"http://sluice.example": false, "localhost:7443": false, "": false, "ftp://x": false,
	} {
		if err := checkAddress(address); (err == nil) != ok {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

// Paths of the command line are relative to the working directory; references
// and addresses are no paths.
func TestHere(t *testing.T) {
	for _, path := range []string{"", "azureml:iris:1", "https://x/y", "runs:/1/model"} {
		if got := here(path); got != path {
			t.Errorf("here(%q) = %q, want it unchanged", path, got)
		}
	}
	if got := here("testdata"); !strings.HasSuffix(got, "/cmd/sluice/testdata") {
		t.Errorf("here(testdata) = %q, want it absolute", got)
	}
}
