package progress

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlainLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		p := New(Options{Out: &b})
		p.Update(Step{Name: "environment", Step: "resolving"})
		p.Update(Step{Name: "environment", Step: "resolving", Detail: "numpy"})
		time.Sleep(1500 * time.Millisecond)
		p.Update(Step{Name: "environment", Step: "resolving", Done: true})
		p.Update(Step{Name: "environment", Step: "resolving", Done: true})
		p.Note("note\x1b[2J %d", 1)
		p.Update(Step{Name: "instance", Step: "ready", Instance: "0", Done: true, Took: 3 * time.Minute})
		p.Update(Step{Name: "instance", Step: "failed", Instance: "1", Done: true})
		p.Close()
		p.Close()
		p.Update(Step{Name: "late"})
		want := "environment: resolving\n" +
			"environment: resolving (numpy), done in 1.5s\n" +
			"note [2J 1\n" +
			"instance 0: ready, done in 3m00s\n" +
			"instance 1: failed\n"
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Error(diff)
		}
	})
}

// A step that runs long is told of again, and where it stands as that changes.
func TestPlainLinesOfALongStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		p := New(Options{Out: &b})
		init := func(detail string) {
			p.Update(Step{Name: "instance", Step: "init", Instance: "i", Detail: detail, Telling: true})
		}
		p.Update(Step{Name: "environment", Step: "downloading", Detail: "1 MB"})
		time.Sleep(500 * time.Millisecond) // between the looks
		init("")
		time.Sleep(5 * time.Second)
		init("at score.py:12 in load")
		p.Update(Step{Name: "environment", Step: "downloading", Detail: "2 MB"})
		time.Sleep(time.Second)
		init("at score.py:13 in load\x1b")
		time.Sleep(9 * time.Second)
		p.Update(Step{Name: "environment", Step: "downloading", Detail: "3 MB", Done: true})
		p.Update(Step{Name: "instance", Step: "init", Instance: "i", Detail: "at score.py:13 in load", Telling: true, Done: true})
		time.Sleep(time.Minute)
		p.Close()
		want := "environment: downloading (1 MB)\n" +
			"instance i: init\n" +
			"instance i: init, 1 s\n" +
			"instance i: init, 5 s, at score.py:12 in load\n" +
			"instance i: init, 7 s, at score.py:13 in load \n" +
			"environment: downloading, 10 s, 2 MB\n" +
			"environment: downloading (3 MB), done in 15.5s\n" +
			"instance i: init, done in 15.0s\n"
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestQuiet(t *testing.T) {
	var b bytes.Buffer
	p := New(Options{Out: &b, Quiet: true, Live: true})
	p.Update(Step{Name: "environment"})
	p.Note("x")
	p.Close()
	if b.Len() > 0 {
		t.Errorf("got %q, want nothing", b.String())
	}
}

func TestLiveRedraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		p := New(Options{Out: &b, Live: true})
		p.Update(Step{Name: "environment", Step: "resolving"})
		time.Sleep(150 * time.Millisecond)
		p.Update(Step{Name: "environment", Step: "resolving", Done: true, Took: 2 * time.Second})
		p.Close()
		frames := strings.Split(b.String(), "\r\x1b[1A\x1b[J")
		want := []string{"⠙ environment: resolving    100ms\n", "✓ environment: resolving     2.0s\n"}
		if diff := cmp.Diff(want, frames); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRender(t *testing.T) {
	now := time.Unix(100, 0)
	var many []row
	for range 20 {
		many = append(many, row{Step: Step{Name: "old", Done: true}})
	}
	many = append(many, row{Step: Step{Name: "running"}, since: now})
	lines := render(many, now, 80, false)
	if len(lines) != maxRows || !strings.Contains(lines[len(lines)-1], "running") {
		t.Errorf("got %q, want %d lines with the running one last", lines, maxRows)
	}
	long := render([]row{{Step: Step{Name: "x", Detail: strings.Repeat("y", 200) + "\n"}, since: now}}, now, 40, false)
	if n := len([]rune(long[0])); n >= 40 || strings.Contains(long[0], "\n") {
		t.Errorf("the line %q has %d columns, want less than 40 and no line break", long[0], n)
	}
	colored := render([]row{{Step: Step{Name: "x", Done: true}}}, now, 40, true)
	if !strings.HasPrefix(colored[0], "\x1b[32m✓\x1b[0m x") {
		t.Errorf("got %q, want a green mark", colored[0])
	}
	bad := render([]row{{Step: Step{Name: "x", Step: "failed", Done: true}}}, now, 40, true)
	if !strings.HasPrefix(bad[0], "\x1b[31m✗\x1b[0m x: failed") {
		t.Errorf("got %q, want a red mark", bad[0])
	}
}

func TestBytesAndElapsed(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1500: "1.5 kB", 2_500_000: "2.5 MB", 3e12: "3.0 TB", 9e18: "9000.0 PB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{5 * time.Millisecond: "5ms", 61 * time.Second: "1m01s"} {
		if got := Elapsed(d); got != want {
			t.Errorf("Elapsed(%v) = %s, want %s", d, got, want)
		}
	}
}
