package api

import (
	"net/http"
	"time"

	"github.com/sluice-ml/sluice/arm"
)

// stream is an answer that goes on. Each write is sent at once, and one that
// nobody takes for too long ends it.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	until   time.Time // the deadline that is set
	broken  bool
}

func newStream(w http.ResponseWriter, stall time.Duration) *stream {
	return &stream{w: w, control: http.NewResponseController(w), stall: stall}
}

func (s *stream) write(r arm.LogRecord) error { return s.send(r.Append(nil)) }

func (s *stream) send(block []byte) error {
	// Setting it each time would cost more than writing does.
	if now := time.Now(); s.until.Sub(now) < s.stall/2 {
		s.until = now.Add(s.stall)
		_ = s.control.SetWriteDeadline(s.until) // a test's recorder has none
	}
	_, err := s.w.Write(block)
	if err == nil {
		err = s.control.Flush()
	}
	s.broken = s.broken || err != nil
	return err
}

// end lets the connection serve the next request.
func (s *stream) end() {
	if !s.broken {
		_ = s.control.SetWriteDeadline(time.Time{})
	}
}
