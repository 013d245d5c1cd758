// Package engine is the contract between Sluice and what runs its workloads:
// processes on this machine, Docker containers, Kubernetes pods.
//
// An engine keeps N copies of an immutable template alive and tells the truth
// about them. Rolling out is not its business: the caller runs one workload
// per revision and moves replicas between them. An engine has never heard of
// endpoints.
//
// Every engine passes the suite in package enginetest. All methods may be
// called from any number of goroutines.
package engine

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that callers tell apart.
var (
	// ErrChanged says that a workload of this ID exists with another template.
	ErrChanged = errors.New("workload exists with another template")
	// ErrStale says that a caller with a newer epoch has been seen.
	ErrStale = errors.New("a newer caller has taken over")
	// ErrPortShared says that copies would listen on one port of one machine.
	ErrPortShared = errors.New("its copies would share one port of this machine")
	// ErrNotFound says that there is no such instance.
	ErrNotFound = errors.New("no such instance")
	// ErrPosition says that a text is no position in a log.
	ErrPosition = errors.New("no position in a log")
)

// Engine keeps workloads alive.
type Engine interface {
	// Ensure makes the number of live copies of w equal to replicas, and
	// returns when that is accepted, not when it is so. It is idempotent by
	// w.ID; the same ID with another template is ErrChanged; an epoch older
	// than the newest seen by this engine is ErrStale. With RestartAlways
	// crashed copies are replaced with back-off without being asked again;
	// with RestartNever a copy runs once and stays listed with its exit. Of
	// too many copies those are ended first that do not run yet, then those that
	// the engine knows not to be ready, then the youngest.
	Ensure(ctx context.Context, epoch int64, w Workload, replicas int) error

	// Remove ends all copies: drain, polite signal, grace, force, children
	// included. It returns when accepted and is idempotent; removing what is
	// not there succeeds.
	Remove(ctx context.Context, epoch int64, id string) error

	// Instances is the truth, complete even right after this process was
	// restarted. Ended instances stay listed for an hour, but of those that
	// followed each other in one place only the newest 30.
	Instances(ctx context.Context, sel Selector) ([]Instance, error)

	// Logs opens the output of an instance. It still answers for a while
	// after the instance has ended. Unknown instances are ErrNotFound, and a
	// From that no log gave is ErrPosition.
	Logs(ctx context.Context, instance string, opts LogOptions) (Log, error)

	// Describe says what this engine can host.
	Describe(ctx context.Context) (Description, error)
}

// Notifier is an optional ability: the engine says when to list again.
type Notifier interface {
	// Notify returns a channel that receives after something may have
	// changed. It has one slot: a slow reader misses nothing but repeats.
	Notify() <-chan struct{}
}

// Workload is N copies of one template.
type Workload struct {
	ID     string `json:"id"` // revision + hash of the template
	Tenant string `json:"tenant"`
	// Owner is whose copies these are: workloads of one owner, one after
	// another, may be given the same users. "" is an owner too.
	Owner    string            `json:"owner,omitempty"`
	Labels   map[string]string `json:"labels"`
	Template Template          `json:"template"`
}

// Restart says what happens when a copy ends.
type Restart string

// The restart policies.
const (
	RestartAlways Restart = "always"
	RestartNever  Restart = "never"
)

// Template is what each copy is started from. It is immutable.
//
// In Command, Env values and Files paths the engine replaces "${instance}"
// with the instance's ID, "${root}" with the directory below which Files are
// placed, and "${run}" with a private writable directory of the instance, each
// as the instance sees it. The address is as the caller sees it.
//
// An engine that confines its instances listens at a unix:// address itself and
// hands the socket over as systemd does (descriptor 3, LISTEN_FDS, LISTEN_PID).
type Template struct {
	EnvDir  string            `json:"envDir,omitempty"` // a Python environment on this machine
	Image   string            `json:"image,omitempty"`  // or an OCI image
	Command []string          `json:"command"`
	Env     map[string]string `json:"env,omitempty"`
	Files   []File            `json:"files,omitempty"`
	Dir     string            `json:"dir,omitempty"` // working directory
	// Address is how a copy is reached once it runs, e.g. "unix://${run}/http.sock".
	Address string `json:"address,omitempty"`
	// Port is a TCP port on which the command listens by itself, whichever copy
	// it is; 0 for none. Address then leads to it. Each copy has a network of its
	// own, so that they do not meet; an engine that can give none refuses more
	// than one replica with ErrPortShared.
	Port       int           `json:"port,omitempty"`
	Probes     Probes        `json:"probes"`
	Resources  Resources     `json:"resources"`
	Restart    Restart       `json:"restart"`
	DrainDelay time.Duration `json:"drainDelay"` // between showing as draining and the polite signal
	Grace      time.Duration `json:"grace"`      // between the polite signal and force
}

// File is a tree of the artifact store that is present, verified and
// read-only at Path before the command runs.
type File struct {
	Digest string `json:"digest"`
	Path   string `json:"path"` // below "${root}"
}

// Probes are asked of Address, by the caller or by the engine.
type Probes struct {
	Live  Probe `json:"live"`
	Ready Probe `json:"ready"`
}

