package enginetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/engine"
)

func exitCodes(s *stage) {
	for _, test := range []struct {
		code  int
		phase engine.Phase
	}{{0, engine.Succeeded}, {1, engine.Failed}, {7, engine.Failed}, {255, engine.Failed}} {
		id := fmt.Sprintf("exits with %d", test.code)
		s.ensure(s.workload(id, engine.RestartNever, fmt.Sprintf("exit:%d", test.code)), 1)
		i := s.over(id, 1)[0]
		if i.Exit == nil || i.Exit.Code != test.code || i.Exit.Signal != "" || i.Phase != test.phase {
			s.Errorf("%s: %s, %+v", id, i.Phase, i.Exit)
		}
		if failed := test.phase == engine.Failed; failed != (i.Reason == engine.Exited) {
			s.Errorf("%s: the reason is %q", id, i.Reason)
		}
		if i.Ended.Before(i.Started) {
			s.Errorf("%s: ended %s before it started", id, i.Started.Sub(i.Ended))
		}
	}
}

func signals(s *stage) {
	s.ensure(s.workload("w", engine.RestartNever, "kill"), 1)
	i := s.over("w", 1)[0]
	if i.Phase != engine.Failed || i.Exit == nil || i.Exit.Signal != "SIGKILL" {
		s.Errorf("killed itself: %s, %+v", i.Phase, i.Exit)
	}
}

func terminationMessages(s *stage) {
	s.ensure(s.workload("short", engine.RestartNever, "leave:17", "exit:3"), 1)
	s.ensure(s.workload("long", engine.RestartNever, "leave:100000", "exit:3"), 1)
	for id, want := range map[string]int{"short": 17, "long": engine.MaxExitMessage} {
		i := s.over(id, 1)[0]
		if i.Exit == nil || i.Exit.Message != strings.Repeat("m", want) {
			s.Errorf("%s: the exit is %+v, want a message of %d bytes", id, i.Exit, want)
		}
	}
}

func cannotStart(s *stage) {
	if s.h.Alive == nil { // a command that does not exist is the engine's business on a machine only
		return
	}
	w := s.workload("w", engine.RestartNever)
	w.Template.Command = []string{"/nonexistent/program"}
	s.ensure(w, 1)
	i := s.over("w", 1)[0]
	if i.Phase != engine.Failed || i.Reason != engine.Exited || !strings.Contains(i.Message, "/nonexistent/program") {
		s.Errorf("a command that is not there: %s, %s, %q", i.Phase, i.Reason, i.Message)
	}
}

func runsOnce(s *stage) {
	w := s.workload("w", engine.RestartNever, "exit:1")
	s.ensure(w, 2)
	before := ids(s.over("w", 2))
	s.ensure(w, 2)
	if s.h.Close != nil {
		s.reopen()
	}
	s.ensure(w, 3) // a third copy shows that the engine has acted
	s.over("w", 3)
	after := ids(s.list("w"))
	if len(after) != 3 {
		s.Errorf("%d copies, want the two that ran and one more", len(after))
	}
	for id := range before {
		if !after[id] {
			s.Errorf("copy %s is no longer listed", id)
		}
	}
}

func replaces(s *stage) {
	s.ensure(s.workload("w", engine.RestartAlways, "exit:1"), 1)
	list := s.over("w", 4)
	slices.SortFunc(list, func(a, b engine.Instance) int { return a.Created.Compare(b.Created) })
	for n, i := range list[1:4] {
		// The nth replacement waits 100, 200, 400 ms after the end before it.
		// The engine may stamp its own listing a little later than the end.
		want := 100 * time.Millisecond << n
		if wait := i.Created.Sub(list[n].Ended); wait < want {
			s.Errorf("replacement %d came %s after the end, want at least %s", n+1, wait, want)
		}
	}
	if living := living(s.list("w")); len(living) > 1 {
		s.Errorf("%d copies live, want at most 1", len(living))
	}
}

func drains(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	w.Template.DrainDelay = 2 * time.Second
	s.ensure(w, 2)
	s.running("w", 2)
	began := time.Now()
	s.ensure(w, 1)
	list := s.list("w")
	listed := time.Since(began)
	phases := map[engine.Phase]int{}
	for _, i := range list {
		phases[i.Phase]++
	}
	want := map[engine.Phase]int{engine.Running: 1, engine.Draining: 1}
	if diff := cmp.Diff(want, phases); diff != "" && listed < w.Template.DrainDelay {
		s.Errorf("phases at once after scaling down (-want +got):\n%s", diff)
	}
	i := s.over("w", 1)[0]
	if took := i.Ended.Sub(began); took < w.Template.DrainDelay {
		s.Errorf("it ended after %s, before its drain delay of %s", took, w.Template.DrainDelay)
	}
	if i.Phase != engine.Succeeded || !i.Asked {
		s.Errorf("a copy that ended when asked to is %s (%s), asked: %t", i.Phase, i.Message, i.Asked)
	}
	for _, other := range s.list("w") {
		if other.ID != i.ID && other.Asked {
			s.Errorf("copy %s was not asked to end, and says it was", other.ID)
		}
	}
	if log := s.log(i.ID, 0); log != told+"\n" {
		s.Errorf("its log is %q", log)
	}
}

func forces(s *stage) {
	w := s.workload("w", engine.RestartAlways, "print:up", "deaf")
	w.Template.Grace = 300 * time.Millisecond
	s.ensure(w, 1)
	s.printed(s.running("w", 1)[0].ID, "up")
	began := time.Now()
	s.remove("w")
	i := s.over("w", 1)[0]
	if took := i.Ended.Sub(began); took < w.Template.Grace {
		s.Errorf("it was killed after %s, before its grace of %s", took, w.Template.Grace)
	}
	if i.Phase != engine.Failed || i.Exit == nil || i.Exit.Signal != "SIGKILL" {
		s.Errorf("a deaf copy ended as %s, %+v", i.Phase, i.Exit)
	}
}

// child gives the process ID of the child that a running instance has started.
func (s *stage) child(i engine.Instance) int {
	s.Helper()
	s.printed(i.ID, begot)
	children := s.h.Below(s.T, i.PID)
	if len(children) != 1 {
		s.Fatalf("below command %d there are %v, want one child", i.PID, children)
	}
	return children[0]
}

func (s *stage) gone(pid int) {
	s.Helper()
	s.poll(func() string { return fmt.Sprintf("the end of process %d", pid) }, func() bool { return !s.h.Alive(pid) })
}

func childrenEnd(s *stage) {
	s.ensure(s.workload("w", engine.RestartNever, "child", "until:${run}/flag", "exit:5"), 1)
	i := s.running("w", 1)[0]
	child := s.child(i)
	s.h.Touch(s.T, i, "flag")
	i = s.over("w", 1)[0]
	if i.Exit == nil || i.Exit.Code != 5 {
		s.Errorf("the exit is %+v, want code 5", i.Exit)
	}
	s.gone(child)
}

func childrenForced(s *stage) {
	w := s.workload("w", engine.RestartAlways, "child", "deaf")
	w.Template.Grace = 50 * time.Millisecond
	s.ensure(w, 1)
	i := s.running("w", 1)[0]
	child := s.child(i)
	if !s.h.Alive(child) || !s.h.Alive(i.PID) {
		s.Fatalf("child %d or command %d does not live", child, i.PID)
	}
	s.remove("w")
	s.over("w", 1)
	s.gone(child)
	s.gone(i.PID)
}
