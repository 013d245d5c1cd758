package api

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/arm"
)

// A client that takes nothing ends the stream; one that is only sent little
// does not.
func TestAStreamEndsWhenNobodyReads(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		ended := make(chan error, 1)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out := newStream(w, 200*time.Millisecond)
			block := make([]byte, 1<<20)
			for {
				if err := out.send(block); err != nil {
					ended <- err
					return
				}
			}
		}))
		s.EnableHTTP2 = http2
		s.StartTLS()
		resp, err := s.Client().Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if !http2 && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("HTTP/2 %v: ended with %v", http2, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("HTTP/2 %v: the stream goes on", http2)
		}
		resp.Body.Close()
		s.Close()
	}
}

// pieces is a log that gives what it has in random pieces.
type pieces struct {
	all []byte
	at  int
}

func (l *pieces) Read(p []byte) (int, error) {
	if l.at == len(l.all) {
		return 0, io.EOF
	}
	n := copy(p[:1+rand.IntN(len(p))], l.all[l.at:])
	l.at += n
	return n, nil
}

func (l *pieces) Close() error             { return nil }
func (l *pieces) Lost() bool               { return false }
func (l *pieces) Position(back int) string { return strings.Repeat("i", l.at-back) }

// However a log is read, its records are the lines, and each says where to go
// on behind it.
func TestRecordsAreTheLog(t *testing.T) {
	for range 200 {
		var all []byte
		for range rand.IntN(6) {
			all = append(append(all, bytes.Repeat([]byte{'a' + byte(rand.IntN(3))}, rand.IntN(300))...), '\n')
		}
		all = append(all, bytes.Repeat([]byte{'z'}, rand.IntN(3))...)
		var got []byte
		err := readRecords(&pieces{all: all}, "i", func(block []byte) error {
			for line := range bytes.Lines(block) {
				fields := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
				got = append(got, fields[3]...)
				if arm.LogKind(fields[2][0]) == arm.LogLine {
					got = append(got, '\n')
				}
				if at := len(bytes.Trim(fields[1], "-")); at != len(got) {
					t.Fatalf("behind %d bytes the position is %d", len(got), at)
				}
			}
			return nil
		})
		if err != nil || !bytes.Equal(got, all) {
			t.Fatalf("%v: %q became %q", err, all, got)
		}
	}
}
