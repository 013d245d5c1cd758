package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/args"
	"github.com/sluice-ml/sluice/manifest"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitInterrupted = 130
)

// usageError says that the command was typed wrongly.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func usage(format string, a ...any) *usageError {
	return &usageError{message: fmt.Sprintf(format, a...), hint: "--help shows how to use the command"}
}

// goesOn says that the user stopped waiting for what goes on without them.
type goesOn struct{ what, follow string }

func (e *goesOn) Error() string { return e.what + " goes on without this command" }

// silent ends the program with a code after all has been said.
type silent int

func (s silent) Error() string { return fmt.Sprintf("exit code %d", int(s)) }

// explain shows the error, if there is one, and gives the exit code.
func (p *program) explain(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if stopped(ctx) && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		err = errInterrupted
	}
	if s, ok := errors.AsType[silent](err); ok {
		return int(s)
	}
	for _, f := range faults(err) {
		f.write(p.stderr)
	}
	return exitCode(err)
}

// errInterrupted says that the user ended the command while nothing went on
// without it.
var errInterrupted = errors.New("interrupted")

func exitCode(err error) int {
	if _, ok := errors.AsType[*goesOn](err); ok || errors.Is(err, errInterrupted) {
		return exitInterrupted
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*args.Error](err); ok {
		return exitUsage
	}
	if sluice.ErrorCode(err) == sluice.CodeNotFound {
		return exitNotFound
	}
	return exitFailed
}

// fault is one thing that is wrong, as it is shown.
type fault struct {
	sentence, hint string
	evidence       []string
}

// faults takes an error apart into what a person is told.
func faults(err error) []fault {
	if causes, ok := errors.AsType[manifest.Causes](err); ok {
		all := make([]fault, len(causes))
		for i, c := range causes {
			all[i] = faultOf(c)
		}
		return all
	}
	if e, ok := errors.AsType[*sluice.Error](err); ok {
		f := fault{sentence: err.Error(), hint: e.Hint}
		if e.Cause != nil {
			f = faultOf(e.Cause)
			if f.hint == "" {
				f.hint = e.Hint
			}
		}
		return []fault{f}
	}
	if c, ok := errors.AsType[*sluice.Cause](err); ok {
		return []fault{faultOf(c)}
	}
	return []fault{{sentence: err.Error(), hint: hintOf(err)}}
}

func faultOf(c *sluice.Cause) fault {
	return fault{sentence: c.Error(), hint: c.Hint, evidence: c.Evidence}
}

// hintOf gives the next step that an error knows of.
func hintOf(err error) string {
	if e, ok := errors.AsType[*usageError](err); ok {
		return e.hint
	}
	if e, ok := errors.AsType[*args.Error](err); ok {
		return e.Hint
	}
	if e, ok := errors.AsType[*goesOn](err); ok {
		return "see how far it is with `" + e.follow + "`"
	}
	if e, ok := errors.AsType[*sluice.Error](err); ok {
		return e.Hint
	}
	return ""
}

// maxEvidence is how many of the lines that show a cause are printed: the last
// ones tell most.
const maxEvidence = 20

func (f fault) write(w io.Writer) {
	if lines := f.evidence; len(lines) > 0 {
		for _, line := range lines[max(0, len(lines)-maxEvidence):] {
			fmt.Fprintln(w, "  | "+clean(line))
		}
	}
	fmt.Fprintln(w, "sluice: "+clean(f.sentence))
	if f.hint != "" {
		fmt.Fprintln(w, "  hint: "+clean(f.hint))
	}
}

// clean keeps text that came from elsewhere from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r >= ' ' && r < 0x7f || r >= 0xa0 && !unicode.Is(unicode.Bidi_Control, r) {
			return r
		}
		return ' '
	}, strings.TrimRight(s, "\r\n"))
}
