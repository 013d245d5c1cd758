package arm

import (
	"time"

	"github.com/sluice-ml/sluice"
)

// Operation is a long-running change as a client polls it.
type Operation struct {
	ID         string              `json:"id,omitempty"`
	Name       string              `json:"name,omitempty"`
	Status     string              `json:"status"`
	StartTime  time.Time           `json:"startTime,omitzero"`
	EndTime    time.Time           `json:"endTime,omitzero"`
	Properties OperationProperties `json:"properties"`
	Error      *ErrorDetail        `json:"error,omitempty"`
}

// OperationProperties are what only Sluice says of an operation.
type OperationProperties struct {
	Verb   string         `json:"verb,omitempty"`   // create, update, scale, delete
	Target string         `json:"target,omitempty"` // full id
	Stages []sluice.Stage `json:"stages,omitempty"` // in the order they were entered
	// Notices are what a user should know although nothing failed.
	Notices []string `json:"notices,omitempty"`
}

// OperationFrom gives the wire form; id is the path under which it is polled.
func OperationFrom(s Scope, o *sluice.Operation, id string) Operation {
	out := Operation{
		ID: id, Name: o.Name, Status: string(o.Status),
		StartTime: o.Started.UTC(), EndTime: o.Ended.UTC(),
		Properties: OperationProperties{Verb: string(o.Verb), Target: s.targetID(o.Target), Stages: o.Stages, Notices: o.Notices},
		Error:      causeDetail(o.Cause),
	}
	if o.Ended.IsZero() {
		out.EndTime = time.Time{}
	}
	if o.Status == sluice.OperationFailed && out.Error == nil {
		out.Error = &ErrorDetail{Code: "InternalServerError", Message: "the operation failed without a stated cause"}
	}
	return out
}

// Done reports whether the operation has ended, either way.
func (o Operation) Done() bool { return o.Status != string(sluice.OperationInProgress) }

// Err gives why the operation did not succeed, nil when it did or still runs.
func (o Operation) Err() error {
	switch sluice.OperationStatus(o.Status) {
	case sluice.OperationSucceeded, sluice.OperationInProgress:
		return nil
	case sluice.OperationCanceled:
		if o.Error == nil {
			return sluice.Errorf(sluice.CodeInvalid, "the operation was canceled")
		}
	}
	if o.Error == nil {
		return sluice.Errorf(sluice.CodeInternal, "the operation ended as %s without a stated cause", o.Status)
	}
	return o.Error.Domain(0)
}

func (s Scope) targetID(k sluice.Key) string {
	switch k.Kind {
	case sluice.KindDeployment:
		endpoint, deployment := SplitName(k.Name)
		return s.DeploymentID(endpoint, deployment)
	case sluice.KindEndpoint:
		return s.EndpointID(k.Name)
	}
	return s.WorkspaceID()
}

// SplitName splits the name in a deployment's key into endpoint and deployment.
func SplitName(name string) (endpoint, deployment string) {
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}
