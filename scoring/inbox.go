package scoring

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/sluice-ml/sluice/scoring/frame"
)

// inbox cuts what a worker sends into frames and keeps the files it passed.
// One goroutine uses it.
type inbox struct {
	conn       *net.UnixConn
	buf        []byte
	start, end int
	files      []*os.File
}

// maxFiles bounds the files that a worker may pass without using them.
const maxFiles = 64

// fill reads more. It answers io.EOF when the worker's side is closed.
func (in *inbox) fill() error {
	if in.start > 0 {
		copy(in.buf, in.buf[in.start:in.end])
		in.start, in.end = 0, in.end-in.start
	}
	if in.end == len(in.buf) {
		if len(in.buf) > frame.HeaderSize+frame.MaxMeta+frame.MaxInline {
			return errors.New("worker sent a frame without an end")
		}
		in.buf = append(in.buf, make([]byte, len(in.buf))...)
	}
	n, files, err := receiveFiles(in.conn, in.buf[in.end:])
	in.files = append(in.files, files...)
	if err != nil {
		return err
	}
	if n == 0 {
		return io.EOF
	}
	if len(in.files) > maxFiles {
		return errors.New("worker passed files that belong to no frame")
	}
	in.end += n
	return nil
}

// next gives the next whole frame, or false when more must be read.
func (in *inbox) next() (frame.Frame, bool, error) {
	f, n, err := frame.Decode(in.buf[in.start:in.end])
	if errors.Is(err, frame.ErrShort) {
		return f, false, nil
	}
	if err != nil {
		return f, false, fmt.Errorf("reading from worker: %w", err)
	}
	in.start += n
	return f, true, nil
}

// file gives the file that belongs to f, nil when it has none.
func (in *inbox) file(f frame.Frame) (*os.File, error) {
	if f.Flags&frame.FlagDescriptor == 0 {
		return nil, nil
	}
	if len(in.files) == 0 {
		return nil, errors.New("worker announced a file and passed none")
	}
	file := in.files[0]
	in.files = in.files[1:]
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || uint64(info.Size()) < f.BodyLen) {
		err = errors.New("worker passed a file that does not hold its answer")
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart) // the worker's writing has moved the common offset
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (in *inbox) close() {
	for _, file := range in.files {
		_ = file.Close() // passed and never used; there is nobody to tell
	}
}
