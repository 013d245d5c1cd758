package api

import (
	"net/http"
	"time"
)

// stallTime is how long an upload may go without a byte. Its connection is
// gone then, or nobody is at the other end; others may wait for the same part.
const stallTime = time.Minute

// patient reads the body of a request for as long as something comes.
type patient struct {
	control *http.ResponseController
	request *request
	stall   time.Duration
	until   time.Time // the deadline that is set
}

func newPatient(w http.ResponseWriter, r *request) *patient {
	return &patient{control: http.NewResponseController(w), request: r, stall: stallTime}
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	// Setting it each time would cost more than reading does.
	if now := time.Now(); p.until.Sub(now) < p.stall/2 {
		p.until = now.Add(p.stall)
		_ = p.control.SetReadDeadline(p.until) // a test's recorder has none
	}
	return p.request.Body.Read(b)
}
