package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// lastOperation is the entry of a resource's properties that holds the name
// of its last operation. Clients see its address instead.
const lastOperation = "sluice.operation"

// maxWait is the longest a poll is held open.
const maxWait = 30 * time.Second

// newOperation makes the operation that a change begins, and notes it in the
// target. With done it has ended already.
func (s *server) newOperation(target sluice.Resource, verb sluice.Verb, done bool) *sluice.Operation {
	m := target.Header()
	now := s.Now().UTC()
	op := &sluice.Operation{
		Meta:   sluice.Meta{UID: newUID(), Workspace: m.Workspace, Name: m.UID + "." + randomHex(6)},
		Target: target.Key(), TargetUID: m.UID, Verb: verb,
		Status: sluice.OperationInProgress, Started: now,
	}
	if done {
		op.Status, op.Ended = sluice.OperationSucceeded, now
	}
	if m.Properties == nil {
		m.Properties = map[string]string{}
	}
	m.Properties[lastOperation] = op.Name
	setRunning(target, op)
	return op
}

// setRunning notes in the target which operation runs on it, for whoever ends
// it.
func setRunning(target sluice.Resource, op *sluice.Operation) {
	name := op.Name
	if op.Done() {
		name = ""
	}
	switch t := target.(type) {
	case *sluice.Endpoint:
		t.Operation = name
	case *sluice.Deployment:
		t.Operation = name
	}
}

// runningOperation gives the operation that a resource is in the midst of, nil
// when it is in none.
func (s *server) runningOperation(ctx context.Context, m *sluice.Meta) (*sluice.Operation, error) {
	name := m.Properties[lastOperation]
	if name == "" {
		return nil, nil
	}
	op, ok, err := find[*sluice.Operation](ctx, s, sluice.Key{Workspace: m.Workspace, Kind: sluice.KindOperation, Name: name})
	if err != nil || !ok || op.Done() {
		return nil, err
	}
	return op, nil
}

// checkIdle gives a CodeBusy error that names the operation that runs, and the
// command that shows how far it is.
func (s *server) checkIdle(ctx context.Context, what string, m *sluice.Meta, state sluice.State, progress string) error {
	if sluice.CheckIdle(what, m.Name, state) == nil {
		return nil
	}
	op, err := s.runningOperation(ctx, m)
	if err != nil {
		return err
	}
	message := what + " " + m.Name + " is busy: its state is " + string(state)
	if op != nil {
		message += " (" + string(op.Verb) + " operation " + op.Name + ", running since " + op.Started.UTC().Format(time.RFC3339) + ")"
	}
	hint := "wait until " + what + " " + m.Name + " is Succeeded or Failed, then try again; `" + progress + "` shows how far it is"
	return &sluice.Error{Code: sluice.CodeBusy, Message: message, Hint: hint,
		Cause: &sluice.Cause{Code: sluice.CauseBusy, Message: message, Hint: hint}}
}

// cancel ends a running operation because something else takes its place.
func (s *server) cancel(op *sluice.Operation, why string) {
	op.Status, op.Ended = sluice.OperationCanceled, s.Now().UTC()
	op.Stages = sluice.EndStages(op.Stages, op.Ended)
	op.Cause = &sluice.Cause{Code: sluice.CauseOperationCancels, Message: why}
}

// operationPath gives the path of an operation's document, "" for none.
func (r *request) operationPath(collection, name string) string {
	if name == "" {
		return ""
	}
	return "/subscriptions/" + url.PathEscape(r.scope.Subscription) + "/resourceGroups/" + url.PathEscape(r.scope.ResourceGroup) +
		"/providers/" + arm.Provider + "/workspaces/" + url.PathEscape(r.scope.Workspace) + "/" + collection + "/" + name
}

// operationURL gives an address that clients poll. It has to say the
// api-version itself.
func (r *request) operationURL(collection, name string) string {
	if name == "" {
		return ""
	}
	return r.public + r.operationPath(collection, name) + "?api-version=" + url.QueryEscape(r.param("api-version"))
}

