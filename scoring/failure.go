package scoring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-ml/sluice"
)

// MaxTermination bounds the cause in a termination file, in bytes.
const MaxTermination = 4096

// cause says why a worker ended. It is pure.
func (e ending) cause(s Settings) *sluice.Cause {
	switch {
	case e.failed != nil:
		return e.failed
	case e.err != nil && notStartable(e.err):
		return &sluice.Cause{Code: sluice.CausePythonMissing,
			Message: fmt.Sprintf("the Python interpreter %s cannot be started: %v", s.Python, e.err),
			Hint:    "set --python or AZUREML_INFERENCE_PYTHON_PATH"}
	case errors.As(e.err, new(breach)):
		return &sluice.Cause{Code: sluice.CauseInternal, File: scriptName(s), Evidence: lastOf(e.tail, 12),
			Message: fmt.Sprintf("the interpreter was stopped %s, as what it says cannot be understood: %v", e.during(), e.err),
			Hint:    "file descriptors 3 to 5 are Sluice's: nothing in the script may write to them"}
	case e.late:
		return late(nil, e.stack, s)
	case e.signal != 0:
		return ofModel(e.crash(s), s)
	case e.err != nil:
		return &sluice.Cause{Code: sluice.CauseInternal, Message: e.err.Error(), Evidence: lastOf(e.tail, 12)}
	}
	return ofModel(e.exit(s), s)
}

// breach is an error of what a worker sent, for which it was killed.
type breach struct{ error }

func (b breach) Unwrap() error { return b.error }

// exit is for an interpreter that was ended with an exit code. Where is known
// when it was os._exit, which says so before it ends; C code does not.
func (e ending) exit(s Settings) *sluice.Cause {
	c := &sluice.Cause{Code: sluice.CauseScriptExited, File: scriptName(s),
		Message:  fmt.Sprintf("the script ended the interpreter with exit code %d %s", e.code, e.during()),
		Hint:     "raise an exception instead of ending the process",
		Evidence: lastOf(e.tail, 12)}
	said, ok := after(e.faults, headExit+strconv.Itoa(e.code)+"\n")
	if !ok {
		return c
	}
	stack := stackIn(said)
	placed(c, stack, s)
	c.Evidence = append(lastOf(e.tail, 6), "Stack "+headCalls)
	c.Evidence = append(c.Evidence, shownLines(stack, s, 12)...)
	return c
}

// placed puts the innermost line of the user's own code into a cause.
func placed(c *sluice.Cause, stack []stackFrame, s Settings) {
	if at, ok := userCall(stack, s); ok {
		c.File, c.Line = at.file, at.line
	}
}

func (e ending) during() string {
	switch e.phase {
	case PhaseReady:
		return "while it was serving"
	case PhaseInit:
		return "while init() ran"
	case PhaseImport:
		return "while the script was imported"
	}
	return "while it started"
}

// crash is for an interpreter that a signal ended.
func (e ending) crash(s Settings) *sluice.Cause {
	name := signalName(e.signal)
	c := &sluice.Cause{Code: sluice.CauseCrashed, File: scriptName(s), Evidence: lastOf(e.tail, 12),
		Message: fmt.Sprintf("the interpreter was ended by %s %s", name, e.during())}
	if name == "SIGKILL" && e.memory.kills > 0 {
		c.Code = sluice.CauseOutOfMemory
		c.Message = fmt.Sprintf("memory ran out %s%s, and the kernel ended the interpreter", e.during(), e.memory.use())
		c.Hint = "choose an instance_type with more memory, or load less of it at once"
		return c
	}
	if name == "SIGKILL" {
		c.Hint = "nothing in Python sends this signal: most often memory ran out; use an instance type with more"
		return c
	}
	said, ok := after(e.faults, headCrash)
	if !ok {
		c.Hint = "the signal came from outside of Python; `sluice online-deployment get-logs` shows what was written before"
		return c
	}
	stack := stackIn(said)
	placed(c, stack, s)
	head, _, _ := strings.Cut(said, "\n")
	c.Evidence = append(lastOf(e.tail, 6), head, "Current thread "+headCalls)
	c.Evidence = append(c.Evidence, shownLines(stack, s, 12)...)
	c.Hint = "native code called from this line failed; another version of the library it belongs to may not"
	return c
}

// withMemory adds to a cause of Python's own, which knows nothing of control
// groups, what memory there was.
func withMemory(c *sluice.Cause, s Settings) *sluice.Cause {
	if c.Code != sluice.CauseOutOfMemory {
		return c
	}
	if use := readMemory(s.MemoryGroup); use.limit > 0 {
		with := *c
		with.Message += use.use()
		return &with
	}
	return c
}

func scriptName(s Settings) string {
	if s.MLflow {
		return "MLmodel"
	}
	if s.EntryScript == "" {
		return "main.py"
	}
	path := s.EntryScript
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.AppRoot, path)
	}
	return shownPath(path, s)
}

func notStartable(err error) bool {
	var e *exec.Error
	return errors.As(err, &e) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

func lastOf(lines []string, n int) []string { return slices.Clone(lines[max(0, len(lines)-n):]) }

// writeTermination leaves the cause where the engine looks for it. The script
// may have put something else there: a pipe that nobody reads would keep us
// forever, so the file is made anew.
func writeTermination(path string, cause *sluice.Cause) error {
	text, err := encodeTermination(cause)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("writing termination file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing termination file: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing termination file: %w", err)
	}
	return nil
}

// encodeTermination gives the cause in at most MaxTermination bytes: evidence
// goes first, oldest first, then the ends of what is long.
func encodeTermination(cause *sluice.Cause) ([]byte, error) {
	c := *cause
	for {
		text, err := plainJSON(&c)
		if err != nil {
			return nil, fmt.Errorf("encoding cause: %w", err)
		}
		if len(text) <= MaxTermination {
			return text, nil
		}
		switch {
		case len(c.Evidence) > 0:
			c.Evidence = c.Evidence[1:]
		case len(c.Hint) > 200:
			c.Hint = c.Hint[:200]
		case len(c.Message) > 40:
			c.Message = strings.ToValidUTF8(c.Message[:len(c.Message)*3/4], "") + "…"
		default:
			c.File, c.Hint, c.Instance = "", "", ""
			c.Code = c.Code[:min(len(c.Code), 40)]
		}
	}
}

// plainJSON encodes without the escapes that are for web pages.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
