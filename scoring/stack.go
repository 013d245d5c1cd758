package scoring

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// The lines with which the parts of a fault channel begin.
const (
	headCrash = "Fatal Python error: "
	headExit  = "Exit with code "
	headCalls = "(most recent call first):"
)

// stackFrame is one call of a Python stack.
type stackFrame struct {
	file     string
	line     int
	function string
}

// String writes it as Python does.
func (f stackFrame) String() string {
	return fmt.Sprintf("File %q, line %d in %s", f.file, f.line, f.function)
}

var stackLine = regexp.MustCompile(`^\s*File "(.+)", line (\d+) in (.*)$`)

// maxFrames bounds what is kept of a stack.
const maxFrames = 100

// stackIn gives the calls in what the fault handler wrote, innermost first:
// those of the thread it marks as the current one, else of the last it names.
func stackIn(text string) []stackFrame {
	lines := strings.Split(text, "\n")
	from := 0
	for i, line := range lines {
		if strings.Contains(line, headCalls) {
			from = i
			if strings.Contains(line, "Current thread") {
				break
			}
		}
	}
	var out []stackFrame
	for i, line := range lines[from:] {
		m := stackLine.FindStringSubmatch(line)
		if m == nil {
			if i == 0 {
				continue
			}
			break
		}
		n, err := strconv.Atoi(m[2])
		if err != nil || len(out) == maxFrames {
			break
		}
		out = append(out, stackFrame{unescape(m[1]), n, unescape(m[3])})
	}
	return out
}

var escaped = regexp.MustCompile(`\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}`)

// unescape gives a name as it is: the fault handler writes nothing but ASCII.
func unescape(name string) string {
	return escaped.ReplaceAllStringFunc(name, func(s string) string {
		n, err := strconv.ParseUint(s[2:], 16, 32)
		if err != nil {
			return s
		}
		return string(rune(n))
	})
}

// userCall finds the innermost call of the user's own code: of a file in its
// folders, else of one that nothing installed.
func userCall(stack []stackFrame, s Settings) (stackFrame, bool) {
	var other *stackFrame
	for _, f := range stack {
		if strings.HasPrefix(f.file, "<") || installed(f.file) {
			continue
		}
		if shown := shownPath(f.file, s); shown != f.file {
			f.file = shown
			return f, true
		}
		if other == nil {
			other = &f
		}
	}
	if other == nil {
		return stackFrame{}, false
	}
	return *other, true
}

// shownLines gives a stack as lines for people, files as their author knows
// them and without our own calls, at most so many.
func shownLines(stack []stackFrame, s Settings, most int) []string {
	for len(stack) > 0 && (ofWorker(stack[len(stack)-1].file) || stack[len(stack)-1].file == "<string>") {
		stack = stack[:len(stack)-1] // how we came to call the script
	}
	var out []string
	for _, f := range stack {
		if ofWorker(f.file) {
			continue
		}
		if len(out) == most {
			return append(out, "...")
		}
		f.file = shownPath(f.file, s)
		line := f.String()
		out = append(out, "  "+line[:min(len(line), 300)])
	}
	return out
}

// ofWorker reports whether a file is one of the worker's own.
func ofWorker(file string) bool { return strings.HasPrefix(file, "<sluice>") }

var standardLibrary = regexp.MustCompile(`/lib(?:64)?/python3\.\d+/`)

func installed(file string) bool {
	return strings.Contains(file, "/site-packages/") || strings.Contains(file, "/dist-packages/") ||
		standardLibrary.MatchString(file)
}

// shownPath gives a file as its author knows it: relative to the code's folder.
func shownPath(file string, s Settings) string {
	roots := []string{s.AppRoot, filepath.Dir(filepath.Join(s.AppRoot, s.EntryScript)), filepath.Dir(s.EntryScript)}
	if s.MLflow {
		roots = append(roots, s.ModelDir)
	}
	if s.SourceDir != "" {
		roots = append([]string{filepath.Join(s.AppRoot, s.SourceDir)}, roots...)
	}
	for _, root := range roots {
		if rel, err := filepath.Rel(root, file); err == nil && root != "/" && root != "." && !strings.HasPrefix(rel, "..") {
			return filepath.ToSlash(rel)
		}
	}
	return file
}

// after gives the part of a text from the last place where the mark stands on.
func after(text, mark string) (string, bool) {
	at := strings.LastIndex(text, mark)
	if at < 0 {
		return "", false
	}
	return text[at:], true
}
