// Package script looks at scoring scripts without running them: whether one
// parses, defines init() and run(), and has a run() that can be called.
//
// What is judged is one piece of Python, [Source]. A worker runs it before it
// imports anything, with the deployment's own interpreter; [Check] runs it on
// the user's machine, with a Python that is found there, before anything is
// uploaded. The cause is the same from both.
//
// Nothing of the user's is imported or executed: the text is parsed and
// compiled, in a process of its own whose time and memory are bounded. What
// only running the script could tell is no fault.
//
// Everything here may be used from any number of goroutines.
package script

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// Source is the program that judges a script.
//
//go:embed sluice_check.py
var Source string

const (
	// patience bounds how long one Python may take. Parsing takes
	// milliseconds; what takes this long is a bomb or a broken interpreter.
	patience  = 15 * time.Second
	maxAnswer = 64 << 10 // bytes
	maxTries  = 4        // Pythons asked about one script
)

// Verdict is what is known about a script. It is fine as far as can be seen
// when both fields are empty.
type Verdict struct {
	Cause *sluice.Cause // what is wrong for sure
	// Unchecked says why nothing is known, as part of a sentence.
	Unchecked string
}

// answer is what the program says with one Python.
type answer struct {
	Python string        `json:"python"`
	Cause  *sluice.Cause `json:"cause"`
	// Newer is set when the cause may be that this Python is too old.
	Newer bool `json:"newer"`
}

// Check judges a script in a folder, by its path in it with forward slashes.
// The Pythons are programs to try, best first; one that does not work, or is
// too old to be sure, leaves it to the next.
func Check(ctx context.Context, pythons []string, folder, script string) Verdict {
	v := Verdict{Unchecked: "no Python 3.8 or later was found on this machine"}
	for _, python := range pythons[:min(len(pythons), maxTries)] {
		a, err := ask(ctx, python, folder, script)
		if ctx.Err() != nil {
			return Verdict{Unchecked: context.Cause(ctx).Error()}
		}
		if err != nil {
			if errors.Is(err, errGaveUp) {
				v.Unchecked = err.Error()
			}
			continue
		}
		decided := a.verdict()
		if decided.Unchecked == "" {
			return decided
		}
		v = decided
	}
	return v
}

// verdict says what an answer amounts to.
func (a answer) verdict() Verdict {
	if a.Cause == nil {
		return Verdict{}
	}
	if a.Newer {
		return Verdict{Unchecked: fmt.Sprintf("Python %s on this machine cannot read it, which a newer one may: %s", a.Python, a.Cause.Error())}
	}
	return Verdict{Cause: a.Cause}
}

// errGaveUp says that a Python began and did not come to an end: the script
// asks too much of its parser.
var errGaveUp = errors.New("the Python on this machine gave up on it")

// ask runs the program with one Python.
func ask(ctx context.Context, python, folder, script string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// -I and -S keep out everything that belongs to somebody: their folder,
	// their variables, their packages.
	cmd := exec.CommandContext(ctx, python, "-I", "-S", "-", folder, script)
	cmd.Stdin = strings.NewReader(Source)
	cmd.WaitDelay = time.Second
	out := &bounded{left: maxAnswer}
	cmd.Stdout = out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return answer{}, fmt.Errorf("%w: it took longer than %s", errGaveUp, patience)
	case err != nil && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() < 0:
		return answer{}, fmt.Errorf("%w: %v", errGaveUp, err)
	case err != nil:
		return answer{}, fmt.Errorf("running %s: %w", python, err)
	}
	return parseAnswer(out.kept.Bytes())
}

// parseAnswer reads what the program wrote. It quotes the script, which is a
// stranger's.
func parseAnswer(text []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("reading what Python said of the script: %w", err)
	}
	if a.Python == "" || len(a.Python) > 40 || a.Cause != nil && a.Cause.Code != sluice.CauseScriptSyntax && a.Cause.Code != sluice.CauseScriptFunctions {
		return answer{}, errors.New("reading what Python said of the script: it is no answer")
	}
	if a.Cause != nil {
		clean := a.Cause.Clean()
		clean.Line, clean.Column = max(clean.Line, 0), max(clean.Column, 0)
		a.Cause = &clean
	}
	return a, nil
}

// bounded keeps the first bytes written to it.
type bounded struct {
	kept bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	keep := p[:min(len(p), b.left)]
	b.left -= len(keep)
	b.kept.Write(keep)
	return len(p), nil
}
