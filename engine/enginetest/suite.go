// Package enginetest is the conformance suite that every engine passes, and an
// engine in memory for tests of what calls one.
//
// An engine's own test calls [Run] with a [Harness]; its TestMain plays the
// suite's actor when the test binary is started as one:
//
//	if verbs, ok := enginetest.ActorArgs(os.Args); ok {
//		os.Exit(enginetest.Act(verbs))
//	}
//
// A test of a caller makes an [Engine] with [New], and lets its copies start,
// run and end as it pleases.
package enginetest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/engine"
)

// patience bounds how long the suite waits for what must come. It says nothing
// about how fast an engine is.
const patience = 60 * time.Second

// Harness is one fresh state for one subtest, and how to put engines over it.
// A nil func says that the engine has no such thing; what is then not tested is
// logged.
type Harness struct {
	// Open opens an engine over the state.
	Open func(t *testing.T) engine.Engine
	// Close ends an engine value and leaves its instances alone, as the end of
	// its process would. Nil where state does not outlive the value.
	Close func(t *testing.T, e engine.Engine)
	// Actor is the command that plays the actor; it ends with ActorMark.
	Actor []string
	// Tree stores files and gives the digest by which the engine finds them.
	Tree func(t *testing.T, files map[string]string) string
	// Stuck is Tree for files whose first placing waits until it is given up:
	// the copy that wants them first never runs, later ones do. Nil where
	// nobody can have placing wait.
	Stuck func(t *testing.T, files map[string]string) string
	// Alive reports whether a process of this machine lives. Nil where
	// instances are not processes of this machine.
	Alive func(pid int) bool
	// Below lists the processes of this machine that a process has started, and
	// those that these have. Set where Alive is.
	Below func(t *testing.T, pid int) []int
	// Touch makes an empty file of that name in the ${run} of a running
	// instance. Set where Close is.
	Touch func(t *testing.T, i engine.Instance, name string)
	// KillCaller ensures the workload from another process, and ends that
	// process as kill -9 does once the copies run.
	KillCaller func(t *testing.T, w engine.Workload, replicas int)
}

// Run runs the suite. start makes a new Harness for each subtest.
func Run(t *testing.T, start func(t *testing.T) Harness) {
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			h := start(t)
			if p.needs != nil {
				if missing := p.needs(h); missing != "" {
					t.Logf("not tested: this engine has no %s", missing)
					return
				}
			}
			s := &stage{T: t, h: h}
			s.Engine = h.Open(t)
			t.Cleanup(s.clear)
			p.test(s)
		})
	}
}

// promise is one thing that every engine must keep.
type promise struct {
	name  string
	needs func(Harness) string // what is missing, or ""
	test  func(*stage)
}

// stage is what a subtest acts on.
type stage struct {
	*testing.T
	engine.Engine
	h         Harness
	workloads []string
}

// workload is a workload that plays the verbs.
func (s *stage) workload(id string, restart engine.Restart, verbs ...string) engine.Workload {
	s.workloads = append(s.workloads, id)
	return engine.Workload{ID: id, Tenant: "default",
		Labels: map[string]string{"app": id},
		Template: engine.Template{
			Command: append(append([]string(nil), s.h.Actor...), verbs...),
			Address: "unix://${run}/${instance}.sock",
			Restart: restart,
			Grace:   20 * time.Second,
		}}
}

func (s *stage) ensure(w engine.Workload, replicas int) {
	s.Helper()
	if err := s.Ensure(s.Context(), 1, w, replicas); err != nil {
		s.Fatalf("Ensure(%s, %d): %v", w.ID, replicas, err)
	}
}

func (s *stage) remove(id string) {
	s.Helper()
	if err := s.Remove(s.Context(), 1, id); err != nil {
		s.Fatalf("Remove(%s): %v", id, err)
	}
}

func (s *stage) list(workload string) []engine.Instance {
	s.Helper()
	list, err := s.Instances(context.WithoutCancel(s.Context()), engine.Selector{Workload: workload})
	if err != nil {
		s.Fatalf("Instances: %v", err)
	}
	return list
}

// until lists until ok says yes, and gives the list it said so to.
func (s *stage) until(workload, what string, ok func([]engine.Instance) bool) []engine.Instance {
	s.Helper()
	var list []engine.Instance
	s.poll(func() string { return fmt.Sprintf("%s of workload %q; there is %+v", what, workload, list) }, func() bool {
		list = s.list(workload)
		return ok(list)
	})
	return list
}

// poll waits until ok says yes.
func (s *stage) poll(what func() string, ok func() bool) {
	s.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline:
			s.Fatalf("waited in vain for %s", what())
		}
	}
}

// running waits for exactly n running copies and no other living ones.
func (s *stage) running(workload string, n int) []engine.Instance {
	s.Helper()
	return living(s.until(workload, fmt.Sprintf("%d running copies", n), func(list []engine.Instance) bool {
		l := living(list)
		for _, i := range l {
			if i.Phase != engine.Running {
				return false
			}
		}
		return len(l) == n
	}))
}

// over waits for n copies that have ended.
func (s *stage) over(workload string, n int) []engine.Instance {
	s.Helper()
	return ended(s.until(workload, fmt.Sprintf("%d ended copies", n), func(list []engine.Instance) bool {
		return len(ended(list)) >= n
	}))
}

func living(list []engine.Instance) (l []engine.Instance) {
	for _, i := range list {
		if !i.Phase.Ended() {
			l = append(l, i)
		}
	}
	return l
}

func ended(list []engine.Instance) (l []engine.Instance) {
	for _, i := range list {
		if i.Phase.Ended() {
			l = append(l, i)
		}
	}
	return l
}

func ids(list []engine.Instance) map[string]bool {
	m := map[string]bool{}
	for _, i := range list {
		m[i.ID] = true
	}
	return m
}

// log reads what an instance has printed so far.
func (s *stage) log(instance string, tail int) string {
	s.Helper()
	r, err := s.Logs(s.Context(), instance, engine.LogOptions{Tail: tail})
	if err != nil {
		s.Fatalf("Logs(%s): %v", instance, err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		s.Fatalf("reading the log of %s: %v", instance, err)
	}
	return string(text)
}

// printed waits for a line in the log of an instance.
func (s *stage) printed(instance, prefix string) string {
	s.Helper()
	found := ""
	s.poll(func() string { return fmt.Sprintf("a line %q in the log of %s", prefix, instance) }, func() bool {
		for l := range strings.Lines(s.log(instance, 0)) {
			if strings.HasPrefix(l, prefix) && strings.HasSuffix(l, "\n") {
				found = strings.TrimSpace(l)
				return true
			}
		}
		return false
	})
	return found
}

// reopen puts a fresh engine value over the state.
func (s *stage) reopen() {
	s.Helper()
	s.h.Close(s.T, s.Engine)
	s.Engine = s.h.Open(s.T)
}

// clear removes all that the subtest made, and waits until it is gone.
func (s *stage) clear() {
	s.Helper()
	ctx := context.WithoutCancel(s.Context())
	for _, id := range s.workloads {
		if err := s.Remove(ctx, 1<<40, id); err != nil {
			s.Errorf("Remove(%s) at the end: %v", id, err)
		}
	}
	for _, id := range s.workloads {
		s.until(id, "the end of all copies", func(list []engine.Instance) bool { return len(living(list)) == 0 })
	}
	if s.h.Close != nil {
		s.h.Close(s.T, s.Engine)
	}
}
