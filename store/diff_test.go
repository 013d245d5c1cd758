package store

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func TestDiff(t *testing.T) {
	long := strings.Repeat("x", longestShown)
	for _, test := range []struct {
		name, before, after string
		want                []sluice.FieldChange
	}{
		{"nothing", `{"a":1,"b":{"c":[1,"x",null,true]}}`, `{"b":{"c":[1,"x",null,true]},"a":1}`, nil},
		{"a scalar", `{"a":1}`, `{"a":"1"}`, []sluice.FieldChange{{Path: "a", Old: "1", New: `"1"`}}},
		{"numbers beyond floats", `{"a":9007199254740993}`, `{"a":9007199254740992}`,
			[]sluice.FieldChange{{Path: "a", Old: "9007199254740993", New: "9007199254740992"}}},
		{"zero and false are values", `{}`, `{"a":0,"b":false}`, []sluice.FieldChange{{Path: "a", New: "0"}, {Path: "b", New: "false"}}},
		{"empty is absent", `{}`, `{"a":"","b":{},"c":[],"d":null}`, nil},
		{"gone", `{"a":{"b":"x"}}`, `{"a":{}}`, []sluice.FieldChange{{Path: "a.b", Old: `"x"`}}},
		{"a scalar becomes an object", `{"a":1}`, `{"a":{"b":2}}`, []sluice.FieldChange{{Path: "a", Old: "1"}, {Path: "a.b", New: "2"}}},
		{"elements", `{"a":[1,2]}`, `{"a":[1,3,{"b":4}]}`,
			[]sluice.FieldChange{{Path: "a[1]", Old: "2", New: "3"}, {Path: "a[2].b", New: "4"}}},
		{"odd keys", `{}`, `{"a b":{"x.y":"<"}}`, []sluice.FieldChange{{Path: `["a b"]["x.y"]`, New: `"<"`}}},
		{"a secret", `{"sealedPrimary":"a"}`, `{"sealedPrimary":"b"}`,
			[]sluice.FieldChange{{Path: "sealedPrimary", Old: concealed, New: concealed}}},
		{"a secret in any depth and shape", `{}`, `{"x":[{"EnvironmentVariables":{"a":{"b":["s"]}}}]}`,
			[]sluice.FieldChange{{Path: "x[0].EnvironmentVariables.a.b[0]", New: concealed}}},
		{"a long value", `{}`, `{"a":"` + long + `"}`, []sluice.FieldChange{{Path: "a", New: `"(8194 bytes)"`}}},
	} {
		got, err := diff([]byte(test.before), []byte(test.after))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
	}
	if got, err := diff(nil, []byte(`{"a":1}`)); err != nil || len(got) != 1 || got[0].New != "1" {
		t.Errorf("from nothing: %v, %v", got, err)
	}
	if _, err := diff([]byte(`{`), nil); err == nil {
		t.Error("broken JSON went through")
	}
}

// FuzzDiff checks what holds for any two documents: equal ones have no
// difference, the values are JSON, and there is none from under a secret key.
func FuzzDiff(f *testing.F) {
	f.Add(`{"a":1}`, `{"a":[1,{"b":"c"}]}`)
	f.Add(`{"environmentVariables":{"a":"hunter2"}}`, `{"environmentVariables":"hunter2"}`)
	f.Add(`{"a\"]":{"":{"sealedPrimary":["hunter2"]}}}`, `null`)
	f.Fuzz(func(t *testing.T, before, after string) {
		if !json.Valid([]byte(before)) || !json.Valid([]byte(after)) {
			return
		}
		if same, err := diff([]byte(before), []byte(before)); err != nil || len(same) != 0 {
			t.Fatalf("%s differs from itself: %v, %v", before, same, err)
		}
		hidden, err := plainJSON(map[string]any{"environmentVariables": json.RawMessage(before)})
		if err != nil {
			t.Fatal(err)
		}
		changes, err := diff([]byte(hidden), []byte(after))
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range changes {
			if i > 0 && changes[i-1].Path >= c.Path {
				t.Errorf("%q is not after %q", c.Path, changes[i-1].Path)
			}
			for _, v := range []string{c.Old, c.New} {
				if v != "" && !json.Valid([]byte(v)) {
					t.Errorf("%s: %q is not JSON", c.Path, v)
				}
			}
			if c.Old != "" && c.Old != concealed {
				t.Errorf("%s shows %s", c.Path, c.Old)
			}
		}
	})
}
