package enginetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/engine"
)

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

// goesOnInLogs stops reading everywhere and goes on there.
func goesOnInLogs(s *stage) {
	s.ensure(s.workload("w", engine.RestartNever, "print:one", "print:two", "print:three"), 1)
	i := s.over("w", 1)[0]
	const want = "one\ntwo\nthree\n"
	open := func(from string) engine.Log {
		r, err := s.Logs(s.Context(), i.ID, engine.LogOptions{From: from, Tail: 1})
		if err != nil {
			s.Fatalf("Logs from %q: %v", from, err)
		}
		return r
	}
	r, err := s.Logs(s.Context(), i.ID, engine.LogOptions{})
	if err != nil {
		s.Fatalf("Logs: %v", err)
	}
	defer r.Close()
	for read := 0; read < len(want); {
		n, err := r.Read(make([]byte, 5))
		if err != nil {
			s.Fatalf("reading: %v", err)
		}
		read += n
		for back := range n + 1 {
			from := r.Position(back)
			again := open(from)
			rest, err := io.ReadAll(again)
			if err != nil || string(rest) != want[read-back:] || again.Lost() || strings.ContainsAny(from, " @\n") {
				s.Errorf("from %q the log goes on %q, %v", from, rest, err)
			}
			again.Close()
		}
	}
	for _, from := range []string{"x", "-1", "1:-1", " ", "99999999999999999999:1", "1:99999999999999999999"} {
		if _, err := s.Logs(s.Context(), i.ID, engine.LogOptions{From: from}); !errors.Is(err, engine.ErrPosition) {
			s.Errorf("Logs from %q: %v, want ErrPosition", from, err)
		}
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

// chatty has a copy print 2000 lines a second while its log is followed and
// other work goes on beside it.
func chatty(s *stage) {
	const n = 3 * paceRate
	s.ensure(s.workload("chatty", engine.RestartNever, fmt.Sprintf("paced:%d", n)), 1)
	i := s.list("chatty")[0]
	lines := make(chan error, 1)
	r, err := s.Logs(s.Context(), i.ID, engine.LogOptions{Follow: true})
	if err != nil {
		s.Fatalf("Logs: %v", err)
	}
	defer r.Close()
	go func() { lines <- checkLines(r, n) }()
	quiet := s.workload("quiet", engine.RestartAlways, "wait")
	for calls := 0; len(ended(s.list("chatty"))) == 0; calls++ {
		began := time.Now()
		s.ensure(quiet, calls%2)
		s.list("quiet")
		s.log(i.ID, 10)
		if took := time.Since(began); took > heldUp {
			s.Errorf("beside a copy that prints, three calls took %s", took)
		}
	}
	if err := <-lines; err != nil {
		s.Errorf("followed: %v", err)
	}
	over := s.over("chatty", 1)[0]
	if err := checkLines(strings.NewReader(s.log(i.ID, 0)), n); err != nil {
		s.Errorf("afterwards: %v", err)
	}
	// It was not held up by what reads it.
	if took := over.Ended.Sub(over.Started); took > 3*n/paceRate*time.Second {
		s.Errorf("printing %d lines took %s", n, took)
	}
}

// heldUp is when a few calls took longer than any machine is slow.
const heldUp = 3 * time.Second

// checkLines reads n numbered lines, in order.
func checkLines(r io.Reader, n int) error {
	scanner := bufio.NewScanner(r)
	count := 0
	for ; scanner.Scan(); count++ {
		if scanner.Text() != line(count) {
			return fmt.Errorf("line %d is %q", count, scanner.Text())
		}
	}
	if count != n && scanner.Err() == nil {
		return fmt.Errorf("there are %d lines, want %d", count, n)
	}
	return scanner.Err()
}

func unknownInstance(s *stage) {
	for _, id := range []string{"nobody", "", ".", "..", "../nobody", "a/b", ".engine", strings.Repeat("x", 5000)} {
		if _, err := s.Logs(s.Context(), id, engine.LogOptions{}); !errors.Is(err, engine.ErrNotFound) {
			s.Errorf("Logs(%.40q): %v, want ErrNotFound", id, err)
		}
	}
}

func oddLabels(s *stage) {
	for n, odd := range []string{"../../etc/passwd", "/", "a/b//c/", `a\b`, "sluice.example/name=x,y", ".", " ", "a b\tc\nd", "ünï—©ode 🙂", "$(reboot) `x` \"'\\", strings.Repeat("l", 1000), "${run}"} {
		w := s.workload(odd, engine.RestartNever, "exit:0")
		w.Tenant = odd
		w.Labels = map[string]string{"odd": odd, odd: "x", "": odd}
		s.ensure(w, 1)
		i := s.over(odd, 1)[0]
		if diff := cmp.Diff(w.Labels, i.Labels); diff != "" || i.Workload != odd {
			s.Errorf("case %d: workload %q, labels (-want +got):\n%s", n, i.Workload, diff)
		}
		for k, v := range w.Labels {
			found, err := s.Instances(s.Context(), engine.Selector{Labels: map[string]string{k: v}})
			if err != nil || !ids(found)[i.ID] {
				s.Errorf("case %d: selecting by %.40q=%.40q finds %d instances, %v", n, k, v, len(found), err)
			}
			if found, err = s.Instances(s.Context(), engine.Selector{Labels: map[string]string{k: v + "x"}}); err != nil || len(found) > 0 {
				s.Errorf("case %d: selecting by %.40q and another value finds %d instances, %v", n, k, len(found), err)
			}
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
