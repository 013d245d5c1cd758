package cgroup

import (
	"strings"
	"testing"

	"github.com/sluice-ml/sluice/engine/process/vmtest"
)

// versionVariable says which version the tests are to find.
const versionVariable = "TEST_CGROUP_VERSION"

// Every test of this package passes on both versions, whichever this machine
// has.
func TestInEmulatedMachines(t *testing.T) {
	program := vmtest.Compile(t, ".")
	for version, m := range map[string]vmtest.Machine{
		"2": {},
		"1": {Version1: true}, // with controllers that share a hierarchy
	} {
		t.Run("version "+version, func(t *testing.T) {
			m.Env = []string{"CI=true", versionVariable + "=" + version}
			out, code := m.Run(t, program, "-test.v", "-test.skip=TestInEmulatedMachines|TestKernelWithout", "-test.timeout=3m")
			if code != 0 || !strings.Contains(out, "--- PASS: TestMemoryOfAllIsCapped") || strings.Contains(out, "--- SKIP") {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
	}
}

// A kernel may have been built, or told, to be without a controller.
func TestKernelWithoutMemoryLimits(t *testing.T) {
	m := vmtest.Machine{Kernel: []string{"cgroup_disable=memory"}, Env: []string{"CI=true", gapsVariable + "=memory"}}
	out, code := m.Run(t, vmtest.Compile(t, "."), "-test.v", "-test.run=^TestGaps$")
	if code != 0 || !strings.Contains(out, "--- PASS: TestGaps") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}