// Probe is one question. The zero Path means none.
type Probe struct {
	Path             string        `json:"path,omitempty"`
	InitialDelay     time.Duration `json:"initialDelay,omitempty"` // before failures count
	Period           time.Duration `json:"period,omitempty"`
	Timeout          time.Duration `json:"timeout,omitempty"`
	SuccessThreshold int           `json:"successThreshold,omitempty"`
	FailureThreshold int           `json:"failureThreshold,omitempty"`
}

// Resources bound one copy. Zero means unbounded.
type Resources struct {
	CPU    float64 `json:"cpu,omitempty"`    // cores
	Memory int64   `json:"memory,omitempty"` // bytes
	GPU    int     `json:"gpu,omitempty"`
}

// Phase is where an instance is in its life.
//
//	pending → starting → running → draining → succeeded | failed
//
// Any phase may go straight to failed. Addresses appear at starting.
type Phase string

// The phases.
const (
	Pending   Phase = "pending"
	Starting  Phase = "starting"
	Running   Phase = "running"
	Draining  Phase = "draining"
	Succeeded Phase = "succeeded"
	Failed    Phase = "failed"
)

// Ended reports whether the instance will do nothing more.
func (p Phase) Ended() bool { return p == Succeeded || p == Failed }

// Instance is one copy, as it is now.
type Instance struct {
	ID       string            `json:"id"`
	Workload string            `json:"workload"`
	Labels   map[string]string `json:"labels"`
	Phase    Phase             `json:"phase"`
	Address  string            `json:"address,omitempty"`
	Node     string            `json:"node,omitempty"`
	PID      int               `json:"pid,omitempty"` // of the command, where there is one
	Created  time.Time         `json:"created"`
	Started  time.Time         `json:"started,omitzero"`
	Ended    time.Time         `json:"ended,omitzero"`
	Exit     *Exit             `json:"exit,omitempty"`
	Reason   Reason            `json:"reason,omitempty"`
	Message  string            `json:"message,omitempty"` // one sentence about Reason
	// Asked says that it ends, or has ended, because the caller wanted fewer
	// copies or none: its end tells nothing about the workload.
	Asked bool `json:"asked,omitempty"`
}

// Exit is how the command ended.
type Exit struct {
	Code   int    `json:"code"`
	Signal string `json:"signal,omitempty"` // e.g. "SIGSEGV"
	OOM    bool   `json:"oom,omitempty"`    // for want of memory
	Limit  int64  `json:"limit,omitempty"`  // bytes of memory it could have; 0 where not known
	Peak   int64  `json:"peak,omitempty"`   // bytes it had at most; 0 where not known
	// Message is what the workload left in its termination file (the path in
	// SLUICE_TERMINATION_FILE), at most MaxExitMessage bytes.
	Message string `json:"message,omitempty"`
}

// MaxExitMessage bounds Exit.Message, in bytes.
const MaxExitMessage = 4096

// Service is what is known of how an instance serves, by whoever asks it. The
// zero value is: nothing is known.
type Service struct {
	Unready bool // it was asked, and does not serve now
	Served  bool // it has served
}

// Reason is why an instance is pending, starting again or failed.
type Reason string

// The reasons: a closed set.
const (
	NoCapacity   Reason = "NoCapacity"
	ImagePull    Reason = "ImagePull"
	FilesMissing Reason = "FilesMissing"
	OOM          Reason = "OOM"
	Exited       Reason = "Exit"
	ProbeFailed  Reason = "Probe"
	Evicted      Reason = "Evicted"
	DiskFull     Reason = "DiskFull" // where the copy was to run
)

// Selector picks instances; every field that is set must match.
type Selector struct {
	ID       string
	Workload string
	Labels   map[string]string
}

// Matches reports whether the instance is selected.
func (s Selector) Matches(i Instance) bool {
	if s.ID != "" && s.ID != i.ID || s.Workload != "" && s.Workload != i.Workload {
		return false
	}
	for k, v := range s.Labels {
		if i.Labels[k] != v {
			return false
		}
	}
	return true
}

// LogOptions say which part of an instance's output is wanted.
type LogOptions struct {
	Tail   int    // last lines; 0 for everything that is kept
	From   string // instead of Tail: go on at this position of the same log
	Follow bool   // until the instance has ended or the context is done
}

// Log is the output of an instance while it is read, by one goroutine.
type Log interface {
	io.ReadCloser
	// Position names the place so many bytes before the next one that Read
	// will give, for LogOptions.From. At most as many as the last Read gave may
	// be gone back. It holds no space, no @ and nothing secret.
	Position(back int) string
	// Lost reports whether output that lay between two reads, or behind From,
	// is not kept any more. It says so once.
	Lost() bool
}

// Description is what an engine can host.
type Description struct {
	Name      string // "process", "docker", "kubernetes"
	CPU       float64
	Memory    int64 // bytes
	GPUs      int
	Images    bool   // whether Template.Image is supported
	Isolation string // one sentence a user can judge by
	// Weaker says what could be better about it on this machine, a sentence each.
	Weaker []string
}
