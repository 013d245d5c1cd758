package environment

import (
	"testing"
)

// BenchmarkWarm looks up an environment that is there: what a deployment waits
// for before its script can start.
func BenchmarkWarm(b *testing.B) {
	x := newIndex(b, wheel{name: "below", version: "1.1"})
	builder := open(b, Config{Dir: b.TempDir(), UV: "off", Environ: x.environ(b)})
	spec := Spec{CondaFile: "dependencies: [python>=3.8, {pip: [below==1.1, azureml-defaults]}]\n", Image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"}
	if _, err := builder.Prepare(b.Context(), spec, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if env, err := builder.Prepare(b.Context(), spec, nil); err != nil || !env.Reused {
			b.Fatal(env, err)
		}
	}
}
