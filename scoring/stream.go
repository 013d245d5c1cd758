package scoring

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/sluice-ml/sluice/scoring/frame"
)

// stream is a body that comes in pieces: from the goroutine that reads a
// worker, to the one that answers the client. A client that is slow to read
// makes the worker wait, which makes its script wait.
type stream struct {
	chunks chan []byte // closed at the end
	began  time.Time
	ran    time.Duration // run() alone
	left   func()        // tells the pool that nobody reads any more

	once sync.Once
	gone chan struct{} // closed when nobody reads any more

	ended bool  // guarded by the pool's mutex
	err   error // how it ended; set before chunks is closed
}

// chunksAhead bounds the pieces, of less than frame.MaxInline bytes each, that
// a worker may be ahead of its client.
const chunksAhead = 8

var errStreamBroken = errors.New("the script failed while its answer was on its way")

func newStream(ran time.Duration) *stream {
	return &stream{chunks: make(chan []byte, chunksAhead), began: time.Now(), ran: ran, gone: make(chan struct{})}
}

// leave says that nobody reads any more. It may be called more than once.
func (s *stream) leave() { s.once.Do(func() { close(s.gone); s.left() }) }

// finish ends the stream. Callers hold the pool's mutex.
func (s *stream) finish(err error) {
	if !s.ended {
		s.ended, s.err = true, err
		close(s.chunks)
	}
}

// beginStream answers a call with a head whose body follows. The call keeps its
// slot until the last chunk is there. Callers hold the mutex.
func (w *worker) beginStream(slot int, r result) {
	c := w.pending[slot]
	c.stream = newStream(r.ran)
	c.stream.left = func() {
		w.pool.mu.Lock()
		defer w.pool.mu.Unlock()
		if w.pending[slot] == c {
			w.page.cancel(slot, 1) // the script's generator is left alone then
		}
	}
	if c.answered || c.abandoned {
		c.stream.once.Do(func() { close(c.stream.gone) })
		w.page.cancel(slot, 1)
	}
	r.stream, r.body = c.stream, nil
	c.answer(r)
}

// passChunk hands on a piece of a body, or its end. Callers hold the mutex,
// which is given back while a client is waited for.
func (w *worker) passChunk(f frame.Frame, file *os.File) error {
	if file != nil {
		_ = file.Close() // pieces are small
		return errors.New("worker passed a file with a piece of an answer")
	}
	slot := int(f.Slot)
	if slot >= slots || w.pending[slot] == nil || w.pending[slot].id != f.ID || w.pending[slot].stream == nil {
		return errors.New("worker sent a piece of an answer that it has not begun")
	}
	c := w.pending[slot]
	if len(f.Body) == 0 {
		w.endStream(slot, f)
		return nil
	}
	data := append([]byte(nil), f.Body...)
	select {
	case <-c.stream.gone:
		return nil
	case c.stream.chunks <- data:
		return nil
	default:
	}
	w.pool.mu.Unlock()
	defer w.pool.mu.Lock()
	select {
	case c.stream.chunks <- data:
	case <-c.stream.gone:
	case <-w.over:
		return errors.New("worker ended while a client was reading its answer")
	}
	return nil
}

// endStream settles a call whose body is there to its end. Callers hold the
// mutex.
func (w *worker) endStream(slot int, f frame.Frame) {
	c := w.free(slot, false)
	s := c.stream
	w.pace.observe(s.ran + time.Since(s.began))
	w.judge(c, f.Outcome, append([]byte(nil), f.Meta...))
	if f.Outcome == frame.OK {
		s.finish(nil)
	} else {
		s.finish(errStreamBroken)
	}
	if f.ID == w.stopped {
		w.stopped = 0
	}
	if f.Outcome == frame.Exited {
		w.exited = true
		w.leave()
	}
}
