package api

import (
	"net/http"
	"sync/atomic"
	"time"
)

// What somebody without a credential gets: little time, and little of our log.
const (
	// strangerTime is how long the body of such a request may take. The library
	// reads it before the refusal is sent, else for as long as the caller likes.
	strangerTime = time.Second / 4
	// strangerLines is how many such requests are logged in a second.
	strangerLines = 20
)

// hurry bounds how long the request's body may take, until trust lifts that.
func (s *server) hurry(w http.ResponseWriter, r *request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(strangerTime))
	}
}

// trust lets the body take its time: the caller may send it.
func (s *server) trust(w http.ResponseWriter, r *request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
}

// logRefusal tells of a request that was refused.
func (s *server) logRefusal(r *request, status int, err error) {
	args := []any{"id", r.id, "method", shorten(r.Method), "path", shorten(r.URL.Path),
		"status", status, "by", r.actor.Name, "error", err.Error()}
	if status == http.StatusUnauthorized {
		unsaid, ok := s.refusals.take(time.Now().Unix())
		if !ok {
			return
		}
		if unsaid > 0 {
			args = append(args, "linesLeftOut", unsaid)
		}
	}
	s.Logger.Info("request refused", args...)
}

// quota bounds how many lines are written in a second. Two requests that meet
// at the turn of a second may let a line more or less through, which is fine.
type quota struct {
	second, lines, unsaid atomic.Int64
}

// take reports whether a line may be written in this second, and how many were
// left out since the last one.
func (q *quota) take(second int64) (unsaid int64, ok bool) {
	if q.second.Swap(second) != second {
		q.lines.Store(0)
	}
	if q.lines.Add(1) > strangerLines {
		q.unsaid.Add(1)
		return 0, false
	}
	return q.unsaid.Swap(0), true
}
