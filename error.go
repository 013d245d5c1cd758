package sluice

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an [Error] is. It decides the HTTP status and
// the exit code of the CLI, and is stable across versions.
type Code string

// The codes. An error without one is internal: it is logged in full and shown
// to nobody.
const (
	CodeInternal     Code = "internal"
	CodeInvalid      Code = "invalid"      // the request is wrong and will stay wrong
	CodeNotFound     Code = "not_found"    // there is no such thing
	CodeExists       Code = "exists"       // it is there already, and may not be replaced
	CodeBusy         Code = "busy"         // another operation runs on it; try again later
	CodeStale        Code = "stale"        // somebody else wrote first; read again
	CodeImmutable    Code = "immutable"    // the field may not change after creation
	CodeUnauthorized Code = "unauthorized" // no credential, or not a valid one
	CodeForbidden    Code = "forbidden"    // a valid credential that may not do this
	CodeNotBuilt     Code = "not_built"    // Sluice does not have this yet, by name
	CodeUnavailable  Code = "unavailable"  // it cannot be asked just now
	CodeTooLarge     Code = "too_large"    // over a stated limit
)

// Error is a failure that a person is told about: a code for programs, a
// sentence for people and, where one is known, the next step.
type Error struct {
	Code    Code
	Message string // one sentence, without a full stop
	Hint    string // the next step, as something to type or to change; may be empty
	Target  string // the field or resource at fault; may be empty
	Cause   *Cause // the typed cause, when the failure has one
	Err     error  // what lies underneath, for the log only
}

// Error returns the message alone; the hint is for faces that can show it apart.
func (e *Error) Error() string {
	if e.Message == "" && e.Cause != nil {
		return e.Cause.Message
	}
	return e.Message
}

// Unwrap gives the error underneath.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error] with the code and a formatted message. A %w verb
// makes the wrapped error reachable by errors.Is, as with fmt.Errorf.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint returns e with the next step set.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// ErrorCode gives the code of the first [Error] or [Cause] in err's chain,
// [CodeInternal] when there is none, and "" when err is nil.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	var c *Cause
	if errors.As(err, &c) {
		if c.Code == CauseDiskFailed {
			return CodeUnavailable // and nothing is wrong with what was asked for
		}
		return CodeInvalid
	}
	return CodeInternal
}
