package scoring

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/scoring/frame"
)

// worker is one Python process, from its start to its end. All fields below
// the first group are guarded by the pool's mutex.
type worker struct {
	pool    *Pool
	pid     int
	process *process
	conn    *net.UnixConn
	page    *page
	faults  *faults

	phase   Phase
	since   time.Time    // of the phase
	stack   []stackFrame // where its start, or a run() over its limit, stood last
	asks    *time.Timer  // for the next question where it stands
	asking  bool         // one is under way
	pending [slots]*call
	count   int           // of pending
	bytes   int           // of their frames
	large   bool          // one with a descriptor is pending
	leaving bool          // gets nothing more
	exited  bool          // run() has ended the interpreter, and said so
	stopped uint64        // id of the request that is being interrupted; 0 for none
	failed  *sluice.Cause // what the worker said of its failed start
	pace    pace
	watch   *time.Timer
	watchAt time.Time // zero when the watch is off

	documents map[string][]byte // descriptions of the service that it has made
	over      chan struct{}     // closed a moment after the process has ended

	out     []byte     // frames to write
	files   []*os.File // to be passed with them
	spare   []byte
	writing bool
}

// maxHeld bounds the bytes that wait inside one worker. It is less than what
// the socket holds, so that writing never waits for a worker to read: the
// goroutine that writes may be the one that reads this worker's answers.
const maxHeld = 96 << 10

// room reports whether the worker may be given c now. Large bodies are never
// lined up: one that waits inside a worker gains nothing.
func (w *worker) room(c *call) bool {
	if w.phase != PhaseReady || w.leaving || w.stopped != 0 {
		return false
	}
	if w.count == 0 {
		return true
	}
	return c.body.segment == nil && !w.large && w.count < w.pace.depth() &&
		w.bytes+c.size() <= maxHeld
}

// give puts c into a free slot and its frame into the output; the caller
// flushes after it has released the mutex.
func (w *worker) give(c *call) {
	slot := slices.Index(w.pending[:], nil)
	f := c.frame(slot, w.pool.takes.Load())
	out, err := frame.Append(w.out, &f)
	if err != nil {
		// Only a head beyond every limit of the HTTP layer could do this.
		c.answer(result{err: fmt.Errorf("encoding request: %w", err)})
		c.body.release()
		return
	}
	w.out = out
	w.pending[slot] = c
	w.count++
	if c.body.segment != nil {
		w.files = append(w.files, c.body.segment.file)
		w.large = true
	}
	w.bytes += c.size()
	w.lookLater()
}

// free takes a call out of its slot; its body is given back unless it is kept
// for another worker.
func (w *worker) free(slot int, keep bool) *call {
	c := w.pending[slot]
	w.pending[slot] = nil
	w.count--
	if c.body.segment != nil {
		w.large = false
	}
	w.bytes -= c.size()
	w.page.cancel(slot, 0)
	if !keep {
		c.body.release()
	}
	return c
}

func (w *worker) slotOf(c *call) int { return slices.Index(w.pending[:], c) }

// flush writes what give has gathered. One goroutine writes at a time, for all
// others too; whoever comes meanwhile leaves its frame and goes.
func (w *worker) flush() {
	p := w.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.writing {
		return
	}
	w.writing = true
	for len(w.out) > 0 {
		buf, files := w.out, w.files
		w.out, w.files = w.spare[:0], nil
		p.mu.Unlock()
		err := send(w.conn, buf, files)
		p.mu.Lock()
		w.spare = buf[:0]
		if err != nil {
			// The reader sees the worker's end as well and puts things right.
			w.leaving = true
			break
		}
	}
	w.writing = false
}

// receive reads frames until the worker's side is closed. Any other end is the
// fault of the worker and is an error.
func (w *worker) receive() error {
	in := &inbox{conn: w.conn, buf: make([]byte, 256<<10)}
	defer in.close()
	for {
		if err := in.fill(); err != nil {
			// A reset is the end of one that had not read all it was sent.
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				return nil
			}
			return err
		}
		if err := w.handle(in); err != nil {
			return breach{err}
		}
	}
}

