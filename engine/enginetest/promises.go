package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	{"a stale epoch is refused", nil, refusesStale},
	{"Remove is idempotent", nil, removeTwice},
	{"Remove and Ensure again", nil, ensureAfterRemove},
	{"Remove at once after Ensure", nil, removeMidStart},
	{"a cancelled Ensure harms nothing", nil, cancelledEnsure},
	{"exit codes are true", nil, exitCodes},
	{"signals are true", nil, signals},
	{"the termination message is kept and bounded", nil, terminationMessages},
	{"what cannot start says why", nil, cannotStart},
	{"never runs once", nil, runsOnce},
	{"always replaces with back-off", nil, replaces},
	{"draining shows at once and lasts its delay", nil, drains},
	{"grace and then force", nil, forces},
	{"children end with their copy", needsPIDs, childrenEnd},
	{"children are ended by force too", needsPIDs, childrenForced},
	{"logs after the end", nil, logsAfterEnd},
	{"logs are followed", nil, followsLogs},
	{"a followed log ends with its context", nil, followCancelled},
	{"many lines are kept in order", nil, manyLines},
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
	if i.Phase != engine.Succeeded {
		s.Errorf("a copy that ended when asked to is %s (%s)", i.Phase, i.Message)
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

// child gives the process ID of the child that an instance has started.
func (s *stage) child(instance string) int {
	s.Helper()
	pid := number(strings.TrimPrefix(s.printed(instance, "child "), "child "))
	return pid
}

func (s *stage) gone(pid int) {
	s.Helper()
	s.poll(func() string { return fmt.Sprintf("the end of process %d", pid) }, func() bool { return !s.h.Alive(pid) })
}

func childrenEnd(s *stage) {
	s.ensure(s.workload("w", engine.RestartNever, "child", "exit:5"), 1)
	i := s.over("w", 1)[0]
	if i.Exit == nil || i.Exit.Code != 5 {
		s.Errorf("the exit is %+v, want code 5", i.Exit)
	}
	s.gone(s.child(i.ID))
}

func childrenForced(s *stage) {
	w := s.workload("w", engine.RestartAlways, "child", "deaf")
	w.Template.Grace = 50 * time.Millisecond
	s.ensure(w, 1)
	i := s.running("w", 1)[0]
	child := s.child(i.ID)
	if !s.h.Alive(child) || !s.h.Alive(i.PID) {
		s.Fatalf("child %d or command %d does not live", child, i.PID)
	}
	s.remove("w")
	s.over("w", 1)
	s.gone(child)
	s.gone(i.PID)
}

func logsAfterEnd(s *stage) {
	s.ensure(s.workload("w", engine.RestartNever, "print:one", "print:two", "print:three"), 1)
	i := s.over("w", 1)[0]
	for tail, want := range map[int]string{0: "one\ntwo\nthree\n", 1: "three\n", 2: "two\nthree\n", 9: "one\ntwo\nthree\n"} {
		if got := s.log(i.ID, tail); got != want {
			s.Errorf("the last %d lines are %q, want %q", tail, got, want)
		}
	}
}

func followsLogs(s *stage) {
	w := s.workload("w", engine.RestartAlways, "print:up", "wait", "lines:3", "print:last")
	s.ensure(w, 1)
	i := s.running("w", 1)[0]
	r, err := s.Logs(s.Context(), i.ID, engine.LogOptions{Follow: true})
	if err != nil {
		s.Fatalf("Logs: %v", err)
	}
	defer r.Close()
	first := make([]byte, 3)
	if _, err := io.ReadFull(r, first); err != nil || string(first) != "up\n" {
		s.Fatalf("the log begins %q, %v", first, err)
	}
	s.remove("w")
	rest, err := io.ReadAll(r) // ends with the instance
	want := told + "\n" + line(0) + "\n" + line(1) + "\n" + line(2) + "\nlast\n"
	if err != nil || string(rest) != want {
		s.Errorf("the log goes on %q, %v", rest, err)
	}
}

func followCancelled(s *stage) {
	s.ensure(s.workload("w", engine.RestartAlways, "print:up", "wait"), 1)
	i := s.running("w", 1)[0]
	ctx, cancel := context.WithCancel(s.Context())
	r, err := s.Logs(ctx, i.ID, engine.LogOptions{Follow: true})
	if err != nil {
		s.Fatalf("Logs: %v", err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 3)); err != nil {
		s.Fatalf("reading: %v", err)
	}
	cancel()
	if _, err := io.ReadAll(r); err != nil && !errors.Is(err, context.Canceled) {
		s.Errorf("reading on: %v", err)
	}
}

func manyLines(s *stage) {
	const n = 20_000
	s.ensure(s.workload("w", engine.RestartNever, fmt.Sprintf("lines:%d", n)), 1)
	i := s.over("w", 1)[0]
	count := 0
	for l := range strings.Lines(s.log(i.ID, 0)) {
		if l != line(count)+"\n" {
			s.Fatalf("line %d is %q", count, l)
		}
		count++
	}
	if count != n {
		s.Errorf("%d lines are kept, want %d", count, n)
	}
	if got, want := s.log(i.ID, 1), line(n-1)+"\n"; got != want {
		s.Errorf("the last line is %q, want %q", got, want)
	}
	if got := strings.Count(s.log(i.ID, 5000), "\n"); got != 5000 {
		s.Errorf("the last 5000 lines are %d", got)
	}
}

func unknownInstance(s *stage) {
	for _, id := range []string{"nobody", "", ".", "..", "../nobody", "a/b", ".engine", strings.Repeat("x", 5000)} {
		if _, err := s.Logs(s.Context(), id, engine.LogOptions{}); !errors.Is(err, engine.ErrNotFound) {
			s.Errorf("Logs(%.40q): %v, want ErrNotFound", id, err)
		}
	}
}

func oddLabels(s *stage) {
	for n, odd := range []string{"../../etc/passwd", "a b\tc\nd", "ünï—©ode 🙂", "$(reboot) `x` \"'\\", strings.Repeat("l", 1000), "${run}"} {
		w := s.workload(odd, engine.RestartNever, "exit:0")
		w.Tenant = odd
		w.Labels = map[string]string{"odd": odd, odd: "x", "": odd}
		s.ensure(w, 1)
		i := s.over(odd, 1)[0]
		if diff := cmp.Diff(w.Labels, i.Labels); diff != "" || i.Workload != odd {
			s.Errorf("case %d: workload %q, labels (-want +got):\n%s", n, i.Workload, diff)
		}
	}
}

func selects(s *stage) {
	a, b := s.workload("a", engine.RestartAlways, "wait"), s.workload("b", engine.RestartAlways, "wait")
	a.Labels, b.Labels = map[string]string{"x": "1", "y": "2"}, map[string]string{"x": "1"}
	s.ensure(a, 1)
	s.ensure(b, 1)
	ia, ib := s.running("a", 1)[0].ID, s.running("b", 1)[0].ID
	for _, test := range []struct {
		sel  engine.Selector
		want []string
	}{
		{engine.Selector{}, []string{ia, ib}},
		{engine.Selector{ID: ib}, []string{ib}},
		{engine.Selector{Workload: "a"}, []string{ia}},
		{engine.Selector{Labels: map[string]string{"x": "1"}}, []string{ia, ib}},
		{engine.Selector{Labels: map[string]string{"x": "1", "y": "2"}}, []string{ia}},
		{engine.Selector{Workload: "b", Labels: map[string]string{"y": "2"}}, nil},
	} {
		list, err := s.Instances(s.Context(), test.sel)
		if err != nil {
			s.Fatalf("Instances: %v", err)
		}
		want := map[string]bool{}
		for _, id := range test.want {
			want[id] = true
		}
		if diff := cmp.Diff(want, ids(list)); diff != "" {
			s.Errorf("%+v (-want +got):\n%s", test.sel, diff)
		}
	}
}

func replacesNames(s *stage) {
	w := s.workload("w", engine.RestartNever, "print:${instance}", "env:NAME", "env:PLAIN")
	w.Template.Env = map[string]string{"NAME": "<${instance}>", "PLAIN": "$instance ${other} $$"}
	s.ensure(w, 1)
	i := s.over("w", 1)[0]
	if got, want := s.log(i.ID, 0), i.ID+"\n<"+i.ID+">\n$instance ${other} $$\n"; got != want {
		s.Errorf("it printed %q, want %q", got, want)
	}
	if !strings.HasSuffix(i.Address, "/"+i.ID+".sock") {
		s.Errorf("its address is %q", i.Address)
	}
}

func placesFiles(s *stage) {
	digest := s.h.Tree(s.T, map[string]string{"score.py": "print()", "data/weights": "1234"})
	w := s.workload("w", engine.RestartNever, "cat:${root}/var/app/score.py", "mode:${root}/var/app/score.py",
		"cat:${root}/var/app/data/weights", "mode:${root}/var/app/data", "cat:${root}/model/score.py")
	w.Template.Files = []engine.File{{Digest: digest, Path: "/var/app"}, {Digest: digest, Path: "${root}/model"}}
	s.ensure(w, 1)
	i := s.over("w", 1)[0]
	want := "print() <nil>\n-r--r--r--\n1234 <nil>\n-r-xr-xr-x\nprint() <nil>\n"
	if got := s.log(i.ID, 0); got != want {
		s.Errorf("it sees (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func missingFiles(s *stage) {
	w := s.workload("w", engine.RestartNever, "exit:0")
	w.Template.Files = []engine.File{{Digest: "sha256:" + strings.Repeat("0", 64), Path: "/var/app"}}
	s.ensure(w, 1)
	i := s.over("w", 1)[0]
	if i.Phase != engine.Failed || i.Reason != engine.FilesMissing || i.Message == "" {
		s.Errorf("files that are nowhere: %s, %s, %q", i.Phase, i.Reason, i.Message)
	}
	escape := s.workload("escape", engine.RestartNever, "exit:0")
	escape.Template.Files = []engine.File{{Digest: "x", Path: "/../../outside"}}
	if err := s.Ensure(s.Context(), 1, escape, 1); err == nil {
		s.Error("files outside ${root} are accepted")
	}
}

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
	flag := filepath.Join(s.TempDir(), "flag")
	w := s.workload("w", engine.RestartAlways, "until:"+flag, "exit:1")
	s.ensure(w, 1)
	s.running("w", 1)
	slow := s.workload("slow", engine.RestartAlways, "wait")
	slow.Template.DrainDelay = time.Second
	s.ensure(slow, 1)
	s.running("slow", 1)
	s.remove("slow")
	s.reopen()
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		s.Fatal(err)
	}
	s.over("w", 2)         // ended and replaced without being asked again
	i := s.over("slow", 1) // and drained
	if i[0].Phase != engine.Succeeded {
		s.Errorf("the drained copy is %s (%s)", i[0].Phase, i[0].Message)
	}
}

func unwatchedEnd(s *stage) {
	flag := filepath.Join(s.TempDir(), "flag")
	w := s.workload("w", engine.RestartNever, "print:before", "until:"+flag, "print:after", "leave:9", "exit:42")
	s.ensure(w, 1)
	pid := s.running("w", 1)[0].PID
	s.h.Close(s.T, s.Engine)
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		s.Fatal(err)
	}
	if s.h.Alive != nil {
		s.gone(pid)
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

func notifies(s *stage) {
	n, ok := s.Engine.(engine.Notifier)
	if !ok {
		s.Log("not tested: this engine does not notify")
		return
	}
	s.ensure(s.workload("w", engine.RestartNever, "exit:0"), 1)
	deadline := time.After(patience)
	for len(ended(s.list("w"))) == 0 {
		select { // no ticker: the engine's word alone must lead to the end
		case <-n.Notify():
		case <-deadline:
			s.Fatalf("nothing was notified of; there is %+v", s.list("w"))
		}
	}
}

func describes(s *stage) {
	d, err := s.Describe(s.Context())
	if err != nil {
		s.Fatalf("Describe: %v", err)
	}
	if d.Name == "" || d.CPU <= 0 || d.Memory <= 0 || !strings.HasSuffix(d.Isolation, ".") {
		s.Errorf("it describes itself as %+v", d)
	}
}
