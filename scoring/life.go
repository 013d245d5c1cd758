package scoring

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/scoring/frame"
)

const phaseEnded Phase = "ended"

// The life of a worker:
//
//	starting ─▶ import ─▶ init ─▶ ready ─▶ ended
//	    └─────────┴─────────┴────────────────▲   (failed, or killed)

// ending is how a worker ended.
type ending struct {
	pid    int
	phase  Phase // how far it had come
	ready  bool  // whether it could serve
	code   int
	signal syscall.Signal
	failed *sluice.Cause // in its own words
	tail   []string      // the last lines of its standard error
	faults string        // what its fault handler wrote
	err    error         // it could not be started, or broke the protocol
	memory memoryUse     // at its end; of kills, those since its start

	served  time.Duration // how long it was ready
	told    bool          // why was told with the answer to a request
	running bool          // a request was inside
	request string        // its id, as the client knows it
	late    bool          // it was over its limit, and could not be interrupted
	stack   []stackFrame  // where it stood then
}

// struck reports whether somebody else killed it while it started: nothing in
// Python sends that signal, and memory had not run out.
func (e ending) struck() bool {
	return !e.ready && e.signal == syscall.SIGKILL && e.memory.kills == 0 && e.err == nil && e.failed == nil
}

// load is the meta of a LOAD frame.
type load struct {
	Version   int    `json:"version"`
	AppRoot   string `json:"app_root"`
	SourceDir string `json:"source_dir"`
	Script    string `json:"entry_script"`
	ModelDir  string `json:"model_dir"`
	MLflow    bool   `json:"mlflow,omitempty"`
	TimeoutMS int64  `json:"timeout_ms"`

	Logging   string  `json:"logging"`
	DebugPort int     `json:"debug_port"`
	Service   Service `json:"service"`
	Describe  bool    `json:"describe"` // it is not known yet what the service looks like
}

// runWorker starts a worker and stays with it until its end, which comes by
// itself or with the context. When it returns the process is gone, its finished
// answers are delivered and what it had not started is in the queue again.
func (p *Pool) runWorker(ctx context.Context) ending {
	before := readMemory(p.settings.MemoryGroup).kills
	w, err := p.startWorker()
	if err != nil {
		return ending{phase: PhaseStarting, err: err}
	}
	tail := &lastLines{}
	var pumps sync.WaitGroup
	pumps.Go(func() { p.passOn(w, false, tail) })
	pumps.Go(func() { p.passOn(w, true, tail) })

	stop := context.AfterFunc(ctx, func() { w.end() })
	received := make(chan error, 1)
	go func() {
		err := w.order()
		if err == nil {
			err = w.receive()
		}
		if err != nil {
			w.process.kill()
		}
		w.lingering()
		received <- err
	}()
	code, signal := w.process.wait()
	// Clients that are slow to read must not keep a worker's seat.
	cut := time.AfterFunc(abortGrace, func() { close(w.over) })
	// Nobody holds the other end any more, so the reader comes to its end once
	// it has read what is there; the deadline is for a descriptor that escaped.
	_ = w.conn.SetReadDeadline(time.Now().Add(abortGrace))
	err = <-received
	if cut.Stop() {
		close(w.over)
	}
	stop()
	_ = w.process.stdout.SetReadDeadline(time.Now().Add(abortGrace))
	_ = w.process.stderr.SetReadDeadline(time.Now().Add(abortGrace))
	pumps.Wait()

	last := w.faults.text(faultsSize)
	p.logCrash(w.pid, last)
	end := p.bury(w, signal)
	end.code, end.signal, end.tail, end.faults, end.err = code, signal, tail.lines(), last, err
	if signal != 0 {
		end.memory = readMemory(p.settings.MemoryGroup)
		end.memory.kills -= before
	}
	return end
}

