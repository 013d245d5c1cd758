package scoring

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/scoring/frame"
)

// What a worker says of its failed start is the script's to forge: whatever is
// in it, it stays small, and the server comes to its end.
func TestForgedCauseIsBounded(t *testing.T) {
	long := strings.Repeat("\x1b\"\\", 20_000)
	forged := sluice.Cause{Code: sluice.CauseCode(long), Message: long, File: long, Hint: long, Instance: long,
		Evidence: slices.Repeat([]string{"\x1b[2J"}, 100_000)}
	meta, err := json.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{pool: NewPool(Settings{}, NewLog(io.Discard, 1)), phase: PhaseImport}
	if err := w.advance(frame.Frame{Type: frame.Failed, Meta: meta}); err != nil {
		t.Fatal(err)
	}
	if n := len(w.failed.Message) + len(w.failed.Evidence); n > 10_000 || strings.Contains(w.failed.Message, "\x1b") {
		t.Errorf("the cause is kept as it was sent: %d", n)
	}
	for _, cause := range []*sluice.Cause{&forged, w.failed} {
		short := *cause
		short.Evidence = short.Evidence[:min(len(short.Evidence), 50)]
		text, err := encodeTermination(&short)
		var back sluice.Cause
		if err != nil || len(text) > MaxTermination || json.Unmarshal(text, &back) != nil {
			t.Errorf("the termination file has %d bytes, %v", len(text), err)
		}
	}
}
