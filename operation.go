package sluice

import (
	"slices"
	"time"
)

// OperationStatus is how far an operation is.
type OperationStatus string

// The statuses, as ARM spells them.
const (
	OperationInProgress OperationStatus = "InProgress"
	OperationSucceeded  OperationStatus = "Succeeded"
	OperationFailed     OperationStatus = "Failed"
	OperationCanceled   OperationStatus = "Canceled"
)

// Verb is what an operation does to its target.
type Verb string

// The verbs.
const (
	VerbCreate Verb = "create"
	VerbUpdate Verb = "update"
	VerbScale  Verb = "scale"
	VerbDelete Verb = "delete"
)

// Operation is a long-running change that a client can poll. It is written in
// the same Change as what it reports on, so neither exists without the other.
type Operation struct {
	Meta                      // Name is the operation's id
	Target    Key             `json:"target"`
	TargetUID string          `json:"targetUid"`
	Verb      Verb            `json:"verb"`
	Status    OperationStatus `json:"status"`
	Started   time.Time       `json:"started"`
	Ended     time.Time       `json:"ended,omitzero"`
	// ScaleFirst says that the count changed together with the rest: what serves
	// is brought to the new count before it is replaced.
	ScaleFirst bool    `json:"scaleFirst,omitempty"`
	Stages     []Stage `json:"stages,omitempty"`
	// Notices are what a user should know although nothing failed: one
	// sentence each.
	Notices []string `json:"notices,omitempty"`
	Cause   *Cause   `json:"cause,omitempty"` // why it failed
}

// Key implements Resource.
func (o *Operation) Key() Key {
	return Key{Workspace: o.Workspace, Kind: KindOperation, Name: o.Name}
}

// Done reports whether the operation has ended, either way.
func (o *Operation) Done() bool { return o.Status != OperationInProgress }

// Stage is one step of an operation as a person follows it.
type Stage struct {
	Name     string    `json:"name"`             // "environment", "instance"
	Step     string    `json:"step,omitempty"`   // "resolving", "downloading", "importing", …
	Detail   string    `json:"detail,omitempty"` // free text, one line
	Instance string    `json:"instance,omitempty"`
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended,omitzero"`
}

// The steps a deployment goes through, in order.
const (
	StageEnvironment = "environment"
	StageInstance    = "instance"

	StepResolving   = "resolving"
	StepDownloading = "downloading"
	StepBuilding    = "building"
	StepStarting    = "starting"
	StepImporting   = "importing"
	StepInit        = "init"
	StepReady       = "ready"
)

// Advance gives the stages with step and detail entered at now: it ends the
// stage that runs for this name and instance when the step is another one,
// and only refreshes the detail when it is the same. Of very many the oldest of
// instances are left out. It alters no element of stages in place.
func Advance(stages []Stage, next Stage, now time.Time) []Stage {
	out := append([]Stage(nil), stages...)
	for i := len(out) - 1; i >= 0; i-- {
		s := &out[i]
		if s.Name != next.Name || s.Instance != next.Instance || !s.Ended.IsZero() {
			continue
		}
		if s.Step == next.Step {
			s.Detail = next.Detail
			return out
		}
		s.Ended = now
	}
	next.Started = now
	if len(out) >= maxStages {
		over := slices.IndexFunc(out, func(s Stage) bool { return s.Name == StageInstance && !s.Ended.IsZero() })
		if over >= 0 {
			out = slices.Delete(out, over, over+1)
		}
	}
	return append(out, next)
}

// maxStages bounds the stages of an operation, those that run aside: instances may
// start again and again, and all of them are written with each change.
const maxStages = 300

// EndStages gives the stages with every running one ended at now.
func EndStages(stages []Stage, now time.Time) []Stage {
	out := append([]Stage(nil), stages...)
	for i := range out {
		if out[i].Ended.IsZero() {
			out[i].Ended = now
		}
	}
	return out
}
