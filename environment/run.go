package environment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	maxLine    = 64 << 10 // bytes of one line of a tool's output
	keptLines  = 4000     // lines kept for finding out why a tool failed
	maxLogSize = 16 << 20
)

// command is one run of a tool.
type command struct {
	path    string
	args    []string
	env     []string
	dir     string
	held    *os.File          // inherited: stays locked while the tool lives
	line    func(line string) // called for every line it writes
	idle    bool              // only with time that nobody else needs
	confine *confinement      // nil to run as we do
	mute    bool              // what it writes to standard output is of no interest
}

// toolError is a tool that failed, with what it said.
type toolError struct {
	name  string
	err   error
	lines []string // oldest first, passwords removed
}

func (e *toolError) Error() string { return fmt.Sprintf("running %s: %v", e.name, e.err) }
func (e *toolError) Unwrap() error { return e.err }

// runLog is what the tools say, on the disk and for the one who asked.
type runLog struct {
	file     *os.File // nil for none
	written  int
	settings settings
	line     func(string)
	lines    []string
}

func (l *runLog) add(line string) {
	line = l.settings.redact(line)
	if len(l.lines) < keptLines {
		l.lines = append(l.lines, line)
	}
	if l.file != nil && l.written < maxLogSize {
		n, _ := fmt.Fprintln(l.file, line) // a log that cannot be written stops nothing
		l.written += n
	}
	if l.line != nil {
		l.line(line)
	}
}

// run runs a tool to its end. When the context ends, the tool and its children
// are killed.
func (b *Builder) run(ctx context.Context, log *runLog, c command) error {
	b.started.Add(1)
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Env, cmd.Dir = c.env, c.dir
	cmd.WaitDelay = 2 * time.Second
	ownGroup(cmd)
	if c.held != nil {
		cmd.ExtraFiles = []*os.File{c.held}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("running %s: %w", c.path, err)
	}
	cmd.Stderr = w
	if !c.mute {
		cmd.Stdout = w
	}
	log.add("$ " + c.path + " " + strings.Join(c.args, " "))
	log.line = c.line
	log.lines = nil
	done := make(chan struct{})
	go func() {
		defer close(done)
		eachLine(r, log.add)
	}()
	if c.confine != nil {
		err = confined(*c.confine, cmd, func() { w.Close() })
	} else {
		err = startAndWait(cmd, func() {
			w.Close()
			if c.idle && cmd.Process != nil {
				yield(cmd.Process.Pid)
			}
		})
	}
	// A child that outlives the tool may hold the pipe open.
	r.SetReadDeadline(time.Now().Add(2 * time.Second))
	<-done
	r.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return &toolError{name: c.path, err: err, lines: log.lines}
	}
	return nil
}

// eachLine calls add for every line until the end, cutting what is too long.
func eachLine(r io.Reader, add func(string)) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			add(strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "?"))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}
