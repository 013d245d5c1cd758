package output

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

// A result holds what models and other users wrote. No format lets it steer a
// terminal, and none changes it for a program that reads it.
func TestNothingSteersTheTerminal(t *testing.T) {
	hostile := "a\x1b]0;title\x07b\u009b2Jc\x7fd\u0085e"
	doc := Map{{"key\u009b", hostile}}
	for _, format := range Formats() {
		var b bytes.Buffer
		if err := Print(&b, doc, Options{Format: format, Terminal: true}); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
			t.Errorf("%s prints %q", format, b.String())
		}
	}
	var b bytes.Buffer
	if err := Print(&b, hostile, Options{Format: JSON}); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back != hostile {
		t.Errorf("JSON gives %q back as %q, %v", hostile, back, err)
	}
	b.Reset()
	if err := Print(&b, hostile, Options{Format: TSV}); err != nil || b.String() != hostile+"\n" {
		t.Errorf("TSV for a program gives %q, %v", b.String(), err)
	}
}
