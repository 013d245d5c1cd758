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

// The power goes at any step of a long work, mostly after a sync that failed.
func TestSoakPowerLoss(t *testing.T) {
	soak := killpoint.Soak(t)
	f := newFaulty(t, much)
	points := f.points()
	var syncs []killpoint.Point
	for _, p := range points {
		if p.Name == "fsync" {
			syncs = append(syncs, p)
		}
	}
	for soak.More() {
		off := points[soak.Draw(len(points))]
		failed := &syncs[soak.Draw(len(syncs))]
		if soak.Draw(4) == 0 {
			failed = nil
		}
		f.checkPower(failed, off)
	}
}
