package scoring

import (
	"sync/atomic"
	"unsafe"

	"github.com/sluice-ml/sluice/scoring/frame"
)

// page is the memory a worker shares with the server, so that the server can
// look inside at any moment, also after the worker's death:
//
//	word 0  when the running request began, CLOCK_MONOTONIC in ns
//	word 1  id of the request that is running, or ran last
//	word 2  id of the request that should be interrupted; the server writes it
//	word 3  generation of the outbox: changes before its bytes are written over
//	word 4  bytes of the outbox that hold answers not sent yet
//	byte 64 one cancel byte for each slot; the server writes them
//	byte 4096 the outbox
//
// A worker may write anything here. Nothing read from it is believed further
// than for the requests that this worker was given.
type page struct {
	memory *segment
}

const (
	slots      = 32 // requests a worker may be given at once
	outboxAt   = 4096
	outboxSize = 256 << 10
	cancelAt   = 64
)

func newPage() (*page, error) {
	memory, err := newSegment(outboxAt + outboxSize)
	if err != nil {
		return nil, err
	}
	return &page{memory: memory}, nil
}

func (p *page) word(i int) *uint64 {
	// The mapping begins at a page boundary, so the word is aligned.
	return (*uint64)(unsafe.Pointer(&p.memory.data[i*8]))
}

// running gives the id inside run() and when it began. The worker writes the
// start before the id; reading in the opposite order never pairs a new id with
// an old start.
func (p *page) running() (id uint64, startNS int64) {
	for range 3 {
		id = atomic.LoadUint64(p.word(1))
		startNS = int64(atomic.LoadUint64(p.word(0)))
		if atomic.LoadUint64(p.word(1)) == id {
			return id, startNS
		}
	}
	return 0, 0
}

func (p *page) interrupt(id uint64) { atomic.StoreUint64(p.word(2), id) }

func (p *page) cancel(slot int, on byte) { p.memory.data[cancelAt+slot] = on }

// answers gives the responses in the outbox. While the worker lives it may send
// them at the same moment, so the caller must not mind a response that it has
// already seen; a copy that was overtaken comes back empty.
func (p *page) answers() []frame.Frame {
	generation := atomic.LoadUint64(p.word(3))
	length := min(atomic.LoadUint64(p.word(4)), outboxSize)
	if length == 0 {
		return nil
	}
	buf := make([]byte, length)
	copy(buf, p.memory.data[outboxAt:outboxAt+length])
	if atomic.LoadUint64(p.word(3)) != generation {
		return nil
	}
	var out []frame.Frame
	for len(buf) > 0 {
		f, n, err := frame.Decode(buf)
		if err != nil || f.Type != frame.Response || f.Flags&(frame.FlagDescriptor|frame.FlagStream) != 0 {
			return out
		}
		out = append(out, f)
		buf = buf[n:]
	}
	return out
}

func (p *page) close() { p.memory.close() }
