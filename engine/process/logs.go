package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/shim"
)

// followEvery is how often a log is looked at for more.
const followEvery = 50 * time.Millisecond

// Logs implements engine.Engine. What is kept is the newest 50 MB or so.
func (e *Engine) Logs(ctx context.Context, id string, opts engine.LogOptions) (engine.Log, error) {
	if id == "" || len(id) > 255 || strings.HasPrefix(id, ".") || strings.ContainsAny(id, "/\\\x00") {
		return nil, fmt.Errorf("opening the log of instance %q: %w", id, engine.ErrNotFound)
	}
	s, err := e.see(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the log of instance %q: %w", id, engine.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the log of instance %q: %w", id, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &logReader{dir: filepath.Join(e.instanceDir(id), shim.LogDir), ctx: ctx, cancel: cancel}
	if opts.Follow && !s.instance.Phase.Ended() {
		l.ended = func() (bool, error) {
			s, err := e.see(id)
			return errors.Is(err, fs.ErrNotExist) || s.instance.Phase.Ended(), nil
		}
	}
	if opts.From != "" {
		err = l.goOn(opts.From)
	} else {
		err = l.seek(opts.Tail)
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("opening the log of instance %q: %w", id, err)
	}
	return l, nil
}

// logReader reads numbered files one after another. A file that is removed
// while it is read is read to its end; one that was removed before is skipped.
type logReader struct {
	dir    string
	ctx    context.Context
	cancel context.CancelFunc
	ended  func() (bool, error) // nil when not following
	last   bool                 // the instance has ended: what is there now is all
	number int                  // of the open file, or of the one before the next
	file   *os.File
	offset int64 // in it
	lost   bool  // a file went before it was read
}

// Position implements engine.Log: what one Read gives is all of one file.
func (l *logReader) Position(back int) string {
	return strconv.Itoa(l.number) + ":" + strconv.FormatInt(max(l.offset-int64(back), 0), 10)
}

// Lost implements engine.Log.
func (l *logReader) Lost() bool {
	lost := l.lost
	l.lost = false
	return lost
}

// goOn goes to a position, or to what comes next where that is not kept.
func (l *logReader) goOn(position string) error {
	first, second, ok := strings.Cut(position, ":")
	number, err := strconv.ParseInt(first, 10, 32)
	offset, offErr := strconv.ParseInt(second, 10, 63)
	if !ok || err != nil || offErr != nil || number < 0 || offset < 0 {
		return engine.ErrPosition
	}
	if number == 0 { // before the first
		return nil
	}
	err = l.open(int(number), offset)
	if errors.Is(err, fs.ErrNotExist) {
		l.lost = true
		return nil
	}
	return err
}

// Read implements io.Reader.
func (l *logReader) Read(p []byte) (int, error) {
	for {
		if n, err := l.readSome(p); n > 0 || err != nil {
			return n, err
		}
		if l.ended == nil || l.last {
			return 0, io.EOF
		}
		select {
		case <-l.ctx.Done():
			return 0, io.EOF
		case <-time.After(followEvery):
		}
		// The end is asked before the last look: the log is whole by then.
		ended, err := l.ended()
		if err != nil {
			return 0, err
		}
		l.last = ended
	}
}

// readSome reads what is there now, going on to later files at the end of one.
func (l *logReader) readSome(p []byte) (int, error) {
	for {
		later, err := l.after(l.number)
		if err != nil {
			return 0, err
		}
		if l.file != nil {
			// A later file seen before the end of this one means that
			// this one has been written to its end.
			n, err := l.file.Read(p)
			l.offset += int64(n)
			if n > 0 || err != nil && err != io.EOF {
				return n, err
			}
		}
		if later == 0 {
			return 0, nil
		}
		l.lost = l.lost || l.number > 0 && later > l.number+1
		if err := l.open(later, 0); errors.Is(err, fs.ErrNotExist) {
			l.lost = true
		} else if err != nil {
			return 0, err
		}
	}
}

// Close implements io.Closer.
func (l *logReader) Close() error {
	l.cancel()
	if l.file != nil {
		return l.file.Close()
	}
	return nil
}

func (l *logReader) open(number int, offset int64) error {
	f, err := os.Open(filepath.Join(l.dir, shim.LogName(number)))
	l.number = number
	if err != nil {
		return err
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file = f
	l.offset, err = f.Seek(offset, io.SeekStart)
	return err
}

// after gives the lowest number above n, or 0.
func (l *logReader) after(n int) (int, error) {
	numbers, err := l.numbers()
	if err != nil {
		return 0, err
	}
	for _, number := range numbers {
		if number > n {
			return number, nil
		}
	}
	return 0, nil
}

func (l *logReader) numbers() ([]int, error) {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) { // forgotten meanwhile
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, entry := range entries {
		if n, ok := shim.LogNumber(entry.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// seek goes to where the last so many lines begin; 0 is the very beginning.
func (l *logReader) seek(lines int) error {
	if lines <= 0 {
		return nil
	}
	numbers, err := l.numbers()
	if err != nil {
		return err
	}
	newest := true
	for _, n := range slices.Backward(numbers) {
		f, err := os.Open(filepath.Join(l.dir, shim.LogName(n)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		at, missing, err := lineStart(f, lines, newest)
		f.Close()
		if err != nil {
			return err
		}
		if missing == 0 {
			return l.open(n, at)
		}
		newest = newest && at < 0
		lines = missing
	}
	return nil
}

// lineStart looks from the end of f for where its nth last line begins, and
// gives that offset and 0. Otherwise it gives how many lines are missing, and
// an offset below 0 if the file is empty. In the newest file a line end that is
// the very last byte begins no line; in an older one it begins the next file.
func lineStart(f *os.File, n int, newest bool) (int64, int, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return -1, n, err
	}
	if newest { // whatever the last byte is, no line begins behind it
		end--
	}
	buffer := make([]byte, 32<<10)
	for end > 0 {
		begin := max(end-int64(len(buffer)), 0)
		chunk := buffer[:end-begin]
		if _, err := f.ReadAt(chunk, begin); err != nil {
			return 0, n, err
		}
		for i := bytes.LastIndexByte(chunk, '\n'); i >= 0; i = bytes.LastIndexByte(chunk[:i], '\n') {
			if n--; n == 0 {
				return begin + int64(i) + 1, 0, nil
			}
		}
		end = begin
	}
	return 0, n, nil
}
