package output

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func item(key string, value any) Entry { return Entry{Key: key, Value: value} }

var iris = Map{
	item("id", "/subscriptions/x"), item("name", "iris"), item("auth_mode", "key"),
	item("traffic", map[string]int{"green": 10, "blue": 90}),
	item("properties", Map{item("azureml.onlineendpointid", "/id")}),
	item("tags", Map{}), item("count", 2), item("on", true), item("note", nil),
}

func TestPrint(t *testing.T) {
	rose := Map{item("name", "rose"), item("auth_mode", "key"), item("scoring_uri", "https://localhost/ünï")}
	tests := []struct {
		name   string
		value  any
		format Format
		query  string
		want   string
	}{
		{"json keeps the order of keys", Map{item("b", 1), item("a", []any{1.5, "x<y"}), item("e", Map{}), item("l", []any{})}, JSON, "",
			"{\n  \"b\": 1,\n  \"a\": [\n    1.5,\n    \"x<y\"\n  ],\n  \"e\": {},\n  \"l\": []\n}\n"},
		{"a string is quoted", "[0, 1]", JSON, "", "\"[0, 1]\"\n"},
		{"a string is raw", "[0, 1]", TSV, "", "[0, 1]\n"},
		{"none prints nothing", iris, None, "", ""},
		{"a key with dots", iris, TSV, `properties."azureml.onlineendpointid"`, "/id\n"},
		{"a null result prints nothing", iris, JSON, "absent", ""},
		{"a whole number stays whole", iris, JSON, "count", "2\n"},
		{"numbers compare", []any{iris, rose}, TSV, "[?count>`1`].name", "iris\n"},
		{"the order of a map the query made", iris, TSV, "{Z:name, A:count}", "iris\t2\n"},
		{"the order of a map the query found", iris, YAML, "[@]|[0].{traffic:traffic}", "traffic:\n  blue: 90\n  green: 10\n"},
		{"tsv of a list", []any{iris, rose}, TSV, "[].[name,tags,note,on]", "iris\t\tNone\ttrue\nrose\tNone\tNone\tNone\n"},
		{"a pipe takes the first", []any{iris, rose}, TSV, "[?name=='rose'].name | [0]", "rose\n"},
		{"a filter by text", []any{iris, rose}, TSV, "length([?starts_with(name, 'i')])", "1\n"},
		{"a struct", struct {
			B int    `json:"b"`
			A string `json:"a"`
		}{1, "x"}, JSON, "", "{\n  \"b\": 1,\n  \"a\": \"x\"\n}\n"},
		{"a struct's large number", struct{ N int64 }{1 << 60}, TSV, "", "1152921504606846976\n"},
		{"table", []any{iris, rose}, Table, "", "" +
			"Name  Auth_mode  Traffic           Properties                    Count  On    Scoring_uri\n" +
			"----  ---------  ----------------  ----------------------------  -----  ----  ---------------------\n" +
			"iris  key        blue=90 green=10  azureml.onlineendpointid=/id  2      true\n" +
			"rose  key                                                                     https://localhost/ünï\n"},
		{"table of lists", []any{iris}, Table, "[].[name, count]", "Column1  Column2\n-------  -------\niris     2\n"},
		{"table of a scalar", iris, Table, "name", "Result\n------\niris\n"},
		{"table asked for the id", iris, Table, "{id:id}", "Id\n----------------\n/subscriptions/x\n"},
		{"table of nothing", []any{}, Table, "", ""},
		{"table with a reference by id", Map{item("model", "azureml:/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/models/iris/versions/3")}, Table, "",
			"Model\n--------------\nazureml:iris:3\n"},
		{"no escape sequence reaches a table", Map{item("a", "x\x1b[2Jy\nz")}, Table, "", "A\n--------\nx [2Jy z\n"},
		{"jsonc without colour", iris, JSONC, "{a:name}", "{\n  \"a\": \"iris\"\n}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Print(&b, tt.value, Options{Format: tt.format, Query: tt.query}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestColor(t *testing.T) {
	doc := Map{item("name", "iris"), item("num", int64(1)), item("uri", "https://x:1")}
	for _, tt := range []struct {
		format Format
		want   string
	}{
		{JSONC, "{\n  \x1b[34m\"name\"\x1b[0m: \x1b[32m\"iris\"\x1b[0m,\n  \x1b[34m\"num\"\x1b[0m: \x1b[33m1\x1b[0m,\n  \x1b[34m\"uri\"\x1b[0m: \x1b[32m\"https://x:1\"\x1b[0m\n}\n"},
		{YAMLC, "\x1b[34mname\x1b[0m: \x1b[32miris\x1b[0m\n\x1b[34mnum\x1b[0m: \x1b[33m1\x1b[0m\n\x1b[34muri\x1b[0m: \x1b[32mhttps://x:1\x1b[0m\n"},
	} {
		var b bytes.Buffer
		if err := Print(&b, doc, Options{Format: tt.format, Color: true}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("%s: %s", tt.format, diff)
		}
	}
}

// What is printed as YAML reads back as the same document, whatever the text
// in it looks like.
func TestYAMLReadsBack(t *testing.T) {
	doc := Map{}
	for _, text := range []string{"1.0", "1", "true", "no", "null", "~", "", " x ", "a: b", "# c", "- d", "x\ny\n", "x\n\n", "0x10", "1e3", "é", "\t", "'", `"`, "{a}", "[1]", "*a", "&a", "!t", "%", "@x", "`", "azureml:a:1", "multi\n  line\nend", "2001-01-01", "\x1b[0m", ": ", "a #b", "|", ">"} {
		doc = append(doc, item("k"+text, text))
	}
	doc = append(doc, item("n", int64(1)), item("f", 0.5), item("l", []any{"a", Map{item("b", "1")}}), item("e", []any{}))
	var b bytes.Buffer
	if err := Print(&b, doc, Options{Format: YAML}); err != nil {
		t.Fatal(err)
	}
	var back yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(b.Bytes(), &back, yaml.UseOrderedMap()); err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	if diff := cmp.Diff(plainMap(doc), back.ToMap()); diff != "" {
		t.Errorf("%s in\n%s", diff, b.String())
	}
}

// plainMap gives the document as the YAML library reads it.
func plainMap(m Map) map[any]any {
	out := map[any]any{}
	for _, e := range m {
		out[e.Key] = plainValue(e.Value)
	}
	return out
}

func plainValue(v any) any {
	switch v := v.(type) {
	case int64:
		return uint64(v)
	case Map:
		var out yaml.MapSlice
		for _, e := range v {
			out = append(out, yaml.MapItem{Key: e.Key, Value: plainValue(e.Value)})
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plainValue(v[i])
		}
		return out
	}
	return v
}

func FuzzYAMLReadsBack(f *testing.F) {
	for _, seed := range []string{"a", "1.0", "x\n y\n", "\x00", "- a", "\u0085", "\ufeff", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		var b bytes.Buffer
		if err := Print(&b, Map{item("key", text), item("list", []any{text, Map{item("a", text)}})}, Options{Format: YAML}); err != nil {
			t.Fatal(err)
		}
		var back struct {
			Key  string
			List []any
		}
		if err := yaml.Unmarshal(b.Bytes(), &back); err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
		if back.Key != text || back.List[0] != text {
			t.Errorf("%q came back as %q and %q from\n%s", text, back.Key, back.List[0], b.String())
		}
	})
}

func TestQueryRefuses(t *testing.T) {
	for _, query := range []string{"[", "name.", "nosuch(@)", "sum(name)"} {
		err := Print(&bytes.Buffer{}, iris, Options{Format: JSON, Query: query})
		if sluice.ErrorCode(err) != sluice.CodeInvalid {
			t.Errorf("%s: got %v, want an invalid error", query, err)
		}
	}
}
