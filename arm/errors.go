package arm

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/sluice-ml/sluice"
)

// ErrorBody is every answer that is not a success.
type ErrorBody struct {
	Error ErrorDetail `json:"error"`
}

// ErrorDetail is an error as ARM spells it. AdditionalInfo carries what only
// Sluice knows: an entry of type [InfoError], and one of type [InfoCause] when
// the failure has a typed cause.
type ErrorDetail struct {
	Code           string           `json:"code"`
	Message        string           `json:"message"`
	Target         string           `json:"target,omitempty"`
	Details        []ErrorDetail    `json:"details,omitempty"`
	AdditionalInfo []AdditionalInfo `json:"additionalInfo,omitempty"`
}

// AdditionalInfo is something more about an error.
type AdditionalInfo struct {
	Type string          `json:"type"`
	Info json.RawMessage `json:"info"`
}

// The types of [AdditionalInfo] that Sluice writes.
const (
	InfoCause = "SluiceCause" // a sluice.Cause
	InfoError = "SluiceError" // code and hint of a sluice.Error
)

type errorInfo struct {
	Code sluice.Code `json:"code"`
	Hint string      `json:"hint,omitempty"`
}

// wireError is how one domain code looks on the wire.
type wireError struct {
	code   sluice.Code
	status int
	name   string
}

// wireErrors is read from the top: the first row that fits wins, so of several
// rows with one status the first is what an unexplained answer means. CodeStale
// is never seen by Azure's clients, which do not retry it; CodeNotBuilt is no
// 501 because nothing about the server is broken.
var wireErrors = []wireError{
	{sluice.CodeInvalid, http.StatusBadRequest, "UserError"},
	{sluice.CodeImmutable, http.StatusBadRequest, "UserError"},
	{sluice.CodeNotBuilt, http.StatusBadRequest, "NotBuilt"},
	{sluice.CodeNotFound, http.StatusNotFound, "ResourceNotFound"},
	{sluice.CodeBusy, http.StatusConflict, "Conflict"},
	{sluice.CodeExists, http.StatusConflict, "AlreadyExists"},
	{sluice.CodeStale, http.StatusConflict, "ConcurrentUpdate"},
	{sluice.CodeUnauthorized, http.StatusUnauthorized, "AuthenticationFailed"},
	{sluice.CodeForbidden, http.StatusForbidden, "AuthorizationFailed"},
	{sluice.CodeTooLarge, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge"},
	{sluice.CodeUnavailable, http.StatusServiceUnavailable, "ServiceUnavailable"},
	{sluice.CodeInternal, http.StatusInternalServerError, "InternalServerError"},
}

// ErrorFrom gives the HTTP status and the wire form of an error that a person
// may see. An error that is neither a *sluice.Error nor a *sluice.Cause is
// internal and says nothing of itself.
func ErrorFrom(err error) (status int, detail ErrorDetail) {
	e, ok := errors.AsType[*sluice.Error](err)
	if !ok {
		if cause, isCause := errors.AsType[*sluice.Cause](err); isCause {
			e = &sluice.Error{Code: sluice.ErrorCode(cause), Message: cause.Error(), Hint: cause.Hint, Cause: cause}
		} else {
			e = &sluice.Error{Code: sluice.CodeInternal, Message: "internal error"}
		}
	}
	row := wireErrors[len(wireErrors)-1]
	for _, r := range wireErrors {
		if r.code == e.Code {
			row = r
			break
		}
	}
	detail = ErrorDetail{Code: row.name, Message: e.Error(), Target: e.Target}
	if e.Hint != "" {
		detail.Details = append(detail.Details, ErrorDetail{Code: "Hint", Message: e.Hint})
	}
	detail.AdditionalInfo = append(detail.AdditionalInfo,
		AdditionalInfo{Type: InfoError, Info: encode(errorInfo{Code: e.Code, Hint: e.Hint})})
	if e.Cause != nil {
		detail.AdditionalInfo = append(detail.AdditionalInfo, AdditionalInfo{Type: InfoCause, Info: encode(e.Cause)})
	}
	return row.status, detail
}

// Domain gives the error that the wire form stands for. Status is the HTTP
// status it came with, 0 when it came inside another document.
func (d *ErrorDetail) Domain(status int) *sluice.Error {
	e := &sluice.Error{Code: sluice.CodeInternal, Message: d.Message, Target: d.Target, Cause: d.cause()}
	for _, row := range wireErrors {
		if row.name == d.Code || d.Code == "" && row.status == status {
			e.Code = row.code
			break
		}
	}
	for _, info := range d.AdditionalInfo {
		var known errorInfo
		if info.Type == InfoError && json.Unmarshal(info.Info, &known) == nil && known.Code != "" {
			e.Code, e.Hint = known.Code, known.Hint
		}
	}
	if e.Cause != nil {
		if e.Hint == "" {
			e.Hint = e.Cause.Hint
		}
		if e.Code == sluice.CodeInternal && status == 0 {
			e.Code = sluice.CodeInvalid
		}
	}
	if e.Message == "" {
		e.Message = "the server said only: " + orElse(d.Code, http.StatusText(status))
	}
	return e
}

// cause gives the typed cause that an error carries, nil for none.
func (d *ErrorDetail) cause() *sluice.Cause {
	if d == nil {
		return nil
	}
	for _, info := range d.AdditionalInfo {
		cause := &sluice.Cause{}
		if info.Type == InfoCause && json.Unmarshal(info.Info, cause) == nil && cause.Code != "" {
			return cause
		}
	}
	return nil
}

// causeDetail gives the error of an operation or resource that failed for this
// cause, nil for none. Its code is the one users of Azure know; the exact one
// stands in the details.
func causeDetail(c *sluice.Cause) *ErrorDetail {
	if c == nil {
		return nil
	}
	d := &ErrorDetail{Code: causeName(c.Code), Message: c.Error(),
		Details:        []ErrorDetail{{Code: string(c.Code), Message: c.Message}},
		AdditionalInfo: []AdditionalInfo{{Type: InfoCause, Info: encode(c)}}}
	if c.Hint != "" {
		d.Details = append(d.Details, ErrorDetail{Code: "Hint", Message: c.Hint})
	}
	return d
}

func causeName(c sluice.CauseCode) string {
	switch c {
	case sluice.CauseUnresolvable, sluice.CauseNoWheel, sluice.CauseIndex, sluice.CausePythonMissing, sluice.CauseBuildFailed:
		return "ImageBuildFailure"
	case sluice.CauseQuota, sluice.CauseDiskFull:
		return "OutOfQuota"
	case sluice.CauseInstanceType, sluice.CauseReference, sluice.CauseBadValue, sluice.CauseNotBuilt:
		return "BadArgument"
	case sluice.CauseOperationCancels:
		return "OperationCanceled"
	case sluice.CauseInternal, sluice.CauseEngine:
		return "InternalServerError"
	}
	return "ResourceNotReady"
}
