package sluice_test

import (
	"testing"

	"github.com/sluice-ml/sluice"
)

// What no process can be given must be refused before an engine meets it.
func TestSpecCheckVariables(t *testing.T) {
	tests := []struct {
		name, value string
		ok          bool
	}{
		{"A", "", true},
		{"A.b-c", "x=y\nz", true},
		{"", "x", false},
		{"A=B", "x", false},
		{"A\x00", "x", false},
		{"A", "x\x00y", false},
	}
	for _, tt := range tests {
		spec := sluice.Spec{InstanceType: "Standard_DS3_v2", Request: sluice.DefaultRequestSettings(), Liveness: sluice.DefaultProbe(),
			Readiness: sluice.DefaultProbe(), EnvironmentVariables: map[string]string{tt.name: tt.value}}
		if err := spec.Check(); (err == nil) != tt.ok || err != nil && sluice.ErrorCode(err) != sluice.CodeInvalid {
			t.Errorf("%q=%q: Check gives %v, want ok %v", tt.name, tt.value, err, tt.ok)
		}
	}
}
