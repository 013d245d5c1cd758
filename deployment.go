package sluice

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Deployment is a model with its code, environment and settings, under an
// endpoint. What it should run is Spec; each state Spec has ever had is a
// [Revision]; how many copies is a [Scale].
type Deployment struct {
	Meta
	Endpoint string `json:"endpoint"`
	Spec     Spec   `json:"spec"`
	// Revision is the version of the Revision that holds Spec. It changes
	// exactly when Spec does.
	Revision string `json:"revision"`
	// Serving is the revision that takes traffic now; "" until the first one
	// has become ready. Observed.
	Serving string `json:"serving,omitempty"`

	State State  `json:"state"`
	Cause *Cause `json:"cause,omitempty"` // why State is Failed
	// Trouble is why requests to it fail although an instance serves; nil while
	// they do not. State says nothing of it. Observed.
	Trouble *Cause `json:"trouble,omitempty"`
	// Operation is the name of the operation that runs on it, "" when none
	// does. Whoever starts one sets it in the same change; whoever ends it
	// clears it.
	Operation string `json:"operation,omitempty"`
}

// CheckServes refuses live traffic for a deployment of which nothing has ever
// been ready: every request it got would be lost.
func (d *Deployment) CheckServes() error {
	if d.Serving != "" {
		return nil
	}
	if d.State == StateCreating {
		message := fmt.Sprintf("deployment %s cannot take traffic yet: its state is %s", d.Name, d.State)
		hint := fmt.Sprintf("wait until deployment %s is Succeeded, then try again", d.Name)
		return &Error{Code: CodeBusy, Message: message, Hint: hint, Target: "traffic",
			Cause: &Cause{Code: CauseBusy, Message: message, Hint: hint}}
	}
	message := fmt.Sprintf("deployment %s cannot take traffic: it has never been ready", d.Name)
	if d.Cause != nil {
		message += " (" + d.Cause.Error() + ")"
	}
	return &Error{Code: CodeInvalid, Message: message, Target: "traffic",
		Hint: fmt.Sprintf("mend it with `sluice online-deployment update -e %s -n %s -f FILE`, then give it traffic", d.Endpoint, d.Name)}
}

// Key implements Resource.
func (d *Deployment) Key() Key { return DeploymentKey(d.Workspace, d.Endpoint, d.Name) }

// DeploymentKey gives the key of a deployment.
func DeploymentKey(workspace, endpoint, name string) Key {
	return Key{Workspace: workspace, Kind: KindDeployment, Name: endpoint + "/" + name}
}

// Revision is one immutable state of a deployment. Count, tags and traffic are
// not part of it. Its version is "<deployment uid>-<ordinal>", so that a
// deployment that is deleted and created again never shares one.
type Revision struct {
	Meta            // Name is the deployment's, Version the revision's
	Endpoint string `json:"endpoint"`
	Spec     Spec   `json:"spec"`
	// Lock is the exact environment this revision was first built with.
	// Observed, once.
	Lock string `json:"lock,omitempty"`
}

// Key implements Resource.
func (r *Revision) Key() Key {
	return Key{Workspace: r.Workspace, Kind: KindRevision, Name: r.Endpoint + "/" + r.Name, Version: r.Version}
}

// Scale is how many instances a deployment should have, and who said so.
// Users, schedules and the autoscaler write it, and nothing else.
type Scale struct {
	Meta            // Name is the deployment's
	Endpoint string `json:"endpoint"`
	Want     int    `json:"want"`
	Min      int    `json:"min"`
	Max      int    `json:"max"`
	By       string `json:"by"`
}

// Key implements Resource.
func (s *Scale) Key() Key {
	return Key{Workspace: s.Workspace, Kind: KindScale, Name: s.Endpoint + "/" + s.Name}
}

// Spec is everything about a deployment that makes one revision differ from
// another.
type Spec struct {
	Model                string             `json:"model,omitempty"` // a Ref, as text
	ModelMountPath       string             `json:"modelMountPath,omitempty"`
	Code                 *CodeConfiguration `json:"code,omitempty"`
	Environment          string             `json:"environment,omitempty"` // a Ref, as text
	EnvironmentVariables map[string]string  `json:"environmentVariables,omitempty"`
	InstanceType         string             `json:"instanceType"`
	Request              RequestSettings    `json:"request"`
	Liveness             Probe              `json:"liveness"`
	Readiness            Probe              `json:"readiness"`
	AppInsights          bool               `json:"appInsights,omitempty"`
	DataCollector        *DataCollector     `json:"dataCollector,omitempty"`
	EgressAccess         string             `json:"egressAccess,omitempty"` // "enabled" or "disabled"
}

// CodeConfiguration is the folder with the user's code and the script in it.
type CodeConfiguration struct {
	Code          string `json:"code"`          // a Ref, as text
	ScoringScript string `json:"scoringScript"` // relative to the folder, with forward slashes
}

// RequestSettings bound what one request may take.
type RequestSettings struct {
	Timeout       time.Duration `json:"timeout"`
	MaxConcurrent int           `json:"maxConcurrent"` // per instance
	MaxQueueWait  time.Duration `json:"maxQueueWait"`
}

// Probe says how often an instance is asked and when the answer counts.
type Probe struct {
	InitialDelay     time.Duration `json:"initialDelay"`
	Period           time.Duration `json:"period"`
	Timeout          time.Duration `json:"timeout"`
	SuccessThreshold int           `json:"successThreshold"`
	FailureThreshold int           `json:"failureThreshold"`
}

// DataCollector is what to keep of requests and answers.
type DataCollector struct {
	SamplingRate   float64               `json:"samplingRate"`
	RollingRate    string                `json:"rollingRate"`
	CaptureHeaders []string              `json:"captureHeaders,omitempty"`
	Collections    map[string]Collection `json:"collections,omitempty"`
}

