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

// A body that stops coming ends; one that only comes slowly does not. The times
// leave room for a machine that is busy with other things.
func TestPatient(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testPatient(t, http2)
		})
	}
}

func testPatient(t *testing.T, http2 bool) {
	const stall = 2 * time.Second
	ended := make(chan error, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := newPatient(w, &request{Request: r})
		p.stall = stall
		_, err := io.Copy(io.Discard, p)
		ended <- err
	}))
	s.EnableHTTP2 = http2
	s.StartTLS()
	defer s.Close()
	r, w := io.Pipe()
	defer w.Close()
	go func() {
		req, err := http.NewRequest("PUT", s.URL, r)
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := s.Client().Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	tick := time.NewTicker(stall / 10)
	defer tick.Stop()
	for range 15 { // half as long again as one may stall
		<-tick.C
		w.Write([]byte("x"))
	}
	select {
	case err := <-ended:
		t.Errorf("a slow body ended: %v", err)
	default:
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a body that stalled ended with %v", err)
		}
	}
}
