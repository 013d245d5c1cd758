package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

func (s *server) getWorkspace(w http.ResponseWriter, r *request) error {
	name := r.scope.Workspace
	ws, err := get[*sluice.Workspace](r.Context(), s, sluice.Key{Workspace: name, Kind: sluice.KindWorkspace, Name: name})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, arm.WorkspaceFrom(r.scope, ws))
}

func (s *server) listWorkspaces(w http.ResponseWriter, r *request) error {
	scope := r.scope
	if scope.ResourceGroup == "" {
		scope.ResourceGroup = arm.DefaultResourceGroup
	}
	list, err := page(s, r, sluice.Query{Kind: sluice.KindWorkspace},
		func(*sluice.Workspace) bool { return true },
		func(ws *sluice.Workspace) (arm.Workspace, error) {
			scope.Workspace = ws.Name
			return arm.WorkspaceFrom(scope, ws), nil
		})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, list)
}

// getProvider says that the provider is registered, which is all that clients
// want to know.
func (s *server) getProvider(w http.ResponseWriter, r *request) error {
	name := r.vars["provider"]
	if strings.EqualFold(name, arm.Provider) {
		name = arm.Provider
	}
	return answer(w, http.StatusOK, map[string]any{
		"id":                "/subscriptions/" + r.scope.Subscription + "/providers/" + name,
		"namespace":         name,
		"registrationState": "Registered", "registrationPolicy": "RegistrationRequired", "resourceTypes": []any{},
	})
}

func (s *server) listProviderOperations(w http.ResponseWriter, _ *request) error {
	value := []any{}
	for _, of := range []string{"workspaces", "workspaces/onlineEndpoints", "workspaces/onlineEndpoints/deployments",
		"workspaces/models/versions", "workspaces/codes/versions", "workspaces/environments/versions"} {
		for _, verb := range []string{"read", "write", "delete"} {
			if of == "workspaces" && verb != "read" {
				continue
			}
			value = append(value, map[string]any{"name": arm.Provider + "/" + of + "/" + verb, "isDataAction": false,
				"display": map[string]string{"provider": "Sluice", "resource": of, "operation": verb, "description": verb + " " + of}})
		}
	}
	return answer(w, http.StatusOK, map[string]any{"value": value})
}

// listVMSizes lists the instance types, as what clients know as sizes.
func (s *server) listVMSizes(w http.ResponseWriter, _ *request) error {
	value := []any{}
	for _, t := range s.InstanceTypes {
		value = append(value, map[string]any{"name": t.Name, "family": "", "vCPUs": t.CPU, "gpus": t.GPU,
			"memoryGB": t.Memory, "lowPriorityCapable": false, "premiumIO": false, "supportedComputeTypes": []string{}})
	}
	return answer(w, http.StatusOK, map[string]any{"value": value})
}

func (s *server) healthz(w http.ResponseWriter, _ *request) error {
	return answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *server) readyz(w http.ResponseWriter, r *request) error {
	if err := s.Ready(r.Context()); err != nil {
		s.Logger.Warn("not ready", "error", err.Error())
		w.Header().Set("Retry-After", "1")
		return answer(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready"})
	}
	return answer(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (s *server) getStatus(w http.ResponseWriter, r *request) error {
	return answer(w, http.StatusOK, s.Status(r.Context()))
}

// event is one line of history on the wire.
type event struct {
	Change     int64                `json:"change"`
	At         time.Time            `json:"at"`
	Verb       string               `json:"verb"`
	Generation int64                `json:"generation"`
	Actor      sluice.Actor         `json:"actor"`
	Diff       []sluice.FieldChange `json:"diff"`
}

// maxHistory is how many events are given at most, the newest.
const maxHistory = 500

func (s *server) endpointHistory(w http.ResponseWriter, r *request) error {
	return s.history(w, r, sluice.EndpointKey(r.scope.Workspace, r.vars["endpoint"]))
}

func (s *server) deploymentHistory(w http.ResponseWriter, r *request) error {
	return s.history(w, r, sluice.DeploymentKey(r.scope.Workspace, r.vars["endpoint"], r.vars["deployment"]))
}

// history outlives what it tells about.
func (s *server) history(w http.ResponseWriter, r *request, key sluice.Key) error {
	events, err := s.Store.History(r.Context(), key, maxHistory)
	if err != nil {
		return err
	}
	out := arm.List[event]{Value: []event{}}
	for _, e := range events {
		line := event{Change: e.Change, At: e.At.UTC(), Verb: e.Verb, Generation: e.Generation, Actor: e.Actor, Diff: e.Diff}
		if line.Diff == nil {
			line.Diff = []sluice.FieldChange{}
		}
		out.Value = append(out.Value, line)
	}
	return answer(w, http.StatusOK, out)
}
