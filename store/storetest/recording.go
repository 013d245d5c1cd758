package storetest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
)

func history(t testing.TB, s *store.Store, key sluice.Key, limit int) []sluice.Event {
	t.Helper()
	events, err := s.History(t.Context(), key, limit)
	if err != nil {
		t.Fatalf("history of %v: %v", key, err)
	}
	return events
}

var recording = map[string]func(*testing.T, Opener){
	"history says who, when, from where and what": func(t *testing.T, open Opener) {
		clock := newClock()
		s := open(t, store.Options{Now: clock.now})
		e := endpoint("Iris")
		created, at := commit(t, s, put(e)), clock.now()

		clock.advance(time.Hour)
		e.Traffic = map[string]int{"blue": 100}
		e.AuthMode = sluice.AuthAMLToken
		c := put(e)
		c.Actor = sluice.Actor{Name: "eve", From: "10.0.0.9:1", Client: "curl/8"}
		updated := commit(t, s, c)

		clock.advance(time.Hour)
		deleted := commit(t, s, remove(e))

		want := []sluice.Event{
			{Change: deleted, At: at.Add(2 * time.Hour), Actor: admin, Key: e.Key(), Verb: "delete", Generation: 2, Diff: []sluice.FieldChange{
				{Path: "authMode", Old: `"aml_token"`}, {Path: "name", Old: `"Iris"`}, {Path: "state", Old: `"Creating"`},
				{Path: "traffic.blue", Old: "100"}, {Path: "workspace", Old: `"default"`}}},
			{Change: updated, At: at.Add(time.Hour), Actor: c.Actor, Key: e.Key(), Verb: "update", Generation: 2, Diff: []sluice.FieldChange{
				{Path: "authMode", Old: `"key"`, New: `"aml_token"`}, {Path: "traffic.blue", New: "100"}}},
			{Change: created, At: at, Actor: admin, Key: e.Key(), Verb: "create", Generation: 1, Diff: []sluice.FieldChange{
				{Path: "authMode", New: `"key"`}, {Path: "name", New: `"Iris"`}, {Path: "state", New: `"Creating"`}, {Path: "workspace", New: `"default"`}}},
		}
		if diff := cmp.Diff(want, history(t, s, sluice.EndpointKey("default", "IRIS"), 0)); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want[:2], history(t, s, e.Key(), 2)); diff != "" {
			t.Errorf("its newest two (-want +got):\n%s", diff)
		}
	},

	"history survives deletion and goes on with the next life": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		for range 2 {
			e := endpoint("iris")
			commit(t, s, put(e))
			commit(t, s, remove(e))
		}
		var verbs []string
		for _, e := range history(t, s, endpoint("iris").Key(), 0) {
			verbs = append(verbs, e.Verb)
		}
		wantNames(t, "verbs, newest first", verbs, "delete", "create", "delete", "create")
		if got := history(t, s, endpoint("never").Key(), 0); len(got) != 0 {
			t.Errorf("what never was has a history: %v", got)
		}
	},

	"observations leave no history": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		e := endpoint("iris")
		for _, c := range []sluice.Change{{Put: []sluice.Resource{e}}, {Put: []sluice.Resource{e}}, {Delete: []sluice.Resource{e}}} {
			c.Observed = true
			commit(t, s, c)
		}
		if got := history(t, s, e.Key(), 0); len(got) != 0 {
			t.Errorf("observed changes are in the history: %v", got)
		}
	},

	"a refused change leaves no history": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		e := endpoint("iris")
		commit(t, s, put(e))
		_, err := s.Commit(t.Context(), put(endpoint("other"), endpoint("iris")))
		wantCode(t, "creating what exists", err, sluice.CodeExists)
		if got := history(t, s, endpoint("other").Key(), 0); len(got) != 0 {
			t.Errorf("a refused change is in the history: %v", got)
		}
	},

	"secrets are in no history": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		const secret = "hunter2"
		keys := &sluice.Keys{Meta: meta("iris"), SealedPrimary: []byte(secret), SealedSecondary: []byte(secret)}
		d := &sluice.Deployment{Meta: meta("blue"), Endpoint: "iris"}
		d.Spec.EnvironmentVariables = map[string]string{"PASSWORD": secret, "odd key": secret}
		r := &sluice.Revision{Meta: meta("blue"), Endpoint: "iris", Spec: d.Spec}
		commit(t, s, put(keys, d, r))
		keys.SealedPrimary = []byte(secret + "!")
		d.Spec.EnvironmentVariables = map[string]string{"PASSWORD": secret + "!"}
		commit(t, s, put(keys, d))
		events := history(t, s, d.Key(), 1)
		want := []sluice.FieldChange{
			{Path: "spec.environmentVariables.PASSWORD", Old: `"(changed)"`, New: `"(changed)"`},
			{Path: `spec.environmentVariables["odd key"]`, Old: `"(changed)"`}}
		if diff := cmp.Diff(want, events[0].Diff); diff != "" {
			t.Errorf("what is shown of environment variables (-want +got):\n%s", diff)
		}
		commit(t, s, remove(keys, d, r))
		sealed, err := json.Marshal([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []sluice.Key{keys.Key(), d.Key(), r.Key()} {
			for _, e := range history(t, s, key, 0) {
				for _, f := range e.Diff {
					for _, text := range []string{f.Old, f.New, f.Path} {
						if strings.Contains(text, secret) || strings.Contains(text, strings.Trim(string(sealed), `"=`)) {
							t.Errorf("%s %s shows a secret at %s", e.Verb, key, f.Path)
						}
					}
				}
			}
		}
	},
}
