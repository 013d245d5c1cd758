package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// deploymentEvents gives what happened to a deployment after a change number,
// in the order of the changes: what was asked for, from the history, and what
// was observed. With Prefer: wait=N it is held open until there is something,
// at most N seconds.
func (s *server) deploymentEvents(w http.ResponseWriter, r *request) error {
	after, err := r.number("after")
	if err != nil {
		return err
	}
	size, err := r.pageSize()
	if err != nil {
		return err
	}
	wait := preferredWait(r.Header.Values("Prefer"))
	if wait > 0 {
		w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait.Seconds())))
	}
	events, err := s.awaitEvents(r, after, wait)
	if err != nil {
		return err
	}
	out := arm.Events{Value: wholeChanges(events, size), After: after}
	if n := len(out.Value); n > 0 {
		out.After = out.Value[n-1].Change
		if n < len(events) {
			out.NextLink = r.public + r.URL.EscapedPath() + "?" + r.goingOn(out.After).Encode()
		}
	}
	// A change is the place of an event; who reads them goes by their time.
	slices.SortStableFunc(out.Value, func(a, b arm.Event) int { return a.Time.Compare(b.Time) })
	return answer(w, http.StatusOK, out)
}

// number reads a parameter that is a whole number, 0 when it is not there.
func (r *request) number(name string) (int64, error) {
	text := r.param(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, sluice.Errorf(sluice.CodeInvalid, "%s is %.40q: it must be a whole number of at least 0", name, text)
	}
	return n, nil
}

// goingOn gives the request's query, but after another place.
func (r *request) goingOn(after int64) url.Values {
	q := url.Values{}
	for k, v := range r.query {
		if !strings.EqualFold(k, "after") {
			q[k] = v
		}
	}
	q.Set("after", strconv.FormatInt(after, 10))
	return q
}

// wholeChanges gives at least size of the events if there are so many, and all
// of the last change: a place is a change.
func wholeChanges(events []arm.Event, size int) []arm.Event {
	n := min(size, len(events))
	for n > 0 && n < len(events) && events[n].Change == events[n-1].Change {
		n++
	}
	return append([]arm.Event{}, events[:n]...)
}

// awaitEvents gives the events after a change as soon as there are some, none
// when the time is up.
func (s *server) awaitEvents(r *request, after int64, wait time.Duration) ([]arm.Event, error) {
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	seen, looked := int64(0), int64(-1)
	for {
		// The store's number is read before its content, so that nothing that
		// is written in between is waited for in vain.
		latest, err := s.Store.Wait(ctx, seen)
		if err != nil && (ctx.Err() == nil || r.Context().Err() != nil) {
			return nil, err
		}
		d, getErr := s.deployment(r)
		if getErr != nil {
			return nil, getErr
		}
		newest, newestErr := s.newestOf(r.Context(), d)
		if newestErr != nil {
			return nil, newestErr
		}
		if newest > max(after, looked) {
			events, readErr := s.eventsOf(r.Context(), d, after)
			if readErr != nil || len(events) > 0 {
				return events, readErr
			}
			looked = newest
		}
		if err != nil || wait == 0 {
			return nil, nil
		}
		seen = latest
		// Whatever changes anywhere wakes everybody who follows something: on a
		// busy server a few changes are looked at together.
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
		}
	}
}

// lookPause is how long changes gather until they are looked at.
const lookPause = 50 * time.Millisecond

// sources are the things whose history concerns a deployment.
func sources(d *sluice.Deployment) []sluice.Key {
	return []sluice.Key{d.Key(), scaleKey(d), sluice.EndpointKey(d.Workspace, d.Endpoint)}
}

func eventQuery(d *sluice.Deployment) sluice.Query {
	return sluice.Query{Workspace: d.Workspace, Kind: sluice.KindDeploymentEvent, Name: d.Endpoint + "/" + d.Name}
}

// newestOf gives the last change that may have brought an event.
func (s *server) newestOf(ctx context.Context, d *sluice.Deployment) (int64, error) {
	q := eventQuery(d)
	q.Newest, q.Limit = true, 1
	page, err := s.Store.List(ctx, q)
	if err != nil {
		return 0, err
	}
	newest := int64(0)
	for _, e := range page.Items {
		newest = e.Header().Change
	}
	for _, key := range sources(d) {
		lines, err := s.Store.History(ctx, key, 1)
		if err != nil {
			return 0, err
		}
		if len(lines) > 0 {
			newest = max(newest, lines[0].Change)
		}
	}
	return newest, nil
}

// eventsOf gives the events after a change, in order.
func (s *server) eventsOf(ctx context.Context, d *sluice.Deployment, after int64) ([]arm.Event, error) {
	observed, err := listAll[*sluice.DeploymentEvent](ctx, s, eventQuery(d))
	if err != nil {
		return nil, err
	}
	var lines [3][]sluice.Event
	for i, key := range sources(d) {
		if lines[i], err = s.Store.History(ctx, key, maxHistory); err != nil {
			return nil, err
		}
	}
	all := asked(lines[0], lines[1], lines[2])
	for _, e := range observed {
		all = append(all, arm.EventFrom(e))
	}
	all = slices.DeleteFunc(all, func(e arm.Event) bool { return e.Change <= after })
	slices.SortStableFunc(all, func(a, b arm.Event) int { return cmp.Compare(a.Change, b.Change) })
	return all, nil
}

