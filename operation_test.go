package sluice_test

import (
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

// An instance that starts again and again does not make an operation grow for
// ever, and what runs and what the environment took stays in it.
func TestStagesAreBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	stages := sluice.Advance(nil, sluice.Stage{Name: sluice.StageEnvironment, Step: sluice.StepBuilding}, now)
	stages = sluice.EndStages(stages, now)
	stages = sluice.Advance(stages, sluice.Stage{Name: sluice.StageInstance, Step: sluice.StepInit, Instance: "still"}, now)
	for n := range 1000 {
		step := []string{sluice.StepImporting, sluice.StepReady}[n%2]
		now = now.Add(time.Second)
		stages = sluice.Advance(stages, sluice.Stage{Name: sluice.StageInstance, Step: step, Instance: "again"}, now)
	}
	if len(stages) > 300 || stages[0].Name != sluice.StageEnvironment || stages[1].Instance != "still" {
		t.Errorf("there are %d stages, first %+v", len(stages), stages[:2])
	}
	if last := stages[len(stages)-1]; last.Step != sluice.StepReady || !last.Started.Equal(now) || !last.Ended.IsZero() {
		t.Errorf("the last is %+v", last)
	}
}
