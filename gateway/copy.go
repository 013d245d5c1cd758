package gateway

import (
	"errors"
	"io"
	"net"
	"sync"
)

// copyChunk is how many bytes of an answer are held at a time.
const copyChunk = 32 << 10

var chunks = sync.Pool{New: func() any { return new([copyChunk]byte) }}

// copyBody passes the body on, flushing every piece but one that completes it.
// length is the body's, -1 when not known. It reports whether an error is the model's side's.
func copyBody(w io.Writer, flush func(), body io.Reader, length int64, sent *int64) (fromModel bool, _ error) {
	if length == 0 {
		return false, nil
	}
	chunk := chunks.Get().(*[copyChunk]byte)
	defer chunks.Put(chunk)
	for {
		n, err := body.Read(chunk[:])
		if n > 0 {
			if _, err := w.Write(chunk[:n]); err != nil {
				return false, err
			}
			if *sent += int64(n); *sent != length {
				flush()
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return true, err
		}
	}
}

// endHead writes the empty line that ends a head.
func endHead(w interface {
	io.StringWriter
	Flush() error
}) error {
	_, err := w.WriteString("\r\n")
	return errors.Join(err, w.Flush())
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
