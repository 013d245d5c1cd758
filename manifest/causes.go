package manifest

import (
	"fmt"
	"strings"

	"github.com/sluice-ml/sluice"
)

// maxCauses is how many faults of one file are told at once.
const maxCauses = 10

// Causes is everything that is wrong with one manifest, at most 10 in the
// order of the file. Read functions return it (or a single [sluice.Cause], or
// a [sluice.Error] for what is not the manifest's fault) as their error.
// errors.As finds a [sluice.Error] in it, whose code is [sluice.CodeNotBuilt]
// when nothing but that is wrong, else [sluice.CodeInvalid].
type Causes []*sluice.Cause

// Error gives one line per cause.
func (cs Causes) Error() string {
	lines := make([]string, len(cs))
	for i, c := range cs {
		lines[i] = c.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the causes one by one.
func (cs Causes) Unwrap() []error {
	out := make([]error, len(cs))
	for i, c := range cs {
		out[i] = c
	}
	return out
}

// As makes the causes readable as one [sluice.Error].
func (cs Causes) As(target any) bool {
	e, ok := target.(**sluice.Error)
	if !ok || len(cs) == 0 {
		return false
	}
	code := sluice.CodeNotBuilt
	for _, c := range cs {
		if c.Code != sluice.CauseNotBuilt {
			code = sluice.CodeInvalid
		}
	}
	*e = &sluice.Error{Code: code, Message: cs.Error(), Hint: cs[0].Hint, Cause: cs[0]}
	return true
}

// Warning is something that was accepted and has no effect yet.
type Warning struct {
	Property string // its path in the manifest
	Message  string // one sentence
	File     string // "" when a flag set it
	Line     int
}

// String is for a person: where, then the sentence.
func (w Warning) String() string {
	c := sluice.Cause{Message: w.Message, File: w.File, Line: w.Line}
	return c.Error()
}

// cause makes a cause at a place; a flag is named in the sentence.
func (at place) cause(code sluice.CauseCode, hint, format string, args ...any) *sluice.Cause {
	c := &sluice.Cause{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint,
		File: at.file, Line: at.line, Column: at.col}
	if at.flag != "" {
		c.Message = at.flag + ": " + c.Message
	}
	clean := c.Clean() // names in it are a stranger's, and end up on a terminal
	return &clean
}

// shorten bounds what a message repeats of a stranger's text.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func quoteShort(s string) string { return fmt.Sprintf("%q", shorten(s)) }

// didYouMean words a hint from the nearest of the candidates, "" without one.
func didYouMean(word string, candidates []string) string {
	near := sluice.Nearest(word, candidates, 2)
	if len(near) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(near, " or ") + "?"
}

// syntaxHint says what was expected, by the parser's message and the line.
func syntaxHint(message, line string) string {
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(message, part) {
				return true
			}
		}
		return false
	}
	switch {
	case strings.Contains(line, "\t") || has("tab ", "TAB"):
		return "indent with spaces: YAML does not allow tabs"
	case has("sequence end token", "',' or ']'", "corresponding to ']'"):
		return "every [ needs a ], with commas between the items"
	case has("'}'", "flow map"):
		return "every { needs a }, with commas between the properties"
	case has("reserved character", "escape character"):
		return "put the value into single quotes"
	case has("end character of", "quote"):
		return "close the quotes"
	case has("mapping value is not allowed", "map key-value is pre-defined"):
		return "a value that contains ': ' needs quotes, and a nested property a line of its own, indented further"
	case has("key"):
		return "write key: value, with a space after the colon and the keys of one mapping in one column"
	case has("sequence", "multi-line"):
		return "indent the items or lines further than the key they belong to"
	}
	return "expected key: value, one per line, the properties of one object in one column"
}
