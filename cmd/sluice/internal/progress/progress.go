// Package progress shows a person how far a command is.
//
// A [Progress] is told what goes on ([Progress.Update] with each new state of
// the steps, [Progress.Note] for a sentence) and shows it on standard error:
// at a terminal as lines that are redrawn in place with the time each step has
// taken, else as plain lines: one when a step begins and one when it ends, and
// while it runs one every ten seconds with the time it has taken. [Progress.Close] leaves
// the last state standing. All methods may be called from any number of
// goroutines; one of its own redraws, or looks for the time, until Close.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Step is one thing that is being done, or was.
type Step struct {
	Name     string // "uploading", "environment", "instance"
	Step     string // "resolving", "importing"; may be empty
	Detail   string // free text
	Telling  bool   // each new detail is worth a line of its own
	Instance string // which instance, where there are several
	Done     bool
	Took     time.Duration // once done, when the doer knows better than we; else 0
}

// Options say where and how to show progress.
type Options struct {
	Out   io.Writer
	Live  bool       // redraw in place: Out is a terminal
	Color bool       // only with Live
	Quiet bool       // show nothing
	Width func() int // columns of the terminal; nil for 80
}

// interval is how often the lines are redrawn.
const interval = 100 * time.Millisecond

// Where lines are not redrawn, a step that runs is told of again after remind.
// One whose details tell something is after its first second too, and with each
// new detail, but not before tell has passed since its last line: what changes
// faster is not read anyway.
const (
	remind = 10 * time.Second
	first  = time.Second
	tell   = 2 * time.Second
)

// Progress shows steps. Make one with [New], end it with [Progress.Close].
type Progress struct {
	opts Options
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the redrawing goroutine has ended

	mu     sync.Mutex // guards what follows, and Out
	rows   []row
	drawn  int // lines that stand on the screen
	closed bool
}

type row struct {
	Step
	since time.Time
	took  time.Duration // once done
	wrote time.Time     // its last plain line
	shown string        // the detail in it
}

// New starts showing.
func New(opts Options) *Progress {
	if opts.Width == nil {
		opts.Width = func() int { return 80 }
	}
	p := &Progress{opts: opts, stop: make(chan struct{}), done: make(chan struct{})}
	switch {
	case opts.Quiet:
		close(p.done)
	case opts.Live:
		go p.every(interval, p.draw)
	default:
		go p.every(time.Second, p.remind)
	}
	return p
}

// every calls f, with mu held, until Close.
func (p *Progress) every(d time.Duration, f func()) {
	defer close(p.done)
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			f()
			p.mu.Unlock()
		}
	}
}

// remind writes how long the steps have taken that run: those whose detail is
// news, and those that nothing was said of for long.
func (p *Progress) remind() {
	for i := range p.rows {
		r := &p.rows[i]
		if r.Done || !r.due(time.Now()) {
			continue
		}
		line := r.label() + ", " + whole(time.Since(r.since))
		if r.Detail != "" {
			line += ", " + r.Detail
		}
		p.write(r, line)
	}
}

// due reports whether a step that runs is to be told of again.
func (r *row) due(now time.Time) bool {
	quiet := now.Sub(r.wrote)
	switch {
	case quiet >= remind:
		return true
	case !r.Telling:
		return false
	case r.wrote.Equal(r.since):
		return quiet >= first
	}
	return r.Detail != r.shown && quiet >= tell
}

// write writes a plain line for a step.
func (p *Progress) write(r *row, line string) {
	if r.shown = r.Detail; r.wrote.IsZero() {
		r.wrote = r.since
	} else {
		r.wrote = time.Now()
	}
	fmt.Fprintln(p.opts.Out, clean(line))
}

// whole gives a length of time in whole seconds: 7 s, 3m07s.
func whole(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return Elapsed(d)
}

// Update takes the state of a step. A step is known by its name, its step and
// its instance; one that is new is shown from now on.
func (p *Progress) Update(s Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opts.Quiet || p.closed {
		return
	}
	i := p.find(s)
	if i < 0 {
		p.rows = append(p.rows, row{Step: s, since: time.Now()})
		i = len(p.rows) - 1
		p.settle(i, s)
		p.plain(&p.rows[i], true)
		return
	}
	r := &p.rows[i]
	if r.Done {
		return
	}
	if s.Detail != "" || !s.Done {
		r.Detail, r.Telling = s.Detail, s.Telling
	}
	if s.Done {
		if r.Telling {
			r.Detail = "" // it told of what is over
		}
		p.settle(i, s)
		p.plain(r, false)
	}
}

