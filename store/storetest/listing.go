package storetest

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
)

// names lists and gives "name" or "name:version" of each.
func names(t testing.TB, s *store.Store, q sluice.Query) ([]string, string) {
	t.Helper()
	page, err := s.List(t.Context(), q)
	if err != nil {
		t.Fatalf("list %+v: %v", q, err)
	}
	var out []string
	for _, r := range page.Items {
		out = append(out, label(r))
	}
	return out, page.Next
}

func label(r sluice.Resource) string {
	k := r.Key()
	if k.Version != "" {
		return k.Name + ":" + k.Version
	}
	return k.Name
}

// walk lists page by page to the end.
func walk(t testing.TB, s *store.Store, q sluice.Query) []string {
	t.Helper()
	var all []string
	for range 10_000 {
		some, next := names(t, s, q)
		if q.Limit > 0 && len(some) > q.Limit {
			t.Fatalf("a page has %d items, more than the limit of %d", len(some), q.Limit)
		}
		all = append(all, some...)
		if next == "" {
			return all
		}
		q.After = next
	}
	t.Fatal("the list has no end")
	return nil
}

func wantNames(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

var listing = map[string]func(*testing.T, Opener){
	"order is by folded name, bytewise, then creation": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		// "a-b" and "a_b" around "aa" is where collations differ.
		for _, name := range []string{"b", "A_b", "é", "aa", "a-b", "Z", "a1"} {
			commit(t, s, put(endpoint(name)))
		}
		for _, version := range []string{"10", "2", "1"} {
			commit(t, s, put(model("m", version)))
		}
		commit(t, s, put(model("l", "9")))
		wantNames(t, "by name", walk(t, s, sluice.Query{Kind: sluice.KindEndpoint}), "a-b", "a1", "A_b", "aa", "b", "Z", "é")
		wantNames(t, "newest first", walk(t, s, sluice.Query{Kind: sluice.KindEndpoint, Newest: true}), "a1", "Z", "a-b", "aa", "é", "A_b", "b")
		wantNames(t, "versions by creation", walk(t, s, sluice.Query{Kind: sluice.KindModel}), "l:9", "m:10", "m:2", "m:1")
		wantNames(t, "versions newest first", walk(t, s, sluice.Query{Kind: sluice.KindModel, Name: "M", Newest: true}), "m:1", "m:2", "m:10")
	},

	"an update moves nothing": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		a, b := model("m", "1"), model("m", "2")
		commit(t, s, put(a))
		commit(t, s, put(b))
		commit(t, s, put(a))
		wantNames(t, "by name", walk(t, s, sluice.Query{Kind: sluice.KindModel}), "m:1", "m:2")
		wantNames(t, "newest first", walk(t, s, sluice.Query{Kind: sluice.KindModel, Newest: true}), "m:2", "m:1")
	},

	"a prefix is text and not a pattern": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		for _, name := range []string{"a%", "a%b", "ab", "a_", "axb", "a\U0010FFFF", "a\U0010FFFFz", "b", "A%C", "a\uD7FF", "a\uE000"} {
			commit(t, s, put(endpoint(name)))
		}
		for prefix, want := range map[string][]string{
			"a%":          {"a%", "a%b", "A%C"},
			"A%":          {"a%", "a%b", "A%C"},
			"a_":          {"a_"},
			"a\U0010FFFF": {"a\U0010FFFF", "a\U0010FFFFz"},
			"a\uD7FF":     {"a\uD7FF"},
			"none":        nil,
		} {
			wantNames(t, fmt.Sprintf("prefix %q", prefix), walk(t, s, sluice.Query{Kind: sluice.KindEndpoint, Prefix: prefix}), want...)
		}
		for _, name := range []string{"iris/blue", "iris/green", "iris2/blue", "irisa/x"} {
			commit(t, s, put(&sluice.Scale{Meta: meta(name[len(name)-1:]), Endpoint: name}))
		}
		wantNames(t, "what is under an endpoint", walk(t, s, sluice.Query{Kind: sluice.KindScale, Prefix: "iris/"}), "iris/blue/e", "iris/green/n")
	},

	"workspaces are apart": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		for _, ws := range []string{"default", "other"} {
			for _, name := range []string{"a", "b"} {
				e := endpoint(name)
				e.Workspace, e.Description = ws, ws
				commit(t, s, put(e))
			}
		}
		e := get[*sluice.Endpoint](t, s, sluice.EndpointKey("other", "a"))
		if e.Description != "other" {
			t.Errorf("got the resource of workspace %s", e.Description)
		}
		wantNames(t, "one", walk(t, s, sluice.Query{Kind: sluice.KindEndpoint, Workspace: "OTHER"}), "a", "b")
		for limit := range 5 {
			wantNames(t, "all", walk(t, s, sluice.Query{Kind: sluice.KindEndpoint, Limit: limit}), "a", "a", "b", "b")
		}
	},

	"pages join to the whole": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		var one []sluice.Resource // created in one change: the hardest to tell apart
		for i := range 23 {
			one = append(one, model("m", fmt.Sprint(i)))
			commit(t, s, put(endpoint(fmt.Sprintf("e%d", i))))
		}
		commit(t, s, put(one...))
		for _, q := range []sluice.Query{
			{Kind: sluice.KindModel}, {Kind: sluice.KindModel, Newest: true},
			{Kind: sluice.KindEndpoint, Workspace: "default", Prefix: "E1"}, {Kind: sluice.KindEndpoint, Newest: true},
		} {
			whole := walk(t, s, q)
			if len(whole) == 0 {
				t.Fatalf("%+v lists nothing", q)
			}
			for _, limit := range []int{1, 2, 7, 11, 22, 23, 24, math.MaxInt} {
				q.Limit = limit
				wantNames(t, fmt.Sprintf("%+v", q), walk(t, s, q), whole...)
			}
		}
		if _, next := names(t, s, sluice.Query{Kind: sluice.KindModel, Limit: 23}); next != "" {
			t.Error("a page that holds the rest says that there is more")
		}
	},

	"a page goes on where the last resource was, even when it is gone": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		for prefix, newest := range map[string]bool{"x": false, "y": true} {
			for _, name := range []string{"b", "d", "f"} {
				commit(t, s, put(endpoint(prefix+name)))
			}
			q := sluice.Query{Kind: sluice.KindEndpoint, Prefix: prefix, Limit: 2, Newest: newest}
			_, next := names(t, s, q)
			// d ends either page. It goes, and something new comes after the
			// place by name, and before it by age.
			commit(t, s, remove(get[*sluice.Endpoint](t, s, endpoint(prefix+"d").Key())))
			commit(t, s, put(endpoint(prefix+"e")))
			q.After = next
			want := []string{"xe", "xf"}
			if newest {
				want = []string{"yb"}
			}
			wantNames(t, "the rest, newest first: "+fmt.Sprint(newest), walk(t, s, q), want...)
		}
	},

	"a token of another list is refused": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		commit(t, s, put(endpoint("a")))
		commit(t, s, put(endpoint("b")))
		_, token := names(t, s, sluice.Query{Kind: sluice.KindEndpoint, Limit: 1})
		for what, q := range map[string]sluice.Query{
			"another kind":      {Kind: sluice.KindModel, After: token},
			"another workspace": {Kind: sluice.KindEndpoint, Workspace: "default", After: token},
			"another order":     {Kind: sluice.KindEndpoint, Newest: true, After: token},
			"garbage":           {Kind: sluice.KindEndpoint, After: "%%%"},
			"no JSON":           {Kind: sluice.KindEndpoint, After: "aGVsbG8"},
		} {
			_, err := s.List(t.Context(), q)
			wantCode(t, what, err, sluice.CodeInvalid)
		}
	},

	"a query that makes no sense is invalid": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		for what, q := range map[string]sluice.Query{
			"no kind":       {},
			"unknown kind":  {Kind: "bogus"},
			"a NUL":         {Kind: sluice.KindEndpoint, Prefix: "a\x00"},
			"a broken rune": {Kind: sluice.KindEndpoint, Name: "\xff"},
			"limit below 0": {Kind: sluice.KindEndpoint, Limit: -1},
		} {
			_, err := s.List(t.Context(), q)
			wantCode(t, what, err, sluice.CodeInvalid)
		}
	},

	"events of a deployment are in their order, many of one change too": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		event := func(deployment string, seq int64) *sluice.DeploymentEvent {
			e := &sluice.DeploymentEvent{Meta: meta(deployment), Endpoint: "iris", Seq: seq, What: sluice.EventStarted}
			e.Version = sluice.EventVersion("u", seq)
			return e
		}
		commit(t, s, put(event("blue", 10), event("blue", 9), event("green", 1)))
		commit(t, s, put(event("blue", 100), event("blue", 11)))
		q := sluice.Query{Workspace: "default", Kind: sluice.KindDeploymentEvent, Name: "iris/blue"}
		var seqs []int64
		all, err := store.ReadAll[*sluice.DeploymentEvent](t.Context(), s, q)
		for _, e := range all {
			seqs = append(seqs, e.Seq)
		}
		if diff := cmp.Diff([]int64{9, 10, 11, 100}, seqs); diff != "" || err != nil {
			t.Errorf("events in order: %v (-want +got):\n%s", err, diff)
		}
		q.Newest, q.Limit = true, 1
		page, err := s.List(t.Context(), q)
		if err != nil || len(page.Items) != 1 || page.Items[0].(*sluice.DeploymentEvent).Seq != 100 {
			t.Errorf("the newest is %v, %v", page.Items, err)
		}
		_, err = s.Commit(t.Context(), put(event("blue", 100)))
		wantCode(t, "a number that somebody else took", err, sluice.CodeExists)
		lines, err := s.History(t.Context(), page.Items[0].Key(), 0)
		if err != nil || len(lines) != 0 {
			t.Errorf("an event has a history: %v, %v", lines, err)
		}
	},

	"ReadAll reads every page": func(t *testing.T, open Opener) {
		s := open(t, store.Options{})
		for i := range 5 {
			commit(t, s, put(endpoint(fmt.Sprint("e", i))))
		}
		all, err := store.ReadAll[*sluice.Endpoint](t.Context(), s, sluice.Query{Kind: sluice.KindEndpoint, Limit: 2})
		if err != nil || len(all) != 5 {
			t.Errorf("got %d of 5, %v", len(all), err)
		}
	},
}