// properties gives the inner properties bag as clients see it.
func (r *request) properties(p arm.Strings) arm.Strings {
	name := p[lastOperation]
	delete(p, lastOperation)
	if name != "" {
		p[arm.PropertyOperation] = r.operationURL(opStatusName, name)
	}
	return p
}

// announce sets the headers by which clients find the operation.
func (r *request) announce(w http.ResponseWriter, op string, withLocation bool) {
	h := w.Header()
	h.Set("Azure-AsyncOperation", r.operationURL(opStatusName, op))
	h.Set("x-ms-async-operation-timeout", "PT1H")
	h.Set("Retry-After", "1")
	if withLocation {
		h.Set("Location", r.operationURL(opResultName, op))
	}
}

// getOperation answers a poll. With Prefer: wait=N it is held open until the
// operation changes, at most N seconds.
func (s *server) getOperation(w http.ResponseWriter, r *request) error {
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	if wait := preferredWait(r.Header.Values("Prefer")); wait > 0 && !op.Done() {
		w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait.Seconds())))
		if op, err = s.awaitChange(r, op, wait); err != nil {
			return err
		}
	}
	if !op.Done() {
		w.Header().Set("Retry-After", "1")
	}
	return answer(w, http.StatusOK, arm.OperationFrom(r.scope, op, r.operationPath(opStatusName, op.Name)))
}

func (s *server) operation(r *request) (*sluice.Operation, error) {
	return get[*sluice.Operation](r.Context(), s,
		sluice.Key{Workspace: r.scope.Workspace, Kind: sluice.KindOperation, Name: r.vars["operation"]})
}

// awaitChange gives the operation as soon as it is not as it was, and as it is
// when the time is up.
func (s *server) awaitChange(r *request, was *sluice.Operation, wait time.Duration) (*sluice.Operation, error) {
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	after := was.Change
	for {
		latest, err := s.Store.Wait(ctx, after)
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		op, getErr := s.operation(r)
		if getErr != nil || err != nil || op.Change != was.Change {
			return op, getErr
		}
		after = latest
	}
}

// preferredWait reads "wait=N" out of the Prefer headers; 0 when there is none.
func preferredWait(prefer []string) time.Duration {
	for _, line := range prefer {
		for part := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if n, err := strconv.Atoi(strings.TrimSpace(value)); strings.EqualFold(strings.TrimSpace(name), "wait") && err == nil && n > 0 {
				return min(time.Duration(min(n, 3600))*time.Second, maxWait)
			}
		}
	}
	return 0
}

// getOperationResult answers 202 while the operation runs, and then what it
// came to.
func (s *server) getOperationResult(w http.ResponseWriter, r *request) error {
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	switch op.Status {
	case sluice.OperationInProgress:
		w.Header().Set("Location", r.operationURL(opResultName, op.Name))
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusAccepted)
		return nil
	case sluice.OperationSucceeded:
		if op.Verb == sluice.VerbDelete {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return s.answerTarget(w, r, op.Target)
	}
	if err := arm.OperationFrom(r.scope, op, "").Err(); err != nil {
		return err
	}
	return sluice.Errorf(sluice.CodeInvalid, "the operation was canceled")
}

func (s *server) answerTarget(w http.ResponseWriter, r *request, key sluice.Key) error {
	res, err := s.Store.Get(r.Context(), key)
	if err != nil {
		return err
	}
	switch res := res.(type) {
	case *sluice.Endpoint:
		wire, err := s.wireEndpoint(r, res)
		if err != nil {
			return err
		}
		return answer(w, http.StatusOK, wire)
	case *sluice.Deployment:
		wire, err := s.wireDeployment(r, res)
		if err != nil {
			return err
		}
		return answer(w, http.StatusOK, wire)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