func (p *Pool) startWorker() (*worker, error) {
	program, err := bootProgram()
	if err != nil {
		return nil, err
	}
	page, err := newPage()
	if err != nil {
		return nil, err
	}
	said, err := newFaults()
	if err != nil {
		page.close()
		return nil, err
	}
	process, err := startProcess(p.spawn, p.settings.Python, program, p.settings.Environ, page.memory, said.memory)
	if err != nil {
		page.close()
		said.close()
		return nil, err
	}
	w := &worker{pool: p, pid: process.cmd.Process.Pid, process: process, conn: process.conn, page: page, faults: said,
		phase: PhaseStarting, over: make(chan struct{})}
	p.mu.Lock()
	p.workers = append(p.workers, w)
	p.judgePhase()
	p.mu.Unlock()
	return w, nil
}

// order tells a new worker what it is and what to serve.
func (w *worker) order() error {
	wire, err := bundle()
	if err != nil {
		return err
	}
	s := w.pool.settings
	meta, err := json.Marshal(load{Version: frame.Version, AppRoot: s.AppRoot, SourceDir: s.SourceDir,
		Script: s.EntryScript, ModelDir: s.ModelDir, MLflow: s.MLflow, TimeoutMS: s.Timeout.Milliseconds(),
		Logging: s.Logging, DebugPort: s.DebugPort, Service: s.Service,
		Describe: w.pool.takes.Load() == nil})
	if err != nil {
		return fmt.Errorf("telling worker what to serve: %w", err)
	}
	if wire, err = frame.Append(wire, &frame.Frame{Type: frame.Load, Meta: meta}); err != nil {
		return fmt.Errorf("telling worker what to serve: %w", err)
	}
	if _, err := w.conn.Write(wire); err != nil {
		return nil // it has died already; how is what counts
	}
	return nil
}

// advance follows what a worker says of its start. Callers hold the mutex.
func (w *worker) advance(f frame.Frame, file *os.File) error {
	p := w.pool
	if file != nil {
		_ = file.Close() // none of these has one
		return fmt.Errorf("worker passed a file with a frame of type %d", f.Type)
	}
	switch f.Type {
	case frame.Hello:
		var hello struct {
			Version int    `json:"version"`
			Python  string `json:"python"`
		}
		if err := json.Unmarshal(f.Meta, &hello); err != nil || hello.Version != frame.Version {
			return fmt.Errorf("worker speaks version %d of the protocol, not %d", hello.Version, frame.Version)
		}
		p.log.Record('I', w.pid, "azmlinfsrv", fmt.Sprintf("Worker runs Python %q", hello.Python))
	case frame.Phase:
		var said struct {
			Phase Phase `json:"phase"`
		}
		if err := json.Unmarshal(f.Meta, &said); err != nil || said.Phase != PhaseImport && said.Phase != PhaseInit {
			return fmt.Errorf("worker is in unknown phase %q", said.Phase)
		}
		if err := w.goesOn(said.Phase); err != nil {
			return err
		}
		w.phase, w.since, w.stack = said.Phase, time.Now(), nil
		w.askLater()
	case frame.Ready:
		ready := &takes{}
		if err := json.Unmarshal(f.Meta, ready); err != nil {
			return fmt.Errorf("reading that worker is ready: %w", err)
		}
		if err := w.goesOn(PhaseReady); err != nil {
			return err
		}
		ready.documents = w.documents
		ready.MLflow = ready.MLflow[:min(len(ready.MLflow), maxID)]
		p.learn(ready)
		w.phase, w.since, w.stack = PhaseReady, time.Now(), nil
		w.askLater()
		p.refusing = false
	case frame.Failed:
		cause := &sluice.Cause{}
		if err := json.Unmarshal(f.Meta, cause); err != nil {
			return fmt.Errorf("reading why worker failed: %w", err)
		}
		bounded := withMemory(cause, p.settings).Clean()
		w.failed = &bounded
	default:
		return fmt.Errorf("worker sent a frame of type %d", f.Type)
	}
	p.judgePhase()
	return nil
}

// goesOn refuses a phase that does not come after the present one. Each is told
// to whoever keeps the instance, who writes it down: a script that sends them
// without end would have that written without end.
func (w *worker) goesOn(to Phase) error {
	if phaseOrder[to] <= phaseOrder[w.phase] {
		return fmt.Errorf("worker went from phase %q to %q", w.phase, to)
	}
	return nil
}

