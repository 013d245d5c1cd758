package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// Status codes, as numbers so that no stage needs an HTTP library.
const (
	statusOK               = 200
	statusBadRequest       = 400
	statusUnauthorized     = 401
	statusNotFound         = 404
	statusTimeout          = 408
	statusTooLarge         = 413
	statusFailedDependency = 424
	statusTooMany          = 429
	statusClientGone       = 499 // in the log only: nobody is left to read it
	statusInternal         = 500
	statusUnavailable      = 503
)

// refusal is an answer of our own: why a request got none from a model.
type refusal struct {
	status  int
	code    string // for programs
	message string // one sentence for people
	reason  string // the short word in ms-azureml-model-error-reason, and in the log
	hint    string // what to type or to change
}

// body is the refusal as JSON.
func (r *refusal) body() []byte {
	var wire struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	wire.Error.Code, wire.Error.Message = r.code, r.message
	text, err := json.Marshal(wire)
	if err != nil {
		return []byte(`{"error":{"code":"InternalServerError"}}`) // strings always marshal
	}
	return append(text, '\n')
}

// command spells a command of ours about an endpoint.
func command(verb string, r *sluice.Routes, flags string) string {
	s := "sluice " + verb + " " + flags
	if !strings.EqualFold(r.Workspace, sluice.DefaultWorkspace) {
		s += " -w " + r.Workspace
	}
	return s
}

func refuseCredential(r *sluice.Routes, what string) *refusal {
	how := command("online-endpoint get-credentials", r, "-n "+r.Endpoint)
	return &refusal{status: statusUnauthorized, code: "Unauthorized", reason: "credential", hint: how,
		message: fmt.Sprintf("%s: endpoint %s expects the header Authorization: Bearer KEY, with one of the keys that this prints: %s", what, r.Endpoint, how)}
}

func refusePath() *refusal {
	return &refusal{status: statusBadRequest, code: "BadRequest", reason: "path",
		message: "the path has a segment \".\" or \"..\" in it, which is not passed on"}
}

func refuseRepeated(field string) *refusal {
	return &refusal{status: statusBadRequest, code: "BadRequest", reason: "header",
		message: "the request has more than one header " + strings.ToLower(field)}
}

func refuseUnknown() *refusal {
	return &refusal{status: statusNotFound, code: "NotFound", reason: "unknown_endpoint",
		message: "there is no endpoint at this address", hint: "sluice online-endpoint list"}
}

func refuseTraffic(r *sluice.Routes) *refusal {
	how := command("online-endpoint update", r, "-n "+r.Endpoint+" --traffic \"NAME=100\"")
	return &refusal{status: statusNotFound, code: "NotFound", reason: "no_traffic", hint: how,
		message: fmt.Sprintf("no deployment of endpoint %s gets traffic: name one in the header azureml-model-deployment, or give one traffic: %s", r.Endpoint, how)}
}

func refuseDeployment(r *sluice.Routes) *refusal {
	how := command("online-deployment list", r, "-e "+r.Endpoint)
	return &refusal{status: statusNotFound, code: "NotFound", reason: "unknown_deployment", hint: how,
		message: fmt.Sprintf("endpoint %s has no deployment of the name in the header azureml-model-deployment: see %s", r.Endpoint, how)}
}

func refuseLarge(max int64) *refusal {
	return &refusal{status: statusTooLarge, code: "PayloadTooLarge", reason: "body_too_large",
		message: fmt.Sprintf("the request's body is longer than the limit of %d bytes", max),
		hint:    "raise gateway.max_body in sluice.yml"}
}

func refuseBusy(r *sluice.Routes, t *target) *refusal {
	return &refusal{status: statusTooMany, code: "TooManyRequests", reason: "busy",
		message: fmt.Sprintf("deployment %s has %d requests in it, its limit: 2 × max_concurrent_requests_per_instance (%d) × instance_count (%d)",
			t.Name, t.limit, t.slots, t.count),
		hint: command("online-deployment update", r, "-e "+r.Endpoint+" -n "+t.Name+
			" --set instance_count=N or request_settings.max_concurrent_requests_per_instance=N")}
}

func refuseLate(r *sluice.Routes, t *target, where string) *refusal {
	return &refusal{status: statusTimeout, code: "RequestTimeout", reason: "timeout",
		message: fmt.Sprintf("upstream request timeout: %s within request_timeout_ms (%d) of deployment %s", where, t.Timeout/time.Millisecond, t.Name),
		hint:    command("online-deployment update", r, "-e "+r.Endpoint+" -n "+t.Name+" --set request_settings.request_timeout_ms=N")}
}

func logsHint(r *sluice.Routes, deployment string) string {
	return command("online-deployment get-logs", r, "-e "+r.Endpoint+" -n "+deployment)
}

func refuseUnready(r *sluice.Routes, t *target) *refusal {
	why := t.Note
	if why == "" {
		why = fmt.Sprintf("deployment %s has no ready instance", t.Name)
	}
	hint := logsHint(r, t.Name)
	return &refusal{status: statusFailedDependency, code: "DeploymentNotReady", reason: "no_ready_instance", hint: hint,
		message: why + "; see " + hint}
}

func refuseLost(r *sluice.Routes, t *target, instance string) *refusal {
	hint := logsHint(r, t.Name)
	return &refusal{status: statusFailedDependency, code: "InstanceLost", reason: "instance_lost", hint: hint,
		message: fmt.Sprintf("instance %s of deployment %s ended the connection before it answered; see %s", instance, t.Name, hint)}
}

func refuseUnstarted(r *sluice.Routes, t *target) *refusal {
	hint := logsHint(r, t.Name)
	return &refusal{status: statusFailedDependency, code: "InstanceBusy", reason: "not_started", hint: hint,
		message: fmt.Sprintf("the instance of deployment %s could not begin the request, whose body is too long to send again; see %s", t.Name, hint)}
}

func refuseInternal() *refusal {
	return &refusal{status: statusInternal, code: "InternalServerError", reason: "internal",
		message: "the gateway could not handle the request: its log has the reason under this x-request-id"}
}
