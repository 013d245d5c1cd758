package gateway

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// maxKeep is how long a request's body may be, in bytes, to be kept for a
// second try.
const maxKeep = 64 << 10

var errTooLarge = errors.New("the request's body is too long")

// payload is a request's body on its way to an instance: none, kept whole, or
// streamed as it comes.
type payload struct {
	whole  []byte  // when kept
	stream *stream // when not
}

// open gives a reader for one try.
func (p payload) open() io.ReadCloser {
	switch {
	case p.stream != nil && p.stream.state.Load() == streamEnded:
		return io.NopCloser(bytes.NewReader(p.stream.kept))
	case p.stream != nil:
		return p.stream
	case len(p.whole) > 0:
		return io.NopCloser(bytes.NewReader(p.whole))
	}
	return nil
}

// again reports whether the body can be sent once more.
func (p payload) again() bool {
	return p.stream == nil || !p.stream.begun.Load() || p.stream.state.Load() == streamEnded
}

// How far a stream has come.
const (
	streamRunning = iota
	streamEnded   // all of it came, and is kept
	streamGone    // all of it came, and is too long to keep
	streamLarge   // it went over the limit
	streamFailed  // the caller did not send it all
)

// stream reads a body as it comes, bounds it, and keeps it as long as it is
// short. One goroutine reads; any may look at state and begun.
type stream struct {
	from  io.Reader
	left  int64 // bytes it may still have
	kept  []byte
	count atomic.Int64
	begun atomic.Bool
	state atomic.Int32

	mu     sync.Mutex // guards closed
	closed bool       // the request has ended: the connection is another's
}

func (s *stream) Read(p []byte) (int, error) {
	s.begun.Store(true)
	n, err := s.from.Read(p)
	s.count.Add(int64(n))
	if s.left -= int64(n); s.left < 0 {
		s.state.Store(streamLarge)
		return 0, errTooLarge
	}
	short := s.count.Load() <= maxKeep
	if short {
		s.kept = append(s.kept, p[:n]...)
	} else {
		s.kept = nil
	}
	switch {
	case err == io.EOF && short:
		s.state.Store(streamEnded)
	case err == io.EOF:
		s.state.Store(streamGone)
	case err != nil:
		s.state.Store(streamFailed)
	}
	return n, err
}

// interrupt calls stop, which ends a read in progress, if there may be one.
func (s *stream) interrupt(stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.state.Load() == streamRunning {
		stop()
	}
}

// over ends the time in which interrupt has an effect.
func (s *stream) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// Close leaves the body open: it belongs to the server's side, and a second
// try may want it.
func (s *stream) Close() error { return nil }
