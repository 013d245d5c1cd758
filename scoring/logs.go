package scoring

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// Log writes lines in the format of the scoring contract. Writing never waits
// for the output: lines are gathered, and written 10 ms after the first of them
// or at once when there are many. When the output stands still, lines beyond
// maxPending bytes are dropped and counted.
//
// All methods may be called from any goroutine; Run writes.
type Log struct {
	out  io.Writer
	pid  int
	wake chan struct{}

	mu      sync.Mutex
	pending []byte // guarded by mu
	dropped int    // lines; guarded by mu
	second  int64  // that stamp holds; guarded by mu
	stamp   []byte // guarded by mu
}

const (
	flushAfter = 10 * time.Millisecond
	flushAt    = 32 << 10
	maxPending = 4 << 20
	maxLine    = 64 << 10
)

// NewLog makes a log onto out. pid stands in the lines that no worker wrote.
func NewLog(out io.Writer, pid int) *Log {
	return &Log{out: out, pid: pid, wake: make(chan struct{}, 1)}
}

// Run writes until the context is done, then writes what is left.
func (l *Log) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return l.flush()
		case <-l.wake:
		}
		if !l.many() {
			select {
			case <-ctx.Done():
			case <-time.After(flushAfter):
			}
		}
		if err := l.flush(); err != nil {
			return err
		}
	}
}

func (l *Log) many() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending) >= flushAt
}

func (l *Log) flush() error {
	l.mu.Lock()
	text, dropped := l.pending, l.dropped
	l.pending, l.dropped = nil, 0
	l.mu.Unlock()
	if dropped > 0 {
		text = fmt.Appendf(text, "(%d log lines were dropped because the output stood still)\n", dropped)
	}
	if len(text) == 0 {
		return nil
	}
	if _, err := l.out.Write(text); err != nil {
		return fmt.Errorf("writing log: %w", err)
	}
	return nil
}

// Printf writes one record of logger "azmlinfsrv" about the server itself.
func (l *Log) Printf(level byte, format string, args ...any) {
	l.Record(level, l.pid, "azmlinfsrv", fmt.Sprintf(format, args...))
}

// Record writes one record.
func (l *Log) Record(level byte, pid int, logger, message string) {
	l.add(func(b []byte) []byte {
		b = l.head(b, level, pid, logger)
		return append(append(b, message...), '\n')
	})
}

// Plain writes a line as it is.
func (l *Log) Plain(line string) {
	l.add(func(b []byte) []byte { return append(append(b, line...), '\n') })
}

// Access writes the record of one scored request. A length below 0 is not known.
func (l *Log) Access(pid int, method, path, query string, status int, took time.Duration, length int64) {
	l.add(func(b []byte) []byte {
		b = l.head(b, 'I', pid, "azmlinfsrv")
		b = append(b, method...)
		b = append(b, ' ')
		b = append(b, path...)
		if query != "" {
			b = append(append(b, '?'), query...)
		}
		b = strconv.AppendInt(append(b, ' '), int64(status), 10)
		b = strconv.AppendFloat(append(b, ' '), float64(took)/float64(time.Millisecond), 'f', 3, 64)
		b = append(b, "ms "...)
		if length < 0 {
			return append(b, "N/A\n"...)
		}
		return append(strconv.AppendInt(b, length, 10), '\n')
	})
}

func (l *Log) add(write func([]byte) []byte) {
	l.mu.Lock()
	if len(l.pending) > maxPending {
		l.dropped++
		l.mu.Unlock()
		return
	}
	before := len(l.pending)
	l.pending = write(l.pending)
	after := len(l.pending)
	l.mu.Unlock()
	if before == 0 || before < flushAt && after >= flushAt {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// head appends "<UTC time> <level> [<pid>] <logger> - ". Callers hold mu.
func (l *Log) head(b []byte, level byte, pid int, logger string) []byte {
	now := time.Now()
	if s := now.Unix(); s != l.second || l.stamp == nil {
		l.second, l.stamp = s, now.UTC().AppendFormat(l.stamp[:0], "2006-01-02 15:04:05,")
	}
	b = append(b, l.stamp...)
	ms := now.Nanosecond() / 1e6
	b = append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), ' ', level, ' ', '[')
	b = strconv.AppendInt(b, int64(pid), 10)
	return append(append(append(b, "] "...), logger...), " - "...)
}

// The marks with which a worker's own loggers begin their lines.
const (
	markRecord    = '\x1e'
	markContinued = '\x1f'
)

// pump passes on what a worker writes, line by line, until the end of r. Lines
// with a mark are records already; others get time, pid and the given name, or
// stay as they are when there is none.
// Each line is also given to tail.
func (l *Log) pump(r io.Reader, pid int, name string, tail func(string)) error {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		// A line beyond the buffer goes on as several.
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
		} else if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		switch {
		case len(line) > 0 && (line[0] == markRecord || line[0] == markContinued):
			l.Plain(string(line[1:]))
		default:
			if name == "" {
				l.Plain(string(line))
			} else {
				l.Record('I', pid, name, string(line))
			}
			if tail != nil {
				tail(string(line))
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
}
