package store_test

import (
	"testing"

	"github.com/sluice-ml/sluice/killpoint"
)

// Every step of a long work, and for as long as there is time any of them, is
// the last of the process or fails.
func TestSoakFaultAtAnyStep(t *testing.T) {
	soak := killpoint.Soak(t)
	f := newFaulty(t, much)
	points := f.points()
	t.Logf("%d steps", len(points))
	for soak.More() {
		p := points[soak.Draw(len(points))]
		faults := killpoint.Faults(p)
		f.check(p, faults[soak.Draw(len(faults))])
	}
}