// end asks a worker to go: it does when it has read the end of its socket. One
// that runs a request, or does not listen, is killed after a grace.
func (w *worker) end() {
	_ = w.conn.CloseWrite() // it may be gone
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.leave()
}

// lingering sees to it that a worker that has closed its socket ends as well.
func (w *worker) lingering() {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.leave()
}

// bury takes a worker whose process is gone out of the pool: answers found in
// its outbox are delivered, the request it was running fails, and those it had
// not begun go back to the queue.
func (p *Pool) bury(w *worker, signal syscall.Signal) ending {
	p.mu.Lock()
	end := ending{pid: w.pid, phase: w.phase, ready: w.phase == PhaseReady, failed: w.failed, told: w.exited}
	if end.ready {
		end.served = time.Since(w.since)
	}
	for _, f := range w.page.answers() {
		w.respond(f, nil)
	}
	ran, _ := w.page.running()
	var unstarted []*call
	for slot, c := range w.pending {
		switch {
		case c == nil:
		case c.id == ran || c.replays == maxReplays:
			if c.id == ran {
				if c.stream != nil {
					c.stream.finish(errCrashed)
				}
				end.running, end.request, end.late, end.stack = true, c.request, c.id == w.stopped, w.stack
			}
			w.free(slot, false).answer(result{err: errCrashed, pid: w.pid})
		case c.answered || c.abandoned:
			w.free(slot, false)
		case c.stream != nil:
			w.free(slot, false)
			c.stream.finish(errCrashed)
		default:
			c.replays++
			unstarted = append(unstarted, w.free(slot, true))
		}
	}
	slices.SortFunc(unstarted, func(a, b *call) int { return int(int64(a.id - b.id)) })
	w.phase = phaseEnded
	for _, timer := range []*time.Timer{w.watch, w.asks} {
		if timer != nil {
			timer.Stop()
		}
	}
	p.workers = slices.DeleteFunc(p.workers, func(o *worker) bool { return o == w })
	p.judgePhase()
	p.putBack(unstarted)
	others := slices.Clone(p.workers)
	_ = w.conn.Close()
	w.page.close()
	w.faults.close()
	p.mu.Unlock()
	for _, other := range others {
		other.flush()
	}
	return end
}

// maxReplays bounds how many workers a request may be given to that die before
// they start it.
const maxReplays = 5

// passOn copies a worker's output into the log.
func (p *Pool) passOn(w *worker, stderr bool, tail *lastLines) {
	file, name, keep := w.process.stdout, "azmlinfsrv.stdout", (func(string))(nil)
	if stderr {
		file, name, keep = w.process.stderr, "azmlinfsrv.stderr", tail.add
	}
	// Its errors are those of a pipe whose writer is gone.
	if p.settings.Logging != "" {
		name = "" // the script's handlers have their own form
	}
	_ = p.log.pump(file, w.pid, name, keep)
	_ = file.Close()
}

// crashLines bounds what of a crash is copied into the log.
const crashLines = 200

// logCrash copies what the fault handler wrote of a crash into the log, where
// people look for it.
func (p *Pool) logCrash(pid int, said string) {
	crash, ok := after(said, headCrash)
	if !ok {
		return
	}
	lines := strings.SplitN(crash, "\n", crashLines+1)
	for _, line := range lines[:min(len(lines), crashLines)] {
		p.log.Record('E', pid, "azmlinfsrv.stderr", line[:min(len(line), 500)])
	}
}

// lastLines keeps the last lines of what a worker wrote to standard error.
type lastLines struct {
	mu   sync.Mutex
	kept []string // guarded by mu
}

const keepLines = 100

func (l *lastLines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) == keepLines {
		l.kept = append(l.kept[:0], l.kept[1:]...)
	}
	l.kept = append(l.kept, line[:min(len(line), 500)])
}

func (l *lastLines) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.kept)
}
