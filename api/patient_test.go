package api

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// A body that stops coming ends; one that only comes slowly does not.
func TestPatient(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		ended := make(chan error, 1)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := newPatient(w, &request{Request: r})
			p.stall = 200 * time.Millisecond
			_, err := io.Copy(io.Discard, p)
			ended <- err
		}))
		s.EnableHTTP2 = http2
		s.StartTLS()
		defer s.Close()
		send := func(body io.Reader) {
			req, err := http.NewRequest("PUT", s.URL, body)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := s.Client().Do(req); err == nil {
				resp.Body.Close()
			}
		}
		r, w := io.Pipe()
		go send(r)
		tick := time.NewTicker(50 * time.Millisecond)
		for range 8 { // twice as long as one may stall
			<-tick.C
			w.Write([]byte("x"))
		}
		tick.Stop()
		select {
		case err := <-ended:
			t.Errorf("HTTP/2 %v: a slow body ended: %v", http2, err)
		default:
			if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("HTTP/2 %v: a body that stalled ended with %v", http2, err)
			}
		}
		w.Close()
	}
}
