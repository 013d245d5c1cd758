package enginetest

import (
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/engine"
)

func freshEngine(s *stage) {
	w := s.workload("w", engine.RestartAlways, "print:up", "wait")
	s.ensure(w, 2)
	before := s.running("w", 2)
	s.ensure(s.workload("done", engine.RestartNever, "exit:3"), 1)
	done := s.over("done", 1)[0]
	s.reopen()
	if diff := cmp.Diff(before, s.list("w")); diff != "" {
		s.Errorf("running copies as a fresh engine sees them (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]engine.Instance{done}, s.list("done")); diff != "" {
		s.Errorf("the ended copy as a fresh engine sees it (-want +got):\n%s", diff)
	}
	s.printed(before[0].ID, "up")
	s.ensure(w, 2)
	if diff := cmp.Diff(before, s.list("w")); diff != "" {
		s.Errorf("copies after ensuring again (-want +got):\n%s", diff)
	}
}

func freshEngineActs(s *stage) {
	w := s.workload("w", engine.RestartAlways, "until:${run}/flag", "exit:1")
	s.ensure(w, 1)
	running := s.running("w", 1)[0]
	slow := s.workload("slow", engine.RestartAlways, "wait")
	slow.Template.DrainDelay = time.Second
	s.ensure(slow, 1)
	s.running("slow", 1)
	s.remove("slow")
	s.reopen()
	s.h.Touch(s.T, running, "flag")
	s.over("w", 1)                                                    // ended,
	s.until("w", "a replacement", func(list []engine.Instance) bool { // and replaced without being asked again
		return len(living(list)) == 1 && living(list)[0].ID != running.ID
	})
	i := s.over("slow", 1) // and drained
	if i[0].Phase != engine.Succeeded {
		s.Errorf("the drained copy is %s (%s)", i[0].Phase, i[0].Message)
	}
}

func unwatchedEnd(s *stage) {
	w := s.workload("w", engine.RestartNever, "print:before", "until:${run}/flag", "print:after", "leave:9", "exit:42")
	s.ensure(w, 1)
	running := s.running("w", 1)[0]
	s.h.Close(s.T, s.Engine)
	s.h.Touch(s.T, running, "flag")
	if s.h.Alive != nil {
		s.gone(running.PID)
	}
	s.Engine = s.h.Open(s.T)
	i := s.over("w", 1)[0]
	if i.Exit == nil || i.Exit.Code != 42 || i.Exit.Message != strings.Repeat("m", 9) {
		s.Errorf("the exit that nobody watched is %+v", i.Exit)
	}
	if log := s.log(i.ID, 0); log != "before\nafter\n" {
		s.Errorf("its log is %q", log)
	}
}

func callerKilled(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	s.h.Close(s.T, s.Engine)
	s.h.KillCaller(s.T, w, 2)
	s.Engine = s.h.Open(s.T)
	before := s.list("w")
	if len(before) != 2 {
		s.Fatalf("after its caller was killed there are %d copies, want 2", len(before))
	}
	for _, i := range before {
		if i.Phase != engine.Running || s.h.Alive != nil && !s.h.Alive(i.PID) {
			s.Errorf("after its caller was killed, a copy is %+v", i)
		}
	}
	s.ensure(w, 2)
	if diff := cmp.Diff(before, s.list("w")); diff != "" {
		s.Errorf("copies after ensuring again (-want +got):\n%s", diff)
	}
}
