package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/sluice-ml/sluice/engine"
)

// Starting gives the copy its address, as an engine does while it starts it.
func (e *Engine) Starting(instance string) {
	e.with(instance, func(c *fakeCopy) { e.advance(c, engine.Starting, time.Now()) })
}

// Running makes the copy run; it has an address from then on.
func (e *Engine) Running(instance string) {
	e.with(instance, func(c *fakeCopy) { e.advance(c, engine.Running, time.Now()) })
}

// RunAll makes every copy run that does not yet.
func (e *Engine) RunAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.copies {
		if c.Phase == engine.Pending || c.Phase == engine.Starting {
			e.advance(c, engine.Running, time.Now())
			e.changed(c)
		}
	}
}

// Exit ends the copy's command by itself. Under RestartAlways the engine
// replaces it, with back-off.
func (e *Engine) Exit(instance string, exit engine.Exit) {
	e.with(instance, func(c *fakeCopy) { e.end(c, exit, "", "") })
}

// Fail ends the copy without its command ever having run, or for a reason of
// the engine's own.
func (e *Engine) Fail(instance string, reason engine.Reason, message string) {
	e.with(instance, func(c *fakeCopy) {
		e.end(c, engine.Exit{}, reason, message)
		c.Exit = nil
	})
}

// Block says why a copy does not start yet.
func (e *Engine) Block(instance string, reason engine.Reason, message string) {
	e.with(instance, func(c *fakeCopy) { c.Reason, c.Message = reason, message })
}

// Write adds to the copy's log.
func (e *Engine) Write(instance, text string) {
	e.with(instance, func(c *fakeCopy) { c.log.WriteString(text) })
}

// Break makes every method fail with err from now on; nil mends it.
func (e *Engine) Break(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail = err
}

// Calls gives the calls of Ensure and Remove so far, the refused ones too.
func (e *Engine) Calls() []Call {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Call(nil), e.calls...)
}

// with changes one copy; a copy that is not there is the test's mistake.
func (e *Engine) with(instance string, change func(*fakeCopy)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.copies[instance]
	if c == nil {
		panic(fmt.Sprintf("enginetest: no instance %q", instance))
	}
	change(c)
	e.changed(c)
	e.step()
}

// logWriter is a program's output.
type logWriter struct {
	e *Engine
	c *fakeCopy
}

func (w logWriter) Write(p []byte) (int, error) {
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	w.c.log.Write(p)
	w.e.changed(w.c)
	return len(p), nil
}

// followed reads a log until the copy has ended or the context is done, or
// once.
type followed struct {
	e      *Engine
	c      *fakeCopy
	at     int
	once   bool
	ctx    context.Context
	cancel context.CancelFunc
}

func (f *followed) Read(p []byte) (int, error) {
	for {
		f.e.mu.Lock()
		text, ended, grown := f.c.log.Bytes(), f.c.Phase.Ended(), f.c.grown
		n := copy(p, text[f.at:])
		f.e.mu.Unlock()
		f.at += n
		switch {
		case n > 0 || len(p) == 0:
			return n, nil
		case ended || f.once:
			return 0, io.EOF
		}
		select {
		case <-grown:
		case <-f.ctx.Done():
			return 0, io.EOF
		}
	}
}

// Position implements engine.Log.
func (f *followed) Position(back int) string { return strconv.Itoa(f.at - back) }

// Lost implements engine.Log: everything is kept.
func (f *followed) Lost() bool { return false }

func (f *followed) Close() error {
	f.cancel()
	return nil
}

// tailStart says where the last n lines of text begin; n of 0 means all.
func tailStart(text []byte, n int) int {
	if n <= 0 {
		return 0
	}
	at := len(bytes.TrimSuffix(text, []byte("\n")))
	for ; n > 0; n-- {
		at = bytes.LastIndexByte(text[:at], '\n')
		if at < 0 {
			return 0
		}
	}
	return at + 1
}
