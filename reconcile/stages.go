package reconcile

import (
	"slices"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

// detailEvery bounds how often a mere change of detail (bytes so far) is
// written to the store. A new step is written at once.
const detailEvery = 500 * time.Millisecond

// stages gathers how far each running operation is, from the goroutines that
// know, until a pass writes it down.
type stages struct {
	now  func() time.Time
	poke func()

	mu          sync.Mutex
	byOperation map[string]*staged // guarded by mu
}

type staged struct {
	stages  []sluice.Stage
	notices []string
	urgent  bool // a step changed since it was last taken
	changed bool // anything did
	taken   time.Time
}

func newStages(now func() time.Time, poke func()) *stages {
	return &stages{now: now, poke: poke, byOperation: map[string]*staged{}}
}

// enter notes that an operation is in a step now. "" for no operation.
func (s *stages) enter(operation string, stage sluice.Stage) {
	s.update(operation, func(old []sluice.Stage) []sluice.Stage {
		return sluice.Advance(old, stage, s.now())
	})
}

// leave notes that the named stage is over.
func (s *stages) leave(operation, name string) {
	s.update(operation, func(old []sluice.Stage) []sluice.Stage {
		out := slices.Clone(old)
		for i := range out {
			if out[i].Name == name && out[i].Ended.IsZero() {
				out[i].Ended = s.now()
			}
		}
		return out
	})
}

func (s *stages) update(operation string, change func([]sluice.Stage) []sluice.Stage) {
	if operation == "" {
		return
	}
	s.mu.Lock()
	one := s.of(operation)
	next := change(one.stages)
	same := slices.Equal(next, one.stages)
	one.changed = one.changed || !same
	one.urgent = one.urgent || !slices.EqualFunc(next, one.stages, sameStep)
	one.stages = next
	urgent := one.urgent
	s.mu.Unlock()
	if urgent {
		s.poke()
	}
}

func sameStep(a, b sluice.Stage) bool {
	return a.Name == b.Name && a.Step == b.Step && a.Instance == b.Instance && a.Ended.Equal(b.Ended)
}

// notice notes what the user of an operation should know.
func (s *stages) notice(operation string, notices []string) {
	if operation == "" || len(notices) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of(operation)
	one.notices, one.changed, one.urgent = notices, true, true
}

// of gives what is known of an operation; mu must be held.
func (s *stages) of(operation string) *staged {
	one := s.byOperation[operation]
	if one == nil {
		one = &staged{}
		s.byOperation[operation] = one
	}
	return one
}

// take writes the stages and notices of an operation into it when they are
// worth writing now. Last forgets the operation.
func (s *stages) take(op *sluice.Operation, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byOperation[op.Name]
	if one == nil {
		return
	}
	now := s.now()
	due := one.urgent || last || one.changed && now.Sub(one.taken) >= detailEvery
	if !due {
		return
	}
	one.urgent, one.changed, one.taken = false, false, now
	if last {
		delete(s.byOperation, op.Name)
	}
	op.Stages, op.Notices = one.stages, one.notices
}

// instances notes what the instances of a deployment under change are doing.
func (s *stages) instances(v view) {
	if v.operation == nil || v.deployment.State == sluice.StateDeleting {
		return
	}
	for _, i := range v.instances {
		if i.Labels[LabelRevision] != v.deployment.Revision || i.Created.Before(v.operation.Started) {
			continue
		}
		s.enter(v.operation.Name, sluice.Stage{Name: sluice.StageInstance, Step: stepOf(i), Detail: detailOf(i), Instance: i.ID})
	}
}

func stepOf(i seen) string {
	switch {
	case i.Phase.Ended():
		return string(i.Phase)
	case i.Phase == engine.Draining:
		return string(engine.Draining)
	case i.ready:
		return sluice.StepReady
	case i.phase == "import":
		return sluice.StepImporting
	case i.phase == "init":
		return sluice.StepInit
	}
	return sluice.StepStarting
}

// detailOf says where an instance stands that is slow to start.
func detailOf(i seen) string {
	if i.ready || !i.live() || i.told.at == nil || i.told.phase != i.phase {
		return ""
	}
	return i.told.at.sentence()
}
