package sluice

import (
	"fmt"
	"strings"
	"unicode"
)

// CauseCode names one reason why something a user asked for failed. The
// values are the rows of docs/causes.md and are stable across versions.
type CauseCode string

// The causes that are told apart.
const (
	CauseYAMLSyntax       CauseCode = "YamlSyntax"
	CauseUnknownProperty  CauseCode = "UnknownProperty"
	CauseBadValue         CauseCode = "BadValue"
	CauseFileMissing      CauseCode = "FileMissing"
	CauseReference        CauseCode = "ReferenceNotFound"
	CauseScriptSyntax     CauseCode = "ScriptSyntaxError"
	CauseScriptFunctions  CauseCode = "ScriptFunctionMissing"
	CauseImportMissing    CauseCode = "ModuleNotFound"
	CauseImportFailed     CauseCode = "ImportFailed"
	CauseInitRaised       CauseCode = "InitRaised"
	CauseInitHangs        CauseCode = "InitTimeout"
	CauseModelFile        CauseCode = "ModelFileMissing"
	CauseModelInvalid     CauseCode = "ModelInvalid"
	CauseModelVersion     CauseCode = "ModelVersionMismatch"
	CauseScriptExited     CauseCode = "ScriptExited"
	CauseCrashed          CauseCode = "Crashed"
	CauseOutOfMemory      CauseCode = "OutOfMemory"
	CauseUnresolvable     CauseCode = "PackageUnresolvable"
	CauseNoWheel          CauseCode = "NoWheel"
	CauseIndex            CauseCode = "IndexUnreachable"
	CausePythonMissing    CauseCode = "PythonMissing"
	CauseDiskFull         CauseCode = "DiskFull"
	CauseDiskFailed       CauseCode = "DiskFailed"
	CausePortTaken        CauseCode = "PortTaken"
	CauseNeverListened    CauseCode = "NeverListened"
	CauseProbeFailed      CauseCode = "ProbeFailed"
	CauseInstanceType     CauseCode = "InstanceType"
	CauseQuota            CauseCode = "Quota"
	CauseBusy             CauseCode = "Busy"
	CauseCredential       CauseCode = "Credential"
	CauseServerDown       CauseCode = "ServerUnreachable"
	CauseRunRaises        CauseCode = "RunRaises"
	CauseRunTimeout       CauseCode = "RunTimeout"
	CauseBuildFailed      CauseCode = "EnvironmentBuildFailed"
	CauseEngine           CauseCode = "EngineRefused"
	CauseInstanceExited   CauseCode = "InstanceExited"
	CauseInternal         CauseCode = "Internal"
	CauseOperationCancels CauseCode = "Canceled"
	CauseNotBuilt         CauseCode = "NotBuilt" // a value that Sluice knows and does not serve yet
)

// Cause is why something failed. It is made where the failure happens and
// carried unchanged to every face: the CLI's last line, `show`, the error body
// of the operation, the history. It is a value and is never altered after it
// was made.
type Cause struct {
	Code     CauseCode `json:"code"`
	Message  string    `json:"message"`            // one sentence with the user's own names in it
	File     string    `json:"file,omitempty"`     // as the user knows it
	Line     int       `json:"line,omitempty"`     // from 1; 0 when not known
	Column   int       `json:"column,omitempty"`   // from 1; 0 when not known
	Hint     string    `json:"hint,omitempty"`     // the next step
	Evidence []string  `json:"evidence,omitempty"` // the log lines that show it, oldest first
	Instance string    `json:"instance,omitempty"` // where it happened
	Request  string    `json:"request,omitempty"`  // id of a request that showed it
}

// Error makes a cause usable as an error: where, then the sentence.
func (c *Cause) Error() string {
	if at := c.Where(); at != "" {
		return at + ": " + c.Message
	}
	return c.Message
}

// Where gives file:line:column as far as it is known, "" when it is not.
func (c *Cause) Where() string {
	if c.File == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(c.File)
	if c.Line > 0 {
		fmt.Fprintf(&b, ":%d", c.Line)
		if c.Column > 0 {
			fmt.Fprintf(&b, ":%d", c.Column)
		}
	}
	return b.String()
}

// DiskFull gives the cause of a write that found no room, as an error that still
// tells what lies underneath. The sentence names what was written, where, and
// the room there is.
func DiskFull(sentence string, err error) error { return DiskFullThen(sentence, "", err) }

// DiskFullThen is [DiskFull] with a next step that knows more: what would come
// free, for example.
func DiskFullThen(sentence, next string, err error) error {
	if next == "" {
		next = "`sluice prune` removes what nothing needs; else free space on that disk, or delete endpoints and model versions that are no longer needed"
	}
	return &underlain{&Cause{Code: CauseDiskFull, Message: sentence, Hint: next}, err}
}

// DiskFailed gives the cause of a write that a disk refused for another reason
// than room: it is read-only, or broken.
func DiskFailed(sentence string, err error) error {
	return &underlain{&Cause{Code: CauseDiskFailed, Message: sentence,
		Hint: "the system's log (dmesg) says why; once that disk can be written again, everything goes on by itself"}, err}
}

// underlain is a cause with the error it was made from.
type underlain struct {
	cause *Cause
	err   error
}

func (u *underlain) Error() string   { return u.cause.Error() }
func (u *underlain) Unwrap() []error { return []error{u.cause, u.err} }

// Bounds on a cause that comes from somebody else.
const (
	maxCauseText     = 2000 // bytes of one text
	maxCauseEvidence = 50   // lines
)

// Clean gives the cause with every text bounded and free of control
// characters. What an instance says about itself goes through it: it ends up
// on terminals.
func (c Cause) Clean() Cause {
	c.Code = CauseCode(cleanText(string(c.Code)))
	c.Message, c.Hint = cleanText(c.Message), cleanText(c.Hint)
	c.File, c.Instance, c.Request = cleanText(c.File), cleanText(c.Instance), cleanText(c.Request)
	lines := c.Evidence[:min(len(c.Evidence), maxCauseEvidence)]
	c.Evidence = nil
	for _, line := range lines {
		c.Evidence = append(c.Evidence, cleanText(line))
	}
	return c
}

func cleanText(s string) string {
	if len(s) > maxCauseText {
		s = s[:maxCauseText] + "…"
	}
	return strings.Map(func(r rune) rune {
		// The marks that turn the direction of what follows would show a text that
		// is not the one that is there.
		if unicode.IsControl(r) && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
