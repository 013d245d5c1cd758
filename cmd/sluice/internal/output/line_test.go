package output

import (
	"bytes"
	"testing"
)

func TestPrintLine(t *testing.T) {
	doc := []any{Map{{Key: "b", Value: "x\n\x1b\u009b<"}, {Key: "a", Value: []any{int64(1), nil}}}, Map{{Key: "b", Value: "y"}}}
	for query, want := range map[string]string{
		"":            `{"b":"x\n\u001b\u009b<","a":[1,null]}` + "\n" + `{"b":"y"}` + "\n",
		"[?a].b":      `"x\n\u001b\u009b<"` + "\n",
		"[?a == 'z']": "",
		"[0].none":    "",
		"length(@)":   "2\n",
	} {
		var b bytes.Buffer
		if err := PrintLine(&b, doc, query); err != nil || b.String() != want {
			t.Errorf("%s gives %q, %v; want %q", query, b.String(), err, want)
		}
	}
}
