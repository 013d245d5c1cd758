package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/api"
	"github.com/sluice-ml/sluice/arm"
)

func newAliasWorld(t *testing.T) *world {
	return newWorld(t, func(c *api.Config) {
		c.Aliases = func(ref sluice.Ref) (*sluice.Environment, bool) {
			if ref.Registry != "azureml" || ref.Name != "sklearn-1.5" {
				return nil, false
			}
			return &sluice.Environment{Image: "mcr.microsoft.com/azureml/curated/sklearn-1.5", CondaFile: "dependencies: [scikit-learn]", OSType: "linux"}, true
		}
	})
}

// A held poll answers as soon as the operation is another, and says so.
func TestHeldPoll(t *testing.T) {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	created := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/blue"+version, body(deployment(1)))
	at := created.header.Get("Azure-AsyncOperation")

	plain := w.do("GET", at, "")
	if plain.header.Get("Preference-Applied") != "" || plain.header.Get("Retry-After") != "1" || !strings.Contains(string(plain.body), `"status":"InProgress"`) {
		t.Errorf("a plain poll: %v %s", plain.header, plain.body)
	}
	held := make(chan answer)
	go func() { held <- w.do("GET", at, "", "Prefer", "respond-async, wait=30") }()
	// Changes to other things must not end the wait; one to the operation must.
	op := w.lastOperation(created)
	for range 3 {
		w.endpoint("other")
	}
	op.Stages = sluice.Advance(nil, sluice.Stage{Name: sluice.StageEnvironment, Step: sluice.StepResolving}, time.Now())
	w.put(op)
	got := <-held
	var doc arm.Operation
	if err := json.Unmarshal(got.body, &doc); err != nil || len(doc.Properties.Stages) != 1 || doc.Properties.Stages[0].Step != sluice.StepResolving {
		t.Errorf("the held poll gave %s, %v", got.body, err)
	}
	if got.header.Get("Preference-Applied") != "wait=30" {
		t.Errorf("Preference-Applied is %q", got.header.Get("Preference-Applied"))
	}
	over := w.do("GET", at, "", "Prefer", "wait=1")
	if over.status != 200 || !strings.Contains(string(over.body), "InProgress") {
		t.Errorf("when the time is up: status %d, %s", over.status, over.body)
	}
}

// A client that goes away takes its held poll with it.
func TestHeldPollEndsWithTheClient(t *testing.T) {
	ended := make(chan struct{})
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	created := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/blue"+version, body(deployment(1)))
	inner := w.server.Config.Handler
	arrived := make(chan struct{})
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		close(arrived)
		inner.ServeHTTP(rw, r)
		close(ended)
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", created.header.Get("Azure-AsyncOperation"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Prefer", "wait=30")
	go func() { <-arrived; cancel() }()
	if resp, err := w.server.Client().Do(req); err == nil {
		resp.Body.Close()
		t.Fatal("the poll was answered")
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the poll is still held")
	}
}

func TestFailedOperation(t *testing.T) {
	w := newWorld(t)
	cause := &sluice.Cause{Code: sluice.CauseUnresolvable, Message: "package nope does not exist", Hint: "correct conda.yml"}
	w.reconcile(func(*sluice.Deployment) *sluice.Cause { return cause })
	w.assets()
	w.endpoint("iris")
	created := w.do("PUT", ws+"/onlineEndpoints/iris/deployments/blue"+version, body(deployment(1)))
	if err := w.client.Follow(created.header.Get("Azure-AsyncOperation")).Wait(context.Background(), nil); err == nil {
		t.Fatal("the operation succeeded")
	}
	var doc arm.Operation
	raw := w.do("GET", created.header.Get("Azure-AsyncOperation"), "")
	if err := json.Unmarshal(raw.body, &doc); err != nil || doc.Status != "Failed" || doc.Error == nil || doc.Error.Code != "ImageBuildFailure" || doc.EndTime.IsZero() {
		t.Errorf("the document is %s, %v", raw.body, err)
	}
	result := strings.Replace(created.header.Get("Azure-AsyncOperation"), "mfeOperationsStatus", "mfeoperationresults", 1)
	if got := w.do("GET", result, ""); got.status != 400 || !strings.Contains(string(got.body), "package nope") {
		t.Errorf("the result: status %d, %s", got.status, got.body)
	}
}
