package enginetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/engine"
)

// The needs of promises that not every engine can keep.
var (
	needsState  = func(h Harness) string { return lack(h.Close == nil, "state that outlives an engine value") }
	needsPIDs   = func(h Harness) string { return lack(h.Alive == nil, "processes on this machine") }
	needsFiles  = func(h Harness) string { return lack(h.Tree == nil, "files") }
	needsStuck  = func(h Harness) string { return lack(h.Stuck == nil, "files that can be made to come late") }
	needsCaller = func(h Harness) string { return lack(h.KillCaller == nil, "state that outlives its process") }
)

func lack(missing bool, what string) string {
	if missing {
		return what
	}
	return ""
}

// promises are the contract of package engine, sentence by sentence.
var promises = []promise{
	{"Ensure starts copies", nil, startsCopies},
	{"Ensure is idempotent", nil, ensureTwice},
	{"Ensure is idempotent from many callers", nil, ensureTogether},
	{"Ensure refuses another template", nil, refusesChange},
	{"Ensure scales", nil, scales},
	{"the youngest goes first", nil, youngestFirst},
	{"what does not run goes before the youngest", needsStuck, notRunningFirst},
	{"a stale epoch is refused", nil, refusesStale},
	{"Remove is idempotent", nil, removeTwice},
	{"Remove and Ensure again", nil, ensureAfterRemove},
	{"Remove at once after Ensure", nil, removeMidStart},
	{"a cancelled Ensure harms nothing", nil, cancelledEnsure},
	{"a start that is cancelled midway harms nothing", nil, cancelledMidway},
	{"exit codes are true", nil, exitCodes},
	{"signals are true", nil, signals},
	{"the termination message is kept and bounded", nil, terminationMessages},
	{"what cannot start says why", nil, cannotStart},
	{"never runs once", nil, runsOnce},
	{"always replaces with back-off", nil, replaces},
	{"draining shows at once and lasts its delay", nil, drains},
	{"grace and then force", nil, forces},
	{"copies with one port do not meet", needsPIDs, fixedPorts},
	{"children end with their copy", needsPIDs, childrenEnd},
	{"children are ended by force too", needsPIDs, childrenForced},
	{"logs after the end", nil, logsAfterEnd},
	{"logs are followed", nil, followsLogs},
	{"a log goes on where it was left", nil, goesOnInLogs},
	{"a followed log ends with its context", nil, followCancelled},
	{"many lines are kept in order", nil, manyLines},
	{"2000 lines a second are kept and hold nobody up", nil, chatty},
	{"unknown instances are not found", nil, unknownInstance},
	{"odd labels and IDs", nil, oddLabels},
	{"selectors select", nil, selects},
	{"names are replaced in command, environment and address", nil, replacesNames},
	{"files are there and read-only", needsFiles, placesFiles},
	{"files that cannot be had are a reason", needsFiles, missingFiles},
	{"a fresh engine knows everything", needsState, freshEngine},
	{"a fresh engine goes on with what was wanted", needsState, freshEngineActs},
	{"an end that nobody watched is true", needsState, unwatchedEnd},
	{"a caller that is killed disturbs nothing", needsCaller, callerKilled},
	{"it says when to list again", nil, notifies},
	{"it describes itself", nil, describes},
}

func startsCopies(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	s.ensure(w, 2)
	addresses := map[string]bool{}
	for _, i := range s.running("w", 2) {
		if !strings.HasPrefix(i.Address, "unix://") || strings.Contains(i.Address, "${") {
			s.Errorf("instance %s has the address %q", i.ID, i.Address)
		}
		addresses[i.Address] = true
		if i.ID == "" || i.Workload != "w" || i.Created.IsZero() || i.Started.IsZero() || !i.Ended.IsZero() || i.Exit != nil {
			s.Errorf("a running instance is %+v", i)
		}
		if diff := cmp.Diff(w.Labels, i.Labels); diff != "" {
			s.Errorf("labels (-want +got):\n%s", diff)
		}
	}
	if len(addresses) != 2 {
		s.Errorf("two copies have the addresses %v", addresses)
	}
}

func ensureTwice(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	s.ensure(w, 2)
	before := ids(s.running("w", 2))
	s.ensure(w, 2)
	s.ensure(w, 2)
	if diff := cmp.Diff(before, ids(s.list("w"))); diff != "" {
		s.Errorf("copies after ensuring again (-want +got):\n%s", diff)
	}
}

func ensureTogether(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if err := s.Ensure(s.Context(), 1, w, 2); err != nil {
				s.Errorf("Ensure: %v", err)
			}
		})
	}
	calls.Wait()
	s.running("w", 2)
	if list := s.list("w"); len(list) != 2 {
		s.Errorf("eight callers made %d copies, want 2", len(list))
	}
}

func refusesChange(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	s.ensure(w, 1)
	before := ids(s.running("w", 1))
	changed := w
	changed.Template.Grace++
	if err := s.Ensure(s.Context(), 1, changed, 1); !errors.Is(err, engine.ErrChanged) {
		s.Errorf("Ensure with another template: %v, want ErrChanged", err)
	}
	if diff := cmp.Diff(before, ids(s.list("w"))); diff != "" {
		s.Errorf("copies (-want +got):\n%s", diff)
	}
}

