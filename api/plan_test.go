package api

import (
	"testing"

	"github.com/sluice-ml/sluice"
)

func TestPlanUpdate(t *testing.T) {
	spec := sluice.Spec{InstanceType: "a"}
	other := sluice.Spec{InstanceType: "b"}
	empty := sluice.Spec{InstanceType: "a", EnvironmentVariables: map[string]string{}}
	for _, tc := range []struct {
		name   string
		state  sluice.State
		spec   sluice.Spec
		count  int // there are 2
		repeat bool
		want   step
	}{
		{"nothing", "Succeeded", spec, 2, true, step{sluice.VerbUpdate, "Succeeded", false, false, true}},
		{"count not said", "Succeeded", spec, 0, true, step{sluice.VerbUpdate, "Succeeded", false, false, true}},
		{"nil and empty are one", "Succeeded", empty, 2, true, step{sluice.VerbUpdate, "Succeeded", false, false, true}},
		{"count", "Succeeded", spec, 3, true, step{sluice.VerbScale, "Scaling", false, true, false}},
		{"spec", "Succeeded", other, 2, true, step{sluice.VerbUpdate, "Updating", true, false, false}},
		{"both", "Succeeded", other, 3, true, step{sluice.VerbUpdate, "Updating", true, true, false}},
		{"again after failure", "Failed", spec, 2, true, step{sluice.VerbUpdate, "Updating", false, false, false}},
		{"tags after failure", "Failed", spec, 0, false, step{sluice.VerbUpdate, "Failed", false, false, true}},
		{"count after failure", "Failed", spec, 3, false, step{sluice.VerbScale, "Scaling", false, true, false}},
		{"again after cancel", "Canceled", spec, 2, true, step{sluice.VerbUpdate, "Updating", false, false, false}},
	} {
		d := &sluice.Deployment{Spec: spec, State: tc.state}
		if got := planUpdate(d, 2, tc.spec, tc.count, tc.repeat); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestNextRevision(t *testing.T) {
	d := &sluice.Deployment{Meta: sluice.Meta{UID: "u-1"}}
	for have, want := range map[string]string{"u-1-1": "u-1-2", "u-1-9": "u-1-10"} {
		d.Revision = have
		if got := nextRevision(d); got != want {
			t.Errorf("after %s comes %s, want %s", have, got, want)
		}
	}
}

func TestPreferredWait(t *testing.T) {
	for header, want := range map[string]float64{"wait=20": 20, "respond-async, Wait = 5": 5, "wait=100": 30, "wait=-1": 0,
		"wait=9999999999999999999": 0, "wait=99999999999": 30, "": 0, "wait": 0} {
		if got := preferredWait([]string{header}).Seconds(); got != want {
			t.Errorf("Prefer: %s is %v s, want %v", header, got, want)
		}
	}
}
