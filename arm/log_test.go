package arm

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
)

// A record comes back as it was, and one that was forged inside a text stays a
// text.
func FuzzLogRecord(f *testing.F) {
	f.Add("a", "1:2", byte('|'), []byte("hello"))
	f.Add("", "", byte('.'), []byte("- - . "))
	f.Fuzz(func(t *testing.T, instance, position string, kind byte, text []byte) {
		if strings.ContainsAny(instance+position, " \n") || instance == "-" || position == "-" || position == "" || bytes.IndexByte(append(text, kind), '\n') >= 0 {
			return
		}
		r := LogRecord{Instance: instance, Position: position, Kind: LogKind(kind), Text: text}
		line := r.Append(nil)
		got, ok := parseLogRecord(line[:len(line)-1])
		if !ok || got.Instance != r.Instance || got.Position != r.Position || got.Kind != r.Kind || !bytes.Equal(got.Text, r.Text) {
			t.Errorf("%+v became %q and %+v", r, line, got)
		}
	})
}

// FuzzLogLine reads any line.
func FuzzLogLine(f *testing.F) {
	for _, line := range []string{"", " ", "a 1 |", "a 1 | x", "  | ", "a b cd e"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if r, ok := parseLogRecord(line); ok && r.Instance != "" && !bytes.Equal(r.Append(nil), append(bytes.Clone(line), '\n')) && r.Position != "" {
			t.Errorf("%q became %+v", line, r)
		}
	})
}

func stream(t *testing.T, answer string) (string, error) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }))
	defer s.Close()
	c, err := NewClient(Options{BaseURL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got strings.Builder
	var place LogPlace
	err = c.StreamLogs(context.Background(), "iris", "blue", LogAsk{}, &place, func(r LogRecord) error {
		got.Write(r.Text)
		return nil
	}, func() error { return nil })
	return got.String(), err
}

// A server that says nonsense is told from one that is gone.
func TestStreamsThatAreNone(t *testing.T) {
	const begun = "- - @ 5\n"
	for answer, want := range map[string]sluice.Code{
		begun + "\na 1 | x\n- - . \n":            "",
		begun + "a 1 | x\n":                      sluice.CodeUnavailable,
		begun + "a 1 | x":                        sluice.CodeUnavailable,
		"":                                       sluice.CodeUnavailable,
		"<html>":                                 sluice.CodeUnavailable,
		"<html>\n":                               sluice.CodeInternal,
		begun + strings.Repeat("x", maxRecord+1): sluice.CodeInternal,
		begun + "a 1 | " + strings.Repeat("x", 1<<20): sluice.CodeInternal,
	} {
		if _, err := stream(t, answer); sluice.ErrorCode(err) != want {
			t.Errorf("%.30q gave %v, want code %q", answer, err, want)
		}
	}
}

// However many instances come and go, the place is bounded, and what was
// dropped is not asked for again.
func TestAPlaceIsBounded(t *testing.T) {
	var p LogPlace
	p.note(LogRecord{Kind: LogBegins, Text: []byte("5")})
	for n := range 3 * maxPlaces {
		id := fmt.Sprint("i", n)
		p.note(LogRecord{Instance: id, Position: "0", Kind: LogJoined, Text: []byte(fmt.Sprint(1000 + n))})
		p.note(LogRecord{Instance: id, Position: "7", Kind: LogLine, Text: []byte("x")})
	}
	if len(p.order) != maxPlaces || len(p.after) != maxPlaces || p.since != 1000+2*maxPlaces-1 || p.after["i599"] != "7" {
		t.Errorf("%d and %d are kept, since %d", len(p.order), len(p.after), p.since)
	}
}
