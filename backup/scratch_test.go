package backup

import "testing"

// A maker may be killed while it writes the mark.
func TestMarks(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, ".b.unf": true, ".b.unfinished-1": true, ".b.unfinished-1\n": true, ".b.unfinished-1\nb": true,
		"b\n": false, ".b.unfinished-12": false, ".b.unfinished-2\n.b": false, "x": false,
	} {
		if got := isMarked(text, ".b.unfinished-1"); got != want {
			t.Errorf("a mark that says %q: %v", text, got)
		}
	}
}