// asked gives the events that lie in the history of a deployment, its scale and
// its endpoint, each newest first: what somebody wanted, and who. It is a pure
// function.
func asked(deployment, scale, endpoint []sluice.Event) []arm.Event {
	var out []arm.Event
	born := int64(0)
	for _, e := range deployment {
		if e.Verb == "create" {
			born = e.Change
			out = append(out, wished(e, sluice.EventCreated, text(e, "operation"), "created"))
			break // an older life of the name is none of its
		}
	}
	scaled := map[int64]string{}
	for _, e := range scale {
		if f, ok := field(e, "want"); ok && e.Verb == "update" {
			scaled[e.Change] = fmt.Sprintf("scaled from %s to %s", f.Old, f.New)
		}
	}
	for _, e := range deployment {
		if e.Verb == "update" && e.Change > born {
			out = append(out, updated(e, scaled[e.Change])...)
		}
	}
	for _, e := range endpoint {
		if e.Verb == "update" && e.Change > born {
			out = append(out, aroundIt(e)...)
		}
	}
	return out
}

// wished gives the event that a line of history is.
func wished(e sluice.Event, what sluice.Happening, operation, format string, a ...any) arm.Event {
	return arm.Event{Time: e.At.UTC(), What: string(what), Message: fmt.Sprintf(format, a...) + " by " + e.Actor.Name,
		By: e.Actor.Name, Operation: operation, Change: e.Change}
}

// updated gives what an update of a deployment was; scaled words how the same
// change scaled it, "" if it did not.
func updated(e sluice.Event, scaled string) []arm.Event {
	var out []arm.Event
	say := func(what sluice.Happening, operation, format string, a ...any) {
		out = append(out, wished(e, what, operation, format, a...))
	}
	operation := text(e, "operation")
	if state, moved := field(e, "state"); moved && unquote(state.New) == string(sluice.StateDeleting) {
		if was := sluice.State(unquote(state.Old)); was.Transitional() {
			say(sluice.EventOperationCanceled, "", "the operation that ran (%s) was canceled, and the deployment deleted,", strings.ToLower(string(was)))
		}
		say(sluice.EventDeleting, operation, "deletion begun")
		return out
	}
	if fields := changed(e); len(fields) > 0 {
		say(sluice.EventUpdated, operation, "updated (%s)", strings.Join(fields, ", "))
	} else if operation != "" && scaled == "" {
		say(sluice.EventUpdated, operation, "asked for again, as it was,")
	}
	if scaled != "" {
		say(sluice.EventScaled, operation, "%s", scaled)
	}
	return out
}

// aroundIt gives what an update of the endpoint meant for its deployments.
func aroundIt(e sluice.Event) []arm.Event {
	var out []arm.Event
	if split := shares(e, "traffic."); split != "" {
		out = append(out, wished(e, sluice.EventTraffic, "", "traffic of the endpoint changed (%s)", split))
	}
	if split := shares(e, "mirrorTraffic."); split != "" {
		out = append(out, wished(e, sluice.EventTraffic, "", "mirrored traffic of the endpoint changed (%s)", split))
	}
	if keys := rotated(e); keys != "" {
		out = append(out, wished(e, sluice.EventKeys, "", "%s of the endpoint replaced", keys))
	}
	return out
}

// field gives what changed at a path.
func field(e sluice.Event, path string) (sluice.FieldChange, bool) {
	for _, f := range e.Diff {
		if f.Path == path {
			return f, true
		}
	}
	return sluice.FieldChange{}, false
}

// text gives the new value at a path that holds a string, "" when it is none.
func text(e sluice.Event, path string) string {
	f, _ := field(e, path)
	return unquote(f.New)
}

func unquote(value string) string {
	var s string
	if json.Unmarshal([]byte(value), &s) != nil {
		return ""
	}
	return s
}

// spelled are the parts of a specification whose name in YAML is not simply
// their own in another spelling.
var spelled = map[string]string{"request": "request_settings", "liveness": "liveness_probe", "readiness": "readiness_probe",
	"code": "code_configuration", "appInsights": "app_insights_enabled", "egressAccess": "egress_public_network_access"}

// changed names what of a deployment an update changed, as the YAML spells it.
func changed(e sluice.Event) []string {
	var names []string
	for _, f := range e.Diff {
		path := f.Path
		if inner, ok := strings.CutPrefix(path, "spec."); ok {
			path = inner
		} else if !strings.HasPrefix(path, "tags") && path != "description" {
			continue
		}
		if end := strings.IndexAny(path, ".["); end >= 0 {
			path = path[:end]
		}
		name, ok := spelled[path]
		if !ok {
			name = snake(path)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// snake gives instanceType as instance_type.
func snake(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// shares words a change of traffic: "blue 100 → 90, green 0 → 10".
func shares(e sluice.Event, prefix string) string {
	var parts []string
	for _, f := range e.Diff {
		if name, ok := strings.CutPrefix(f.Path, prefix); ok {
			parts = append(parts, name+" "+cmp.Or(f.Old, "0")+" → "+cmp.Or(f.New, "0"))
		}
	}
	return strings.Join(parts, ", ")
}

// rotated words which keys were replaced.
func rotated(e sluice.Event) string {
	_, primary := field(e, "keyDigests.primary")
	_, secondary := field(e, "keyDigests.secondary")
	switch {
	case primary && secondary:
		return "both keys"
	case primary:
		return "the primary key"
	case secondary:
		return "the secondary key"
	}
	return ""
}
