// Package frame is the wire between the scoring server and its Python workers.
//
// A frame is a header of [HeaderSize] bytes, little-endian, then its meta, then
// its body:
//
//	offset size field
//	     0    1 type      what the frame is, see [Type]
//	     1    1 flags     [FlagGet] and the others
//	     2    1 outcome   of a response, see [Outcome]; else 0
//	     3    1 slot      which cancel byte of the shared page is the request's
//	     4    4 meta length
//	     8    8 id        of the request; else 0
//	    16    8 ns        a response: how long run() took; of [BadInput] the HTTP
//	                      status, or 0 for the usual one; else 0
//	    24    8 body length
//
// With [FlagDescriptor] the body does not follow: it is the first bytes of the
// file whose descriptor was passed (SCM_RIGHTS) not later than the frame's
// first byte. Descriptors are used in the order in which they arrive. A body
// that follows is smaller than [MaxInline].
//
// The meta of a request is its query string, then, when the worker asked for
// headers, name and value of each, everything separated by a zero byte. With
// [FlagWhole] four more parts are in front of it: method, path as it was sent,
// version of HTTP, address of the client. A response has no meta, or with
// [FlagHead] its status, then name and value of each header, separated in the
// same way. The meta of all other frames is JSON.
//
// A response with [FlagStream] has no body: chunks follow, and the last one of
// them is empty. Its outcome says whether the stream is whole.
//
//	server                       worker
//	  LOAD   ──────────────────▶            what to serve (package scoring, load)
//	         ◀──────────────────  HELLO     protocol version, Python's version
//	         ◀──────────────────  PHASE     "import", then "init"
//	         ◀──────────────────  SWAGGER   any number: a document, as body
//	         ◀──────────────────  READY     or FAILED with a cause
//	  REQUEST ─────────────────▶            any number, before answers come
//	         ◀──────────────────  RESPONSE  one for each, in order
//	         ◀──────────────────  CHUNK     any number, after one that streams
//
// The server ends a worker by closing its side. Both sides refuse a version
// they do not know. Functions here keep no state and may be called from any
// goroutine.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Version is the version of the protocol, exchanged in LOAD and HELLO.
const Version = 2

// The limits, in bytes.
const (
	HeaderSize = 32
	MaxInline  = 64 << 10 // a body of this size or more travels by descriptor
	MaxMeta    = 2 << 20
)

// Type says what a frame is.
type Type uint8

// The types. Numbers are never used again.
const (
	Hello    Type = 1
	Load     Type = 2
	Phase    Type = 3
	Ready    Type = 4
	Failed   Type = 5
	Request  Type = 6
	Response Type = 7
	Swagger  Type = 8
	Chunk    Type = 9
)

// Flags of a frame.
const (
	FlagGet        uint8 = 1 << 0 // the request is a GET: its input is the query string
	FlagDescriptor uint8 = 1 << 1 // the body is in a passed file
	FlagJSON       uint8 = 1 << 2 // the request says that its body is JSON
	FlagWhole      uint8 = 1 << 3 // the meta of the request tells all of it
	FlagHead       uint8 = 1 << 4 // the meta of the response is its status and headers
	FlagStream     uint8 = 1 << 5 // chunks of the response follow

	allFlags = FlagGet | FlagDescriptor | FlagJSON | FlagWhole | FlagHead | FlagStream
)

// Outcome is how a request ended in the worker.
type Outcome uint8

// The outcomes.
const (
	OK       Outcome = iota // the body is the JSON of what run() returned
	Canceled                // run() was not called: nobody waits any more
	Raised                  // run() raised an exception; the body is its cause as JSON
	BadInput                // the input cannot be used; the body is JSON that says why
	Internal                // the server part failed: what run() returned is not JSON; likewise
	TimedOut                // run() raised TimeoutError; likewise
	Exited                  // run() ended the interpreter; likewise, and the worker goes away
	NotJSON                 // the request does not say that its body is JSON, and has to
)

// ErrShort says that a buffer does not hold a whole frame yet.
var ErrShort = errors.New("frame is not complete")

// Frame is one frame. Meta and an inline Body of a decoded frame are parts of
// the buffer it was decoded from.
type Frame struct {
	Type    Type
	Flags   uint8
	Outcome Outcome
	Slot    uint8
	ID      uint64
	NS      int64
	Meta    []byte
	Body    []byte
	BodyLen uint64 // with FlagDescriptor; else len(Body)
}

// Append writes f to the end of buf. A body of MaxInline bytes or more must be
// in a file; BodyLen then says how long it is.
func Append(buf []byte, f *Frame) ([]byte, error) {
	length := uint64(len(f.Body))
	if f.Flags&FlagDescriptor != 0 {
		length = f.BodyLen
	} else if length >= MaxInline {
		return buf, fmt.Errorf("body of %d bytes does not fit into a frame", length)
	}
	if len(f.Meta) > MaxMeta {
		return buf, fmt.Errorf("meta of %d bytes does not fit into a frame", len(f.Meta))
	}
	buf = append(buf, byte(f.Type), f.Flags, byte(f.Outcome), f.Slot)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(f.Meta)))
	buf = binary.LittleEndian.AppendUint64(buf, f.ID)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(f.NS))
	buf = binary.LittleEndian.AppendUint64(buf, length)
	buf = append(buf, f.Meta...)
	if f.Flags&FlagDescriptor == 0 {
		buf = append(buf, f.Body...)
	}
	return buf, nil
}

// Decode reads the first frame of buf and how many bytes it took. It answers
// [ErrShort] when more bytes are needed; any other error means that the other
// side does not speak this protocol and never will.
func Decode(buf []byte) (Frame, int, error) {
	if len(buf) < HeaderSize {
		return Frame{}, 0, ErrShort
	}
	f := Frame{Type: Type(buf[0]), Flags: buf[1], Outcome: Outcome(buf[2]), Slot: buf[3]}
	meta := binary.LittleEndian.Uint32(buf[4:])
	f.ID = binary.LittleEndian.Uint64(buf[8:])
	f.NS = int64(binary.LittleEndian.Uint64(buf[16:]))
	f.BodyLen = binary.LittleEndian.Uint64(buf[24:])
	if f.Type < Hello || f.Type > Chunk {
		return Frame{}, 0, fmt.Errorf("frame of unknown type %d", f.Type)
	}
	if f.Flags&^allFlags != 0 {
		return Frame{}, 0, fmt.Errorf("frame with unknown flags %#x", f.Flags)
	}
	if f.Outcome > NotJSON {
		return Frame{}, 0, fmt.Errorf("frame of unknown outcome %d", f.Outcome)
	}
	if meta > MaxMeta || meta > 0 && f.Type == Response && f.Flags&FlagHead == 0 {
		return Frame{}, 0, fmt.Errorf("frame with a meta of %d bytes", meta)
	}
	inline := uint64(0)
	if f.Flags&FlagDescriptor == 0 {
		inline = f.BodyLen
		if inline >= MaxInline {
			return Frame{}, 0, fmt.Errorf("frame with a body of %d bytes", inline)
		}
	}
	end := HeaderSize + int(meta) + int(inline)
	if len(buf) < end {
		return Frame{}, 0, ErrShort
	}
	f.Meta = buf[HeaderSize : HeaderSize+int(meta)]
	f.Body = buf[HeaderSize+int(meta) : end]
	return f, end, nil
}
