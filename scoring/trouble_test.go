package scoring

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

// A history is a line of what happened when: "ok" and "fail X" are requests,
// "lost X" a worker that ended between two, "look" nothing.
func TestTroubles(t *testing.T) {
	type step struct {
		at    time.Duration
		what  string
		times int
		told  string        // afterwards
		news  bool          // of the last
		again time.Duration // likewise
	}
	const ms, s = time.Millisecond, time.Second
	for name, steps := range map[string][]step{
		"nothing ever fails": {{0, "ok", 1000, "", false, 0}},
		"every request fails": {
			{0, "fail A", 1, "A in the last request", true, 2 * s},
			{10 * ms, "fail A", 5, "A in the last request", false, 240 * ms},
			{250 * ms, "look", 1, "A in the last request", false, 750 * ms},
			{time.Second, "look", 1, "A in 6 of the last 6 requests", true, 1010 * ms},
			{3 * s, "look", 1, "A in 6 of the last 6 requests", false, 0},
			{time.Hour, "fail A", 100, "A in 7 of the last 7 requests", false, 250 * ms},
			{time.Hour + s, "look", 1, "A in 64 of the last 64 requests", true, s},
		},
		"another failure": {
			{0, "fail A", 1, "A in the last request", true, 2 * s},
			{s, "fail B", 1, "B in 2 of the last 2 requests", true, 2 * s},
			{s + 100*ms, "fail A", 1, "B in 2 of the last 2 requests", false, 150 * ms},
			{s + 250*ms, "look", 1, "A in 3 of the last 3 requests", true, 2*s - 150*ms},
		},
		"one mistake of a client": {
			{0, "ok", 100, "", false, 0},
			{0, "fail A", 1, "A in 1 of the last 64 requests", true, 2 * s},
			{s, "ok", 1, "A in 1 of the last 64 requests", false, s},
			{2 * s, "look", 1, "", true, 0},
		},
		"over when as many succeed": {
			{0, "fail A", 5, "A in the last request", false, 250 * ms},
			{s, "look", 1, "A in 5 of the last 5 requests", true, s},
			{3 * s, "ok", 4, "A in 5 of the last 6 requests", false, 250 * ms},
			{4 * s, "ok", 1, "", true, 0},
			{5 * s, "fail A", 1, "A in 6 of the last 11 requests", true, 2 * s},
		},
		"lost between requests": {
			{0, "ok", 3, "", false, 0},
			{0, "lost C", 1, "C", true, 2 * s},
			{3 * s, "look", 1, "C", false, 0},
			{4 * s, "ok", 1, "", true, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Unix(1e9, 0)
			var all troubles
			for n, s := range steps {
				now := began.Add(s.at)
				var news bool
				var again time.Duration
				for range s.times {
					var kind, what string
					fmt.Sscan(s.what, &kind, &what)
					f := failure{why: func() *sluice.Cause { return &sluice.Cause{Message: what} }, request: "r", counts: kind == "fail"}
					if kind == "ok" {
						all.succeed()
					} else if kind != "look" {
						all.fail(f, now)
					}
					news, again = all.judge(now)
				}
				got := ""
				if all.told != nil {
					got = all.told.Message
				}
				if got != s.told || news != s.news || again != s.again {
					t.Errorf("step %d: told %q, news %v, again %s; want %q, %v, %s", n, got, news, again, s.told, s.news, s.again)
				}
			}
		})
	}
}

func TestAskAgain(t *testing.T) {
	var asked []int
	for at := time.Duration(0); at < 100*time.Second; {
		at += askAgain(at, DefaultAskAfter)
		asked = append(asked, int(at.Seconds()))
	}
	want := []int{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55,
		57, 59, 61, 66, 71, 76, 81, 86, 91, 96, 101}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
}

func TestStackIn(t *testing.T) {
	s := Settings{AppRoot: "/app/src", EntryScript: "/app/src/score.py"}
	for name, tt := range map[string]struct {
		text  string
		at    string
		calls int
	}{
		"nothing":     {"", "", 0},
		"asked":       {"Stack (most recent call first):\n  File \"/usr/lib/python3.9/x.py\", line 1 in f\n  File \"/app/src/a/b.py\", line 7 in load\n  File \"<sluice>/sluice_worker.py\", line 9 in start\n", "a/b.py:7 load", 3},
		"names":       {"Stack (most recent call first):\n  File \"/app/src/m\\xf6del.py\", line 7 in l\\u0101d\n", "mödel.py:7 lād", 1},
		"no own code": {"Stack (most recent call first):\n  File \"/opt/x.py\", line 7 in f\n  File \"/usr/lib/python3.9/x.py\", line 1 in f\n", "/opt/x.py:7 f", 2},
		"the current thread": {"Fatal Python error: Aborted\n\nThread 0x1 (most recent call first):\n  File \"/app/src/a.py\", line 1 in a\n\n" +
			"Current thread 0x2 (most recent call first):\n  File \"/app/src/b.py\", line 2 in b\n\nThread 0x3 (most recent call first):\n  File \"/app/src/c.py\", line 3 in c\n", "b.py:2 b", 1},
		"garbage":     {"\xff\xfe(most recent call first):\n\n\n  File \"x\", line 99999999999999999999 in y", "", 0},
		"a huge line": {"Stack (most recent call first):\n  File \"/app/src/a.py\", line 99999999999999999999 in a\n", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			stack := stackIn(tt.text)
			got := ""
			if at, ok := userCall(stack, s); ok {
				got = fmt.Sprintf("%s:%d %s", at.file, at.line, at.function)
			}
			if got != tt.at || len(stack) != tt.calls {
				t.Errorf("got %q of %d calls, want %q of %d", got, len(stack), tt.at, tt.calls)
			}
		})
	}
}

func FuzzStack(f *testing.F) {
	f.Add("Stack (most recent call first):\n  File \"/app/score.py\", line 7 in load\n")
	f.Add("Fatal Python error: Aborted\n\nCurrent thread 0x2 (most recent call first):\n  File \"\\xff\\udddd\\Uffffffff\", line 0 in \n")
	s := Settings{AppRoot: "/app", EntryScript: "score.py"}
	f.Fuzz(func(t *testing.T, text string) {
		stack := stackIn(text)
		if len(stack) > maxFrames {
			t.Errorf("%d calls", len(stack))
		}
		if at := standingOf(stack, s); at != nil && (len(at.Stack) > maxShown+1 || len(at.Function) > 1000) {
			t.Errorf("%d lines, %d bytes", len(at.Stack), len(at.Function))
		}
	})
}
