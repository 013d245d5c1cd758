package store

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func TestAfterPrefix(t *testing.T) {
	for prefix, want := range map[string]string{
		"":                      "",
		"a":                     "b",
		"a/":                    "a0",
		"aé":                    "aê",
		"a\uD7FF":               "a\uE000",
		"a\U0010FFFF":           "b",
		"\U0010FFFF\U0010FFFF":  "",
		"z\u007f":               "z\u0080",
		"a\U0010FFFF\U0010FFFF": "b",
	} {
		if got := afterPrefix(prefix); got != want {
			t.Errorf("afterPrefix(%q) = %q, want %q", prefix, got, want)
		}
	}
}

func FuzzAfterPrefix(f *testing.F) {
	f.Add("iris/", "blue")
	f.Add("a\U0010FFFF", "\U0010FFFF")
	f.Add("\uD7FF", "")
	f.Fuzz(func(t *testing.T, prefix, rest string) {
		if !isText(prefix) || !isText(rest) || prefix == "" {
			return
		}
		end := afterPrefix(prefix)
		if end == "" {
			if strings.Trim(prefix, "\U0010FFFF") != "" {
				t.Errorf("%q has an end", prefix)
			}
			return
		}
		if !isText(end) {
			t.Errorf("the end of %q is %q, which is not text", prefix, end)
		}
		if name := prefix + rest; name >= end {
			t.Errorf("%q begins with %q and is not before %q", name, prefix, end)
		}
		if !strings.HasPrefix(end, prefix) && end <= prefix {
			t.Errorf("the end of %q is before it: %q", prefix, end)
		}
	})
}

// FuzzToken gives parseToken what a stranger may send: it answers with an
// Invalid error or with a cursor that the database can take.
func FuzzToken(f *testing.F) {
	q := sluice.Query{Kind: sluice.KindEndpoint, Workspace: "default"}
	f.Add(cursor{Name: "iris", Born: 3, Workspace: "default"}.token(q))
	f.Add(cursor{Name: "m\x00", Born: -1, Workspace: "\xff", Version: "1"}.token(q))
	f.Add("bnVsbA")
	f.Add(strings.Repeat("A", maxToken+1))
	f.Fuzz(func(t *testing.T, token string) {
		q := q
		q.After = token
		c, err := parseToken(q)
		if err != nil {
			if sluice.ErrorCode(err) != sluice.CodeInvalid {
				t.Errorf("%q gave %v", token, err)
			}
			return
		}
		if !isText(c.Name) || !isText(c.Workspace) || !isText(c.Version) {
			t.Errorf("%q gave a cursor that is not text: %+v", token, c)
		}
		q.After = c.token(q)
		if again, err := parseToken(q); err != nil || again != c {
			t.Errorf("%+v came back as %+v, %v", c, again, err)
		}
	})
}

func TestSelectionPutsValuesIntoArguments(t *testing.T) {
	const evil = "x' OR 1=1 --%_"
	q := sluice.Query{Kind: sluice.KindModel, Workspace: evil, Name: evil, Prefix: evil, Limit: 3}
	q.After = cursor{Name: evil, Workspace: evil, Version: evil, Born: 9}.token(q)
	text, args, err := selection(q)
	if err != nil {
		t.Fatal(err)
	}
	low := strings.ToLower(evil)
	want := []any{"model", low, low, low, "x' or 1=1 --%`", evil, int64(9), evil, evil, int64(4)}
	if d := cmp.Diff(want, args); d != "" {
		t.Errorf("arguments (-want +got):\n%s", d)
	}
	if strings.Contains(strings.ToLower(text), low) || strings.Contains(text, "1=1") {
		t.Errorf("a value is in the statement: %s", text)
	}
}

func TestDescribe(t *testing.T) {
	for want, key := range map[string]sluice.Key{
		"endpoint iris":                              {Workspace: "default", Kind: sluice.KindEndpoint, Name: "iris"},
		"workspace team":                             {Workspace: "team", Kind: sluice.KindWorkspace, Name: "team"},
		"deployment b of endpoint a":                 {Workspace: "Default", Kind: sluice.KindDeployment, Name: "a/b"},
		"model m:1 in workspace team":                {Workspace: "team", Kind: sluice.KindModel, Name: "m", Version: "1"},
		"revision u-1 of deployment b of endpoint a": {Workspace: "default", Kind: sluice.KindRevision, Name: "a/b", Version: "u-1"},
		"code container c":                           {Workspace: "default", Kind: sluice.KindCodeContainer, Name: "c"},
	} {
		if got := describe(key); got != want {
			t.Errorf("describe(%#v) = %q, want %q", key, got, want)
		}
	}
}