// handle takes every whole frame of the inbox, under one hold of the mutex.
func (w *worker) handle(in *inbox) error {
	p := w.pool
	p.mu.Lock()
	for {
		f, ok, err := in.next()
		if err != nil {
			p.mu.Unlock()
			return err
		}
		if !ok {
			break
		}
		file, err := in.file(f)
		if err != nil {
			p.mu.Unlock()
			return err
		}
		switch f.Type {
		case frame.Response:
			w.respond(f, file)
		case frame.Chunk:
			err = w.passChunk(f, file)
		case frame.Swagger:
			err = w.keepDocument(f, file)
		default:
			err = w.advance(f, file)
		}
		if err != nil {
			p.mu.Unlock()
			return err
		}
	}
	p.fill(w)
	p.mu.Unlock()
	w.flush()
	return nil
}

// respond settles the call that a response is for. A response that comes again
// (it was found in the outbox before) or too late finds no such call. Callers
// hold the mutex.
func (w *worker) respond(f frame.Frame, file *os.File) {
	slot := int(f.Slot)
	if slot >= slots || w.pending[slot] == nil || w.pending[slot].id != f.ID {
		if file != nil {
			_ = file.Close() // nobody waits for it
		}
		return
	}
	if w.pending[slot].stream != nil {
		return // its chunks are on their way
	}
	r := result{outcome: f.Outcome, length: int64(f.BodyLen), file: file, ran: time.Duration(f.NS), pid: w.pid}
	if f.Flags&frame.FlagHead != 0 {
		r.head = append([]byte(nil), f.Meta...)
	}
	if f.Flags&frame.FlagStream != 0 {
		w.beginStream(slot, r)
		return
	}
	if file == nil && len(f.Body) > 0 {
		r.body = append([]byte(nil), f.Body...)
	}
	if f.Outcome == frame.BadInput && f.ID == w.stopped {
		// MLflow's server takes the interruption for a failure of its own.
		f.Outcome, r.outcome, r.body = frame.TimedOut, frame.TimedOut, nil
	}
	switch f.Outcome {
	case frame.Canceled, frame.NotJSON:
	case frame.BadInput:
		r.status, r.ran = int(min(max(f.NS, 0), 599)), 0
	default:
		w.pace.observe(r.ran)
	}
	if file != nil && !hasBody(f.Outcome) {
		_ = file.Close() // such answers have no body that anybody reads
		r.file = nil
	}
	c := w.free(slot, false)
	w.judge(c, f.Outcome, r.body)
	c.answer(r)
	if f.ID == w.stopped {
		w.stopped = 0
	}
	if f.Outcome == frame.Exited {
		w.exited = true
		w.leave()
	}
}

// hasBody reports whether the body of an answer is for the client.
func hasBody(outcome frame.Outcome) bool {
	return outcome == frame.OK || outcome == frame.BadInput || outcome == frame.NotJSON
}

// judge notes what became of a request. Callers hold the mutex.
func (w *worker) judge(c *call, outcome frame.Outcome, said []byte) {
	p := w.pool
	switch {
	case c.judged:
	case c.id == w.stopped:
		stack := w.stack
		p.troubled(failure{request: c.request, counts: true, why: func() *sluice.Cause { return late(said, stack, p.settings) }})
	case outcome == frame.OK:
		p.troubles.succeed()
		if !p.served {
			p.served = true
			p.tell()
		}
		if p.troubles.told != nil {
			p.lookAtTrouble()
		}
	case outcome == frame.Canceled || outcome == frame.BadInput || outcome == frame.NotJSON: // the client's doing
	default:
		p.troubled(failure{request: c.request, counts: true, why: func() *sluice.Cause { return raised(said, p.settings) }})
	}
}

// send writes frames, with the files that belong to them. The kernel may take
// a part only; the files travel with the first.
func send(conn *net.UnixConn, buf []byte, files []*os.File) error {
	if len(files) > 0 {
		n, err := sendFiles(conn, buf, files)
		if err != nil {
			return err
		}
		buf = buf[n:]
	}
	_, err := conn.Write(buf)
	return err
}
