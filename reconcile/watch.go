package reconcile

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/probe"
)

// watches asks every live instance whether it is ready, each on a goroutine of
// its own, and remembers why ended ones ended.
type watches struct {
	loop   *Loop
	prober *probe.Prober
	group  sync.WaitGroup

	mu   sync.Mutex
	byID map[string]*watch // guarded by mu
}

type watch struct {
	cancel    context.CancelFunc
	asked     bool
	ready     bool
	everReady bool
	turned    time.Time // when ready became what it is
	phase     string
	cause     *sluice.Cause // once ended
	said      told          // of a scoring server
}

func newWatches(l *Loop) *watches {
	return &watches{loop: l, prober: probe.New(probe.Options{}), byID: map[string]*watch{}}
}

// follow starts watching what is new, stops watching what has ended, and
// forgets what is not listed any more. Probes gives the readiness probe of a
// deployment by its UID.
func (w *watches) follow(ctx context.Context, instances []engine.Instance, probes map[string]sluice.Probe) {
	w.mu.Lock()
	defer w.mu.Unlock()
	listed := map[string]bool{}
	for _, i := range instances {
		listed[i.ID] = true
		one := w.byID[i.ID]
		if one == nil {
			one = &watch{}
			w.byID[i.ID] = one
		}
		switch {
		case i.Phase.Ended() && one.cancel != nil:
			one.cancel()
			one.cancel, one.ready = nil, false
		case !i.Phase.Ended() && one.cancel == nil && i.Address != "":
			watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
			one.cancel = cancel
			set := settings(probes[i.Labels[LabelUID]])
			w.group.Go(func() { w.watch(watching, i, one, set) })
		}
	}
	for id, one := range w.byID {
		if !listed[id] {
			if one.cancel != nil {
				one.cancel()
			}
			delete(w.byID, id)
		}
	}
}

// see joins what the engine says of an instance with what its probes say.
func (w *watches) see(ctx context.Context, i engine.Instance) seen {
	w.mu.Lock()
	one := w.byID[i.ID]
	s := seen{Instance: i, asked: one.asked, ready: one.ready, everReady: one.everReady, turned: one.turned, phase: one.phase, cause: one.cause, told: one.said}
	w.mu.Unlock()
	if i.Phase.Ended() && s.cause == nil {
		s.cause = w.causeOfEnd(ctx, s)
		w.mu.Lock()
		one.cause = s.cause
		w.mu.Unlock()
	}
	return s
}

// Service says what is known of how an instance serves.
func (l *Loop) Service(instance string) engine.Service {
	w := l.watched
	w.mu.Lock()
	defer w.mu.Unlock()
	one := w.byID[instance]
	if one == nil {
		return engine.Service{}
	}
	return engine.Service{Unready: one.asked && !one.ready, Served: one.everReady}
}

func (w *watches) stop() {
	w.mu.Lock()
	for _, one := range w.byID {
		if one.cancel != nil {
			one.cancel()
		}
	}
	w.mu.Unlock()
	w.group.Wait()
}

// watch asks one instance until it ends. A scoring server is told what is known
// of it, and answers when that changes; others are asked again and again.
func (w *watches) watch(ctx context.Context, i engine.Instance, one *watch, set probe.Settings) {
	state := probe.Begin(i.Created)
	known := "" // the phase it said it was in
	since := w.loop.Now()
	listening := false
	for {
		answer := w.prober.Check(ctx, i.Address, probe.Question{Path: "/", Timeout: set.Timeout, Known: known})
		if ctx.Err() != nil {
			return
		}
		state = state.Next(answer, w.loop.Now(), set)
		phase, said := "ready", ""
		if state.Verdict != probe.Passing {
			if said = saidPhase(answer.Body); said != "" {
				phase = said
			} else {
				phase = w.phase(ctx, i)
			}
		}
		w.note(one, state.Verdict == probe.Passing, phase)
		moved := said != "" && said != known
		if moved {
			since = w.loop.Now()
		}
		if !listening && (phase == "ready" || w.loop.Now().Sub(since) >= listenAfter) {
			listening = true
			w.group.Go(func() { w.listen(ctx, i, one) })
		}
		wait := state.Due(set).Sub(w.loop.Now())
		if moved {
			// It answers the next time when there is news. Going back and forth is
			// none to be written down all the time.
			wait = 0
			if phaseOrder[said] < phaseOrder[known] {
				wait = listenPause
			}
		}
		known = said
		if pause(ctx, wait) != nil {
			return
		}
	}
}

// saidPhase gives the phase that a scoring server names when it is not ready.
func saidPhase(body []byte) string {
	phase, ok := strings.CutPrefix(string(body), "Not ready: ")
	if !ok {
		return ""
	}
	return knownPhase(phase)
}

// phaseOrder holds the phases of a scoring server by their order.
var phaseOrder = map[string]int{"starting": 1, "import": 2, "init": 3, "ready": 4}

// knownPhase gives a phase if it is one, else "".
func knownPhase(phase string) string {
	if phaseOrder[phase] == 0 {
		return ""
	}
	return phase
}

// settings turns a deployment's readiness probe into the prober's terms; until
// the first success it is asked eagerly.
func settings(p sluice.Probe) probe.Settings {
	return probe.Settings{InitialDelay: p.InitialDelay, Period: p.Period, Timeout: p.Timeout,
		SuccessThreshold: p.SuccessThreshold, FailureThreshold: p.FailureThreshold, Eager: probe.Eager}
}

