package scoring

import (
	"errors"
	"os"
	"time"

	"github.com/sluice-ml/sluice/scoring/frame"
)

// errNotStarted says that run() was not and will not be called for a request,
// so that somebody else may be asked.
var errNotStarted = errors.New("request was not started")

// call is one request on its way through the pool. The pool owns it from
// Submit on; only done may be touched by the caller then.
type call struct {
	id      uint64
	get     bool
	json    bool // the client says that the body is
	query   string
	request string // its id, as the client knows it
	headers []byte // "name\0value\0name\0value", nil when the script wants none; of a model of MLflow, how it is called
	whole   []byte // "method\0path\0protocol\0address", nil likewise
	body    body
	done    chan result // receives exactly once

	// The rest is guarded by the pool's mutex.
	answered  bool
	abandoned bool // nobody waits any more
	judged    bool // what became of it is noted already
	replays   int
	stream    *stream // the answer, when it comes in pieces
}

// result is what came of a call.
type result struct {
	outcome frame.Outcome
	head    []byte   // "status\0name\0value…", nil when the server makes it
	body    []byte   // JSON, or what belongs to the head
	stream  *stream  // instead of body when it comes in pieces
	file    *os.File // instead of body when it is large; the receiver closes it
	length  int64
	ran     time.Duration // run() alone
	status  int           // of a BadInput; 0 for the usual one
	pid     int           // of the worker; 0 when none was asked
	err     error         // errNotStarted, errCrashed; the outcome says nothing then
}

var errCrashed = errors.New("worker ended while it ran the request")

func (c *call) frame(slot int, t *takes) frame.Frame {
	f := frame.Frame{Type: frame.Request, Slot: uint8(slot), ID: c.id}
	if t != nil && t.Whole && c.whole != nil {
		f.Flags |= frame.FlagWhole
		f.Meta = append(append(append(f.Meta, c.whole...), 0), c.query...)
	} else if c.get {
		f.Meta = append(f.Meta, c.query...)
	}
	if c.get {
		f.Flags |= frame.FlagGet
	}
	if c.json {
		f.Flags |= frame.FlagJSON
	}
	if c.headers != nil {
		f.Meta = append(append(f.Meta, 0), c.headers...)
	}
	if c.body.segment != nil {
		f.Flags |= frame.FlagDescriptor
		f.BodyLen = uint64(c.body.length)
	} else {
		f.Body = c.body.inline
	}
	return f
}

// size is how many bytes the call puts onto a worker's socket, nearly.
func (c *call) size() int {
	return frame.HeaderSize + len(c.headers) + len(c.whole) + len(c.query) + len(c.body.inline)
}

// answer settles a call. Callers hold the pool's mutex.
func (c *call) answer(r result) {
	if c.answered || c.abandoned {
		c.answered = true
		if r.file != nil {
			_ = r.file.Close() // nobody is left to read it
		}
		return
	}
	c.answered = true
	c.done <- r
}
