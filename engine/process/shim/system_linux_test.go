package shim

import (
	"os"
	"testing"
)

func TestParseStat(t *testing.T) {
	const after = " S 12 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200"
	for text, want := range map[string]stat{
		"7 (cat)" + after + " 0 0\n":                 {state: 'S', parent: 12, start: 987654},
		"7 (a) Z 1 1 1 1 1 1 1 1 (b) c)" + after:     {state: 'S', parent: 12, start: 987654},
		"7 (\n \xff)" + after + " 0 0 0 0 0 0 0 0 0": {state: 'S', parent: 12, start: 987654},
	} {
		if got, err := parseStat([]byte(text)); got != want || err != nil {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "7", ")", "7 (a) S 1 2 3", "7 (cat) S x" + after[5:]} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q is %+v, want an error", text, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("7 () ("))
	f.Fuzz(func(t *testing.T, text []byte) { parseStat(text) }) // a program may choose its name
}

func TestStartTimeIsThatOfOneProcess(t *testing.T) {
	mine, err := StartTime(os.Getpid())
	if err != nil || mine == 0 {
		t.Fatalf("this process started at %d, %v", mine, err)
	}
	parent, err := StartTime(os.Getppid())
	if err != nil || parent > mine {
		t.Errorf("the parent started at %d, %v; this process at %d", parent, err, mine)
	}
	if _, err := StartTime(1 << 30); err == nil {
		t.Error("a process that cannot be has a start time")
	}
}

func TestParseOOMKills(t *testing.T) {
	for text, want := range map[string]int64{
		"pgfault 12\noom_kill 42\nnuma 1\n": 42,
		"oom_kill_x 3\n":                    0,
		"":                                  0,
		"oom_kill nonsense":                 0,
	} {
		if got := parseOOMKills([]byte(text)); got != want {
			t.Errorf("%q says %d, want %d", text, got, want)
		}
	}
}
