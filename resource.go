package sluice

import (
	"fmt"
	"strings"
	"time"
)

// Kind names a kind of resource.
type Kind string

// The kinds. A container is what all versions of one asset share.
const (
	KindWorkspace            Kind = "workspace"
	KindEndpoint             Kind = "endpoint"
	KindDeployment           Kind = "deployment"
	KindRevision             Kind = "revision"
	KindScale                Kind = "scale"
	KindKeys                 Kind = "keys"
	KindModel                Kind = "model"
	KindModelContainer       Kind = "modelContainer"
	KindEnvironment          Kind = "environment"
	KindEnvironmentContainer Kind = "environmentContainer"
	KindCode                 Kind = "code"
	KindCodeContainer        Kind = "codeContainer"
	KindOperation            Kind = "operation"
	KindDeploymentEvent      Kind = "deploymentEvent"
)

// Key identifies a resource. Name and Version are compared without case, by
// [Key.Fold]. The name of a thing that lives under another carries its parent:
// a deployment is "endpoint/deployment".
type Key struct {
	Workspace string `json:"workspace"`
	Kind      Kind   `json:"kind"`
	Name      string `json:"name"`
	Version   string `json:"version,omitempty"`
}

// Fold gives the form under which equal keys are equal values.
func (k Key) Fold() Key {
	k.Workspace = strings.ToLower(k.Workspace)
	k.Name = strings.ToLower(k.Name)
	k.Version = strings.ToLower(k.Version)
	return k
}

// String is for people and logs.
func (k Key) String() string {
	s := string(k.Kind) + " " + k.Name
	if k.Version != "" {
		s += ":" + k.Version
	}
	if k.Workspace != DefaultWorkspace {
		s += " in workspace " + k.Workspace
	}
	return s
}

// Stamp says who did something, and when.
type Stamp struct {
	At time.Time `json:"at"`
	By string    `json:"by,omitempty"`
}

// Meta is what every resource has.
type Meta struct {
	// UID tells two lives of one name apart: it is new with every creation.
	UID         string            `json:"uid,omitempty"`
	Workspace   string            `json:"workspace"`
	Name        string            `json:"name"`
	Version     string            `json:"version,omitempty"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Properties  map[string]string `json:"properties,omitempty"`

	// The store writes the rest; what a caller puts there is ignored.

	Created  Stamp `json:"-"`
	Modified Stamp `json:"-"` // the last desired change, not the last observation
	// Generation counts desired changes, from 1.
	Generation int64 `json:"-"`
	// Change is the store's change number of the last write. It is what
	// optimistic concurrency compares; 0 means not stored.
	Change int64 `json:"-"`
}

// Header gives access to the resource's Meta.
func (m *Meta) Header() *Meta { return m }

// Resource is anything the store keeps. Resources are values to their readers:
// the store hands out a fresh copy each time.
type Resource interface {
	Key() Key
	Header() *Meta
}

// New gives an empty resource of the kind, nil for an unknown kind.
func New(kind Kind) Resource {
	switch kind {
	case KindWorkspace:
		return &Workspace{}
	case KindEndpoint:
		return &Endpoint{}
	case KindDeployment:
		return &Deployment{}
	case KindRevision:
		return &Revision{}
	case KindScale:
		return &Scale{}
	case KindKeys:
		return &Keys{}
	case KindModel:
		return &Model{}
	case KindEnvironment:
		return &Environment{}
	case KindCode:
		return &CodeVersion{}
	case KindModelContainer, KindEnvironmentContainer, KindCodeContainer:
		return &Container{Of: kind}
	case KindOperation:
		return &Operation{}
	case KindDeploymentEvent:
		return &DeploymentEvent{}
	}
	return nil
}

// Actor is on whose behalf a change is made.
type Actor struct {
	Name   string `json:"name"`             // principal, e.g. "admin"; "sluice" for our own loops
	From   string `json:"from,omitempty"`   // remote address
	Client string `json:"client,omitempty"` // user agent
}

// Change is a set of writes that happen together or not at all.
//
// A put whose resource has Change 0 must not exist yet; any other put, and
// every delete, must still have the change number it was read with. If one of
// them does not, nothing is written and the error's code is [CodeStale] (or
// [CodeExists] for a put of something new).
type Change struct {
	Actor Actor
	// Observed marks what our own loops saw rather than what a user wants: it
	// raises no generation and leaves no history.
	Observed bool
	Put      []Resource
	Delete   []Resource
}

// Query selects resources of one kind.
type Query struct {
	Workspace string // "" for all of them
	Kind      Kind
	Prefix    string // of the name, e.g. "iris/" for the deployments of iris
	Name      string // exact, without case; all versions of an asset
	Limit     int    // 0 for no limit
	After     string // continue after this opaque token, from the page before
	Newest    bool   // newest first by creation; else by name, then creation
}

// Page is one answer to a [Query].
type Page struct {
	Items []Resource
	Next  string // token for [Query.After]; "" when there is no more
}

// Event is one line of history: a desired change, by whom, when, from where.
type Event struct {
	Change     int64
	At         time.Time
	Actor      Actor
	Key        Key
	Verb       string // "create", "update", "delete"
	Generation int64
	// Diff lists what changed, by JSON path; secrets never appear in it.
	Diff []FieldChange
}

// FieldChange is one field's old and new value as JSON; "" for absent.
type FieldChange struct {
	Path string `json:"path"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// DefaultWorkspace is the tenant everything belongs to unless told otherwise.
const DefaultWorkspace = "default"

// Workspace is a tenant. ARM's subscription and resource group are labels on
// the path and are not kept.
type Workspace struct {
	Meta
}

// Key implements Resource.
func (w *Workspace) Key() Key { return Key{Workspace: w.Name, Kind: KindWorkspace, Name: w.Name} }

// State is where the last operation on an endpoint or deployment stands. It
// describes that operation only: after a failed update the former revision may
// well be serving.
//
//	Creating ─┬─► Succeeded ─► Updating | Scaling ─┬─► Succeeded
//	          └─► Failed    ─► Updating            └─► Failed
//	any ─► Deleting ─► gone
type State string

// The states, as ARM spells them.
const (
	StateCreating  State = "Creating"
	StateUpdating  State = "Updating"
	StateScaling   State = "Scaling"
	StateDeleting  State = "Deleting"
	StateSucceeded State = "Succeeded"
	StateFailed    State = "Failed"
	StateCanceled  State = "Canceled"
)

// Transitional reports whether an operation is still running.
func (s State) Transitional() bool {
	switch s {
	case StateCreating, StateUpdating, StateScaling, StateDeleting:
		return true
	}
	return false
}

// CheckIdle gives a CodeBusy error when an operation still runs on the named thing.
func CheckIdle(what, name string, s State) error {
	if !s.Transitional() {
		return nil
	}
	e := Errorf(CodeBusy, "%s %s is busy: its state is %s", what, name, s)
	e.Cause = &Cause{Code: CauseBusy, Message: e.Message,
		Hint: fmt.Sprintf("wait until %s %s is Succeeded or Failed, then try again", what, name)}
	e.Hint = e.Cause.Hint
	return e
}
