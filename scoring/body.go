package scoring

import (
	"errors"
	"io"
	"math/bits"
	"sync"

	"github.com/sluice-ml/sluice/scoring/frame"
)

// Errors of reading a body that callers tell apart.
var (
	errTooLarge = errors.New("body is larger than allowed")
	errNoMemory = errors.New("no memory is left for bodies")
)

// body is what a client sent: in a buffer when it is small, in a segment when
// it goes to the worker by descriptor. It is owned by one side at a time and
// given back with release.
type body struct {
	inline  []byte
	segment *segment // nil for inline
	length  int64
	shelf   *shelf
}

func (b *body) release() {
	was := *b
	*b = body{}
	switch {
	case was.shelf == nil:
	case was.segment != nil:
		was.shelf.put(was.segment)
	default:
		was.shelf.small.Put(&was.inline)
	}
}

// shelf keeps segments and buffers for use again, and bounds the memory of all
// bodies together. It may be used from any goroutine.
type shelf struct {
	small sync.Pool // *[]byte

	mu   sync.Mutex
	free map[int][]*segment // by size; guarded by mu
	idle int64              // bytes in free; guarded by mu
	used int64              // bytes in use; guarded by mu
	most int64              // of used
}

// keepIdle bounds the bytes of segments that nobody uses.
const keepIdle = 64 << 20

const smallestSegment = 256 << 10

func newShelf(most int64) *shelf {
	return &shelf{
		small: sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }},
		free:  map[int][]*segment{},
		most:  most,
	}
}

// segmentSize gives the size of the segment that holds n bytes: a power of two.
func segmentSize(n int64) int {
	return 1 << bits.Len64(uint64(max(n, smallestSegment)-1))
}

func (s *shelf) get(n int64) (*segment, error) {
	size := segmentSize(n)
	s.mu.Lock()
	if s.used+int64(size) > s.most {
		s.mu.Unlock()
		return nil, errNoMemory
	}
	s.used += int64(size)
	if l := s.free[size]; len(l) > 0 {
		seg := l[len(l)-1]
		s.free[size] = l[:len(l)-1]
		s.idle -= int64(size)
		s.mu.Unlock()
		return seg, nil
	}
	s.mu.Unlock()
	seg, err := newSegment(size)
	if err != nil {
		s.mu.Lock()
		s.used -= int64(size)
		s.mu.Unlock()
		return nil, err
	}
	return seg, nil
}

func (s *shelf) put(seg *segment) {
	s.mu.Lock()
	s.used -= int64(seg.size)
	keep := s.idle+int64(seg.size) <= keepIdle
	if keep {
		s.free[seg.size] = append(s.free[seg.size], seg)
		s.idle += int64(seg.size)
	}
	s.mu.Unlock()
	if !keep {
		seg.close()
	}
}

// close gives back what nobody uses.
func (s *shelf) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.free {
		for _, seg := range l {
			seg.close()
		}
	}
	clear(s.free)
	s.idle = 0
}

// read takes a whole body from r. length is what the client said, -1 when it
// did not. Large bodies go straight into the memory the worker will map.
func (s *shelf) read(r io.Reader, length, limit int64) (body, error) {
	if length > limit {
		return body{}, errTooLarge
	}
	if length >= frame.MaxInline {
		return s.readLarge(r, nil, length, limit)
	}
	held, _ := s.small.Get().(*[]byte)
	buf := (*held)[:0]
	if length >= 0 && cap(buf) < int(length) {
		buf = make([]byte, 0, length)
	}
	for {
		if length >= 0 && int64(len(buf)) == length {
			return body{inline: buf, length: length, shelf: s}, nil
		}
		if len(buf) == frame.MaxInline {
			b, err := s.readLarge(r, buf, 2*frame.MaxInline, limit)
			s.small.Put(&buf)
			return b, err
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), frame.MaxInline)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) && (length < 0 || int64(len(buf)) == length) {
			if len(buf) == frame.MaxInline {
				b, err := s.readLarge(noBytes{}, buf, frame.MaxInline, limit)
				s.small.Put(&buf)
				return b, err
			}
			return body{inline: buf, length: int64(len(buf)), shelf: s}, nil
		}
		if err != nil {
			s.small.Put(&buf)
			return body{}, err
		}
	}
}

// readLarge reads a body into a segment, after the bytes in start. guess is how
// long it may become; a body that grows beyond its segment moves to a larger one.
func (s *shelf) readLarge(r io.Reader, start []byte, guess, limit int64) (body, error) {
	seg, err := s.get(guess)
	if err != nil {
		return body{}, err
	}
	n := int64(copy(seg.data, start))
	for {
		if n > limit {
			s.put(seg)
			return body{}, errTooLarge
		}
		if n == int64(seg.size) {
			// Full: either this was all, or a larger one is needed.
			var one [1]byte
			m, err := io.ReadFull(r, one[:])
			if errors.Is(err, io.EOF) {
				return body{segment: seg, length: n, shelf: s}, nil
			}
			if err != nil {
				s.put(seg)
				return body{}, err
			}
			larger, err := s.get(2 * n)
			if err != nil {
				s.put(seg)
				return body{}, err
			}
			copy(larger.data, seg.data)
			n += int64(copy(larger.data[n:], one[:m]))
			s.put(seg)
			seg = larger
			continue
		}
		m, err := r.Read(seg.data[n:])
		n += int64(m)
		if errors.Is(err, io.EOF) {
			if n > limit {
				s.put(seg)
				return body{}, errTooLarge
			}
			return body{segment: seg, length: n, shelf: s}, nil
		}
		if err != nil {
			s.put(seg)
			return body{}, err
		}
	}
}

// noBytes is a reader at its end.
type noBytes struct{}

func (noBytes) Read([]byte) (int, error) { return 0, io.EOF }
