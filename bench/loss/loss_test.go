package loss

import (
	"testing"
	"time"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

func TestJudge(t *testing.T) {
	killed := []kill{{"worker", at(100), at(110)}, {"gateway", at(500), at(510)}}
	failure := func(sent, ended, connected int) Failure {
		return Failure{Nonce: "7", Sent: at(sent), Ended: at(ended), Connected: at(connected), Why: "x"}
	}
	for name, test := range map[string]struct {
		failed  []Failure
		runs    map[string]int
		tooMany int
		inside  int
		lost    int
		doubled int
		phantom int
	}{
		"nothing failed":                         {runs: map[string]int{"1": 1, "2": 1}},
		"under way when the worker was killed":   {failed: []Failure{failure(90, 120, 0)}, runs: map[string]int{"7": 1}, inside: 1},
		"sent before, failed before":             {failed: []Failure{failure(10, 20, 0)}, lost: 1},
		"sent after it was gone":                 {failed: []Failure{failure(111, 120, 0)}, lost: 1},
		"run, and failed for nothing":            {failed: []Failure{failure(111, 120, 0)}, runs: map[string]int{"7": 1}, lost: 1, phantom: 1},
		"on a connection of the killed gateway":  {failed: []Failure{failure(520, 521, 300)}, inside: 1},
		"on a connection of the new gateway":     {failed: []Failure{failure(520, 521, 515)}, lost: 1},
		"such a connection does not excuse more": {failed: []Failure{failure(120, 121, 50)}, lost: 1},
		"run twice":                              {runs: map[string]int{"1": 2}, doubled: 1},
		"not sent for want of clients":           {tooMany: 3, lost: 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := judge(10, test.tooMany, nil, test.failed, killed, test.runs)
			if r.Inside != test.inside || len(r.Lost) != test.lost || len(r.Doubled) != test.doubled || r.Phantom != test.phantom {
				t.Errorf("got %+v", r)
			}
			if good := test.lost+test.doubled+test.phantom == 0; (r.Err() == nil) != good {
				t.Errorf("the verdict is %v", r.Err())
			}
		})
	}
}
