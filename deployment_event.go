package sluice

import (
	"fmt"
	"time"
)

// DeploymentEvent is one thing that happened to a deployment or to one of its
// instances, as the reconciler observed it. What users asked for is not among
// them: that is in the history. The change that wrote an event is its place
// among both.
type DeploymentEvent struct {
	Meta               // Name is the deployment's, Version says which event
	Endpoint string    `json:"endpoint"`
	Seq      int64     `json:"seq"` // counts the events of one deployment, from 1
	At       time.Time `json:"at"`  // when it happened, or was first seen
	What     Happening `json:"what"`
	Instance string    `json:"instance,omitempty"`
	Revision string    `json:"revision,omitempty"`
	// Operation is the one that ran meanwhile, and Verb what it does.
	Operation string `json:"operation,omitempty"`
	Verb      Verb   `json:"verb,omitempty"`
	Message   string `json:"message,omitempty"` // one sentence for a person
	Cause     *Cause `json:"cause,omitempty"`   // why, when something failed
	// Floor is the newest time of the events that had been forgotten when this
	// one was written: what ended before it is known, although it is not kept.
	Floor time.Time `json:"floor,omitzero"`
}

// Key implements Resource.
func (e *DeploymentEvent) Key() Key {
	return Key{Workspace: e.Workspace, Kind: KindDeploymentEvent, Name: e.Endpoint + "/" + e.Name, Version: e.Version}
}

// EventVersion gives the version of a deployment's event. Two writers who both
// take a number meet in the store, and the later one looks again.
func EventVersion(uid string, seq int64) string { return fmt.Sprintf("%s-%012d", uid, seq) }

// Happening names what happened. The values are stable across versions.
type Happening string

// What happens to deployments and their environments.
const (
	EventCreated           Happening = "Created"
	EventUpdated           Happening = "Updated"
	EventScaled            Happening = "Scaled"
	EventTraffic           Happening = "TrafficChanged"
	EventKeys              Happening = "KeysChanged"
	EventDeleting          Happening = "Deleting"
	EventOperationDone     Happening = "OperationSucceeded"
	EventOperationFailed   Happening = "OperationFailed"
	EventOperationCanceled Happening = "OperationCanceled"
	EventEnvironmentReady  Happening = "EnvironmentReady"
	EventEnvironmentFailed Happening = "EnvironmentFailed"
	EventRequestsFail      Happening = "RequestsFail" // although it is deployed
	EventRequestsSucceed   Happening = "RequestsSucceed"
)

// What happens to an instance, in the order of its life.
//
//	NoPlace → Started → Importing → Initializing → Ready ⇄ NotReady → Draining → Ended → BackingOff
//
// Any of them may be left out: what was not seen did not last.
const (
	EventNoPlace      Happening = "NoPlace" // it waits for room on a machine
	EventStarted      Happening = "Started"
	EventImporting    Happening = "Importing"
	EventInitializing Happening = "Initializing"
	EventReady        Happening = "Ready"
	EventNotReady     Happening = "NotReady"
	EventDraining     Happening = "Draining"
	EventEnded        Happening = "Ended"
	EventBackingOff   Happening = "BackingOff" // its replacement has to wait
)