// Collection is one named stream of collected data.
type Collection struct {
	Enabled      bool    `json:"enabled"`
	SamplingRate float64 `json:"samplingRate,omitempty"`
	ClientID     string  `json:"clientId,omitempty"`
	DataName     string  `json:"dataName,omitempty"`
	DataPath     string  `json:"dataPath,omitempty"`
	DataVersion  string  `json:"dataVersion,omitempty"`
}

// DefaultRequestSettings are what a deployment has when it says nothing.
func DefaultRequestSettings() RequestSettings {
	return RequestSettings{Timeout: 5 * time.Second, MaxConcurrent: 1, MaxQueueWait: 500 * time.Millisecond}
}

// DefaultProbe is what a deployment has when it says nothing.
func DefaultProbe() Probe {
	return Probe{InitialDelay: 10 * time.Second, Period: 10 * time.Second, Timeout: 2 * time.Second,
		SuccessThreshold: 1, FailureThreshold: 30}
}

// Limits on deployments.
const (
	MaxRequestTimeout = 180 * time.Second
	MaxInstances      = 50
	MaxDeployments    = 20 // under one endpoint
)

// Check checks what can be judged from the values alone.
func (s *Spec) Check() error {
	if s.InstanceType == "" {
		return &Error{Code: CodeInvalid, Message: "the deployment has no instance_type", Target: "instance_type",
			Hint: "for example instance_type: Standard_DS3_v2"}
	}
	if s.Code != nil {
		if err := CheckScriptPath(s.Code.ScoringScript); err != nil {
			return err
		}
		if s.Environment == "" && s.Model == "" { // an MLflow model says what it needs
			return &Error{Code: CodeInvalid, Message: "the deployment has code_configuration but no environment", Target: "environment"}
		}
	}
	if err := checkVariables(s.EnvironmentVariables); err != nil {
		return err
	}
	if err := s.Request.check(); err != nil {
		return err
	}
	if s.Liveness.SuccessThreshold != 1 {
		return &Error{Code: CodeInvalid, Message: "liveness_probe.success_threshold must be 1", Target: "liveness_probe.success_threshold"}
	}
	if err := s.Liveness.check("liveness_probe"); err != nil {
		return err
	}
	return s.Readiness.check("readiness_probe")
}

// checkVariables refuses what no process can be given.
func checkVariables(vars map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			return &Error{Code: CodeInvalid, Target: "environment_variables",
				Message: fmt.Sprintf("environment_variables: %.80q cannot be the name of a variable: it is empty, or holds = or a zero byte", name)}
		case strings.ContainsRune(vars[name], 0):
			return &Error{Code: CodeInvalid, Target: "environment_variables",
				Message: fmt.Sprintf("environment_variables: the value of %.80q holds a zero byte", name)}
		}
	}
	return nil
}

func (r RequestSettings) check() error {
	switch {
	case r.Timeout < time.Millisecond || r.Timeout > MaxRequestTimeout:
		return &Error{Code: CodeInvalid, Target: "request_settings.request_timeout_ms",
			Message: "request_settings.request_timeout_ms must be 1 to 180000"}
	case r.MaxConcurrent < 1:
		return &Error{Code: CodeInvalid, Target: "request_settings.max_concurrent_requests_per_instance",
			Message: "request_settings.max_concurrent_requests_per_instance must be at least 1"}
	case r.MaxQueueWait < 0:
		return &Error{Code: CodeInvalid, Target: "request_settings.max_queue_wait_ms",
			Message: "request_settings.max_queue_wait_ms must not be negative"}
	}
	return nil
}

// Beyond these no probe makes sense; their product is still a time.
const (
	maxProbeTime  = 24 * time.Hour
	maxProbeCount = 10_000
)

func (p Probe) check(name string) error {
	bad := func(field, want string) error {
		return &Error{Code: CodeInvalid, Target: name + "." + field, Message: name + "." + field + " must be " + want}
	}
	switch {
	case p.InitialDelay < 0:
		return bad("initial_delay", "at least 0 seconds")
	case p.Period < time.Second:
		return bad("period", "at least 1 second")
	case p.Timeout < time.Second:
		return bad("timeout", "at least 1 second")
	case p.SuccessThreshold < 1:
		return bad("success_threshold", "at least 1")
	case p.FailureThreshold < 1:
		return bad("failure_threshold", "at least 1")
	case max(p.InitialDelay, p.Period, p.Timeout) > maxProbeTime:
		return bad("initial_delay, period or timeout", "at most a day")
	case max(p.SuccessThreshold, p.FailureThreshold) > maxProbeCount:
		return bad("success_threshold or failure_threshold", "at most 10000")
	}
	return nil
}

// CheckScriptPath checks that a scoring script's path stays inside its folder.
func CheckScriptPath(path string) error {
	bad := func(why string) error {
		return &Error{Code: CodeInvalid, Target: "code_configuration.scoring_script",
			Message: "code_configuration.scoring_script " + why}
	}
	if path == "" {
		return bad("is missing")
	}
	if strings.ContainsAny(path, "\\\x00") || strings.HasPrefix(path, "/") {
		return bad("must be relative to the code folder, with forward slashes")
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return bad("must not leave the code folder")
		}
	}
	return nil
}

// CheckCount checks an instance count.
func CheckCount(n int) error {
	if n < 1 || n > MaxInstances {
		return &Error{Code: CodeInvalid, Target: "instance_count",
			Message: Errorf(CodeInvalid, "instance_count is %d: it must be 1 to %d", n, MaxInstances).Message}
	}
	return nil
}