func (p *Progress) find(s Step) int {
	for i, r := range p.rows {
		if r.Name == s.Name && r.Step.Step == s.Step && r.Instance == s.Instance {
			return i
		}
	}
	return -1
}

func (p *Progress) settle(i int, s Step) {
	r := &p.rows[i]
	r.Done = s.Done
	if s.Done {
		if r.took = s.Took; r.took == 0 {
			r.took = time.Since(r.since)
		}
	}
}

// plain writes a line for a pipe: one when a step begins, one when it ends.
func (p *Progress) plain(r *row, first bool) {
	if p.opts.Live {
		return
	}
	line := r.label()
	if r.Detail != "" {
		line += " (" + r.Detail + ")"
	}
	if r.Done && !r.failed() {
		line += ", done in " + Elapsed(r.took)
	}
	if first || r.Done {
		p.write(r, line)
	}
}

// failed reports whether the step tells of a failure.
func (r row) failed() bool { return r.Done && r.Step.Step == "failed" }

func (r row) label() string {
	label := r.Name
	if r.Instance != "" {
		label += " " + r.Instance
	}
	if r.Step.Step != "" {
		label += ": " + r.Step.Step
	}
	return label
}

// Note shows a sentence above the steps.
func (p *Progress) Note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opts.Quiet {
		return
	}
	text := clean(fmt.Sprintf(format, args...))
	if p.opts.Live && !p.closed {
		p.erase()
	}
	fmt.Fprintln(p.opts.Out, text)
	if p.opts.Live && !p.closed {
		p.draw()
	}
}

// Close ends showing: what was running is left as it stands. It may be called
// more than once.
func (p *Progress) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.stop)
	if p.opts.Live && !p.opts.Quiet {
		p.draw()
	}
	p.mu.Unlock()
	<-p.done
}

func (p *Progress) draw() {
	lines := render(p.rows, time.Now(), p.opts.Width(), p.opts.Color)
	if len(lines) == 0 && p.drawn == 0 {
		return
	}
	p.erase()
	for _, line := range lines {
		fmt.Fprintln(p.opts.Out, line)
	}
	p.drawn = len(lines)
}

// erase takes the drawn lines away and leaves the cursor where they began.
func (p *Progress) erase() {
	if p.drawn > 0 {
		// The cursor may have left its column: the terminal shows ^C.
		fmt.Fprintf(p.opts.Out, "\r\x1b[%dA\x1b[J", p.drawn)
	}
	p.drawn = 0
}

// maxRows bounds what is redrawn; older steps that are done go first.
const maxRows = 12

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// render gives the lines for a terminal of the given width.
func render(rows []row, now time.Time, width int, color bool) []string {
	rows = recent(rows)
	label := 0
	for _, r := range rows {
		label = max(label, len([]rune(r.label())))
	}
	lines := make([]string, len(rows))
	for i, r := range rows {
		mark, took := "✓", r.took
		if !r.Done {
			took = now.Sub(r.since)
			mark = spinner[int(took/interval)%len(spinner)]
		} else if r.failed() {
			mark = "✗"
		}
		text := r.label()
		text += strings.Repeat(" ", label-len([]rune(text))) + "  " + fmt.Sprintf("%7s", Elapsed(took))
		if r.Detail != "" {
			text += "  " + r.Detail
		}
		lines[i] = paint(mark, r, color) + " " + cut(clean(text), width-3)
	}
	return lines
}

func recent(rows []row) []row {
	if len(rows) <= maxRows {
		return rows
	}
	var kept []row
	drop := len(rows) - maxRows
	for _, r := range rows {
		if r.Done && drop > 0 {
			drop--
			continue
		}
		kept = append(kept, r)
	}
	return kept[len(kept)-min(len(kept), maxRows):]
}

func paint(mark string, r row, color bool) string {
	switch {
	case !color:
		return mark
	case r.failed():
		return "\x1b[31m" + mark + "\x1b[0m"
	case r.Done:
		return "\x1b[32m" + mark + "\x1b[0m"
	}
	return "\x1b[36m" + mark + "\x1b[0m"
}

// cut keeps a line from wrapping, which would spoil the redrawing.
func cut(s string, width int) string {
	runes := []rune(s)
	if width < 1 || len(runes) <= width {
		return s
	}
	return string(runes[:width-1]) + "…"
}

// clean keeps what a server sent from moving the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// Elapsed gives a length of time as people read it: 340ms, 4.2s, 3m07s.
func Elapsed(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

// Bytes gives a size as people read it: 512 B, 1.5 MB.
func Bytes(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, i := float64(n)/unit, 0
	for value >= unit && i < 4 {
		value /= unit
		i++
	}
	return fmt.Sprintf("%.1f %cB", value, "kMGTP"[i])
}
