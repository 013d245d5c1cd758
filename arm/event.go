package arm

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sluice-ml/sluice"
)

// Event is one thing that happened to a deployment: Azure has no such call.
type Event struct {
	Time      time.Time     `json:"time"`
	What      string        `json:"what"` // see sluice.Happening
	Instance  string        `json:"instance,omitempty"`
	Message   string        `json:"message"` // one sentence
	By        string        `json:"by,omitempty"`
	Operation string        `json:"operation,omitempty"`
	Revision  string        `json:"revision,omitempty"`
	Cause     *sluice.Cause `json:"cause,omitempty"`
	Change    int64         `json:"change"` // its place: who has seen it has seen all before
}

// Events is a page of them. After is the place to go on from.
type Events struct {
	Value    []Event `json:"value"`
	NextLink string  `json:"nextLink,omitempty"`
	After    int64   `json:"after"`
}

// EventFrom gives the wire form of what was observed.
func EventFrom(e *sluice.DeploymentEvent) Event {
	return Event{Time: e.At.UTC(), What: string(e.What), Instance: e.Instance, Message: e.Message,
		Operation: e.Operation, Revision: e.Revision, Cause: e.Cause, Change: e.Change}
}

// DeploymentEvents reads what happened to a deployment after the place, and
// gives the place to go on from. With wait, which is whole seconds, it comes
// back as soon as there is something, at the latest then.
func (c *Client) DeploymentEvents(ctx context.Context, endpoint, name string, after int64, wait time.Duration) (Events, error) {
	u := c.at(c.scope.DeploymentID(url.PathEscape(endpoint), url.PathEscape(name))+"/events", "after", strconv.FormatInt(after, 10))
	header := http.Header{}
	if wait > 0 {
		header.Set("Prefer", "wait="+strconv.Itoa(int(wait.Seconds())))
	}
	out := Events{Value: []Event{}, After: after}
	for next := u; next != nil; {
		var page Events
		if _, err := c.send(ctx, request{method: http.MethodGet, url: next, header: header}, &page); err != nil {
			return out, err
		}
		out.Value, out.After = append(out.Value, page.Value...), page.After
		if page.NextLink == "" {
			break
		}
		link, err := c.here(page.NextLink)
		if err != nil {
			return out, err
		}
		next, header = link, nil
	}
	return out, nil
}
