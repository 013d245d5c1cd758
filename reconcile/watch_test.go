package reconcile

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

// What the engine says of a disk without room is what the user is told.
func TestAFullDiskIsTheCause(t *testing.T) {
	const says = "It could not be started: the disk is full: writing what it needs to /x: 0 MiB are free."
	c := endCause(seen{Instance: engine.Instance{Phase: engine.Failed, Reason: engine.DiskFull, Message: says}})
	if c.Code != sluice.CauseDiskFull || c.Message != says || c.Hint == "" {
		t.Errorf("the cause is %+v", c)
	}
}

func TestTelling(t *testing.T) {
	const listening = "2026-01-01 00:00:00,000 I [7] azmlinfsrv - Listening at: /x (7)"
	for _, tt := range []struct {
		name        string
		lines, want []string
	}{
		{"nothing", nil, nil},
		{"another server", []string{"a", "b"}, []string{"a", "b"}},
		{"settings", []string{"Server Settings", "WORKER_COUNT: 1", listening, "loading", "boom"}, []string{"loading", "boom"}},
		{"the cause again", []string{listening, "boom", "2026 E [7] azmlinfsrv - The server ends: x", "2026 E [7] azmlinfsrv - Hint: y"}, []string{"boom"}},
		{"started twice", []string{listening, "first", listening, "second"}, []string{"second"}},
	} {
		if diff := cmp.Diff(tt.want, telling(tt.lines), cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// Each phase is written down: an instance that goes back and forth between them
// sets the pace of nothing.
func TestPhasesSetNoPace(t *testing.T) {
	const rounds = 4
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 2*rounds {
			cancel()
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(rw, "Not ready: ", []string{"import", "init"}[asked%2])
	}))
	defer server.Close()
	began := time.Now()
	newWatches(New(Config{})).watch(ctx, engine.Instance{ID: "a", Address: server.URL, Created: began}, &watch{}, settings(sluice.DefaultProbe()))
	if took := time.Since(began); took < (rounds-1)*listenPause {
		t.Errorf("it was asked %d times in %s", asked, took)
	}
}