func scales(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	for _, n := range []int{1, 3, 2, 0, 1} {
		s.ensure(w, n)
		s.running("w", n)
	}
}

func youngestFirst(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	s.ensure(w, 1)
	oldest := s.running("w", 1)[0].ID
	s.ensure(w, 2)
	s.running("w", 2)
	s.ensure(w, 1)
	for _, i := range s.list("w") {
		if i.ID == oldest && i.Phase != engine.Running {
			s.Errorf("the older copy is %s after scaling down", i.Phase)
		}
	}
	if left := s.running("w", 1)[0].ID; left != oldest {
		s.Errorf("%s is left, want the older %s", left, oldest)
	}
}

// notRunningFirst has the oldest of four copies never run.
func notRunningFirst(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	w.Template.Files = []engine.File{{Digest: s.h.Stuck(s.T, map[string]string{"a": "b"}), Path: "/a"}}
	s.ensure(w, 1)
	stuck := s.list("w")[0].ID
	old := s.next(w, 2)
	middle := s.next(w, 3)
	young := s.next(w, 4)
	for n, first := range []string{stuck, young, middle} {
		s.ensure(w, 3-n)
		s.until("w", "copy "+first+" to be ended alone", func(list []engine.Instance) bool {
			asked := 0
			for _, i := range list {
				if i.Asked {
					asked++
				}
			}
			if asked > n+1 {
				s.Fatalf("%d copies are to end, want %d: %+v", asked, n+1, list)
			}
			return asked == n+1 && slices.ContainsFunc(list, func(i engine.Instance) bool { return i.ID == first && i.Asked })
		})
	}
	if left := s.running("w", 1)[0].ID; left != old {
		s.Errorf("%s is left, want %s", left, old)
	}
}

// next wants one copy more and gives the one that runs then and did not
// before.
func (s *stage) next(w engine.Workload, replicas int) string {
	s.Helper()
	before := ids(s.list(w.ID))
	s.ensure(w, replicas)
	found := ""
	s.until(w.ID, "another running copy", func(list []engine.Instance) bool {
		for _, i := range list {
			if !before[i.ID] && i.Phase == engine.Running {
				found = i.ID
			}
		}
		return found != ""
	})
	return found
}

func refusesStale(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	if err := s.Ensure(s.Context(), 5, w, 1); err != nil {
		s.Fatalf("Ensure: %v", err)
	}
	if s.h.Close != nil {
		s.reopen()
	}
	if err := s.Ensure(s.Context(), 4, w, 3); !errors.Is(err, engine.ErrStale) {
		s.Errorf("Ensure with an older epoch: %v, want ErrStale", err)
	}
	if err := s.Remove(s.Context(), 4, "w"); !errors.Is(err, engine.ErrStale) {
		s.Errorf("Remove with an older epoch: %v, want ErrStale", err)
	}
	s.running("w", 1)
	if err := s.Remove(s.Context(), 6, "w"); err != nil {
		s.Errorf("Remove with a newer epoch: %v", err)
	}
}

func removeTwice(s *stage) {
	s.remove("never seen")
	w := s.workload("w", engine.RestartAlways, "wait")
	s.ensure(w, 1)
	s.running("w", 1)
	s.remove("w")
	s.remove("w")
	s.running("w", 0)
	s.remove("w")
}

func ensureAfterRemove(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	s.ensure(w, 1)
	before := s.running("w", 1)[0].ID
	s.remove("w")
	s.ensure(w, 1)
	s.until("w", "a new copy alone", func(list []engine.Instance) bool {
		l := living(list)
		return len(l) == 1 && l[0].Phase == engine.Running && l[0].ID != before
	})
}

func removeMidStart(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	for range 5 {
		s.ensure(w, 2)
		s.remove("w")
	}
	s.running("w", 0)
}

func cancelledEnsure(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if err := s.Ensure(ctx, 1, w, 1); err != nil && !errors.Is(err, context.Canceled) {
		s.Errorf("Ensure with a cancelled context: %v", err)
	}
	s.ensure(w, 1)
	s.running("w", 1)
}

// cancelledMidway gives up on Ensure and on Remove after ever longer times,
// while they are under way: each is then done or not, and never half.
func cancelledMidway(s *stage) {
	w := s.workload("w", engine.RestartAlways, "wait")
	try := func(after time.Duration, call func(context.Context) error) {
		ctx, cancel := context.WithTimeout(s.Context(), after)
		defer cancel()
		if err := call(ctx); err != nil && ctx.Err() == nil {
			s.Errorf("given up after %s: %v", after, err)
		}
	}
	for n := range 12 {
		after := time.Duration(n) * 400 * time.Microsecond
		try(after, func(ctx context.Context) error { return s.Ensure(ctx, 1, w, 2) })
		wanted := slices.DeleteFunc(living(s.list("w")), func(i engine.Instance) bool { return i.Asked })
		if len(wanted) > 2 {
			s.Fatalf("given up after %s, Ensure left %d copies, want at most 2", after, len(wanted))
		}
		s.ensure(w, 2)
		if n%3 == 0 {
			s.running("w", 2)
		}
		try(after, func(ctx context.Context) error { return s.Remove(ctx, 1, "w") })
		s.remove("w")
	}
	s.running("w", 0)
	s.ensure(w, 2)
	s.running("w", 2)
}