func (w *watches) note(one *watch, ready bool, phase string) {
	w.mu.Lock()
	changed := !one.asked || one.ready != ready || one.phase != phase
	if !one.asked || one.ready != ready {
		one.turned = w.loop.Now()
	}
	one.asked, one.ready, one.phase = true, ready, phase
	one.everReady = one.everReady || ready
	w.mu.Unlock()
	if changed {
		w.loop.Poke()
	}
}

// phase asks a scoring server what it is doing. "" when it does not say.
func (w *watches) phase(ctx context.Context, i engine.Instance) string {
	return hear(w.prober.Check(ctx, i.Address, probe.Question{Path: livePath, Timeout: time.Second, MaxBody: maxTold})).phase
}

// evidenceLines is how many of its last lines show why an instance ended.
const evidenceLines = 20

// causeOfEnd gives why an instance ended: what it said itself, else what the
// engine saw, with its last lines of output.
func (w *watches) causeOfEnd(ctx context.Context, s seen) *sluice.Cause {
	var cause sluice.Cause
	if s.Exit == nil || json.Unmarshal([]byte(s.Exit.Message), &cause) != nil || cause.Message == "" {
		cause = endCause(s)
	}
	cause = cause.Clean()
	cause.Instance = s.ID
	cause.Hint = strings.ReplaceAll(cause.Hint, "`sluice online-deployment get-logs`", "`"+showLog(s.Instance)+"`")
	if len(cause.Evidence) == 0 {
		cause.Evidence = w.lastLines(ctx, s.ID)
	}
	return &cause
}

// showLog gives the command that shows what an instance wrote. It names the
// instance: without that, the log of one that lives would be shown.
func showLog(i engine.Instance) string {
	return fmt.Sprintf("sluice online-deployment get-logs -e %s -n %s --instance %s", i.Labels[LabelEndpoint], i.Labels[LabelDeployment], i.ID)
}

// endCause words an end that the workload itself did not explain.
func endCause(s seen) sluice.Cause {
	during := s.phase
	if s.everReady {
		during = "serving"
	} else if during == "" {
		during = "starting"
	}
	switch {
	case s.Reason == engine.DiskFull:
		return *causeOf(sluice.DiskFull(s.Message, nil))
	case s.Reason == engine.OOM || s.Exit != nil && s.Exit.OOM:
		return sluice.Cause{Code: sluice.CauseOutOfMemory, Message: "the instance ran out of memory while " + during + limitOf(s.Exit),
			Hint: "choose an instance_type with more memory"}
	case s.Exit != nil && s.Exit.Message == "" && neverStarted(s.Exit.Code):
		return sluice.Cause{Code: sluice.CausePythonMissing, Message: strings.TrimSuffix(s.Message, "."),
			Hint: "mend what is named, then deploy again"}
	case s.Exit != nil && s.Exit.Signal != "":
		return sluice.Cause{Code: sluice.CauseCrashed, Message: fmt.Sprintf("the instance was ended by %s while %s", s.Exit.Signal, during),
			Hint: "`sluice online-deployment get-logs` shows its output"}
	case s.Exit != nil:
		return sluice.Cause{Code: sluice.CauseInstanceExited, Message: fmt.Sprintf("the instance ended with exit code %d while %s", s.Exit.Code, during),
			Hint: "`sluice online-deployment get-logs` shows its output"}
	case s.Message != "":
		return sluice.Cause{Code: sluice.CauseEngine, Message: s.Message}
	}
	return sluice.Cause{Code: sluice.CauseInstanceExited, Message: "the instance ended while " + during,
		Hint: "`sluice online-deployment get-logs` shows its output"}
}

// limitOf tells what memory an instance could have and had, where that is known.
func limitOf(exit *engine.Exit) string {
	if exit == nil || exit.Limit == 0 {
		return ""
	}
	return fmt.Sprintf(": the limit is %d MiB, at most %d MiB were in use", exit.Limit>>20, exit.Peak>>20)
}

// neverStarted reports whether a command was not even started: it could not be
// read, or is not there. The engine's own sentence says it best.
func neverStarted(code int) bool { return code == 126 || code == 127 }

func (w *watches) lastLines(ctx context.Context, instance string) []string {
	logs, err := w.loop.Engine.Logs(ctx, instance, engine.LogOptions{Tail: evidenceLines})
	if err != nil {
		return nil
	}
	defer logs.Close()
	var lines []string
	scanner := bufio.NewScanner(logs)
	for scanner.Scan() && len(lines) < evidenceLines {
		lines = append(lines, scanner.Text())
	}
	return sluice.Cause{Evidence: telling(lines)}.Clean().Evidence
}

// telling leaves out what a scoring server writes about itself: its settings,
// before it listens, and at its end the cause that is shown anyway.
func telling(lines []string) []string {
	kept := lines
	for i, line := range lines {
		if strings.Contains(line, " azmlinfsrv - Listening at: ") {
			kept = lines[i+1:]
		}
	}
	return slices.DeleteFunc(slices.Clone(kept), func(line string) bool {
		return strings.Contains(line, " azmlinfsrv - The server ends: ") || strings.Contains(line, " azmlinfsrv - Hint: ")
	})
}
