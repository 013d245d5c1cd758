package environment

import (
	"os"
	"strings"
	"testing"
)

// TestRealPackages builds from the index this machine is set up for: the
// example's environment with uv, and with pip a package of before numpy 2
// that does not say so. Each cold once and warm once.
func TestRealPackages(t *testing.T) {
	conda, err := os.ReadFile("../examples/iris/conda.yml")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		setting, program, want string
		spec                   Spec
	}{
		"uv": {installedUV(t), "import sys, sklearn, joblib; print(sys.version_info[:2], sklearn.__version__, joblib.__version__)", "(3, 11) 1.5.2 1.4.2",
			Spec{CondaFile: string(conda), Image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"}},
		"pip": {"off", "import numpy, sklearn.linear_model; print(sklearn.__version__, numpy.__version__.split('.')[0])", "1.2.2 1",
			Spec{CondaFile: "dependencies: [python=3.11, scikit-learn=1.2.2]"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, Config{Dir: dir, UV: c.setting})
			cold, err := b.Prepare(t.Context(), c.spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := python(t, cold, c.program); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if name == "pip" && !strings.Contains(strings.Join(cold.Notices, "\n"), "numpy<2") {
				t.Errorf("notices are %q", cold.Notices)
			}
			b.background.Wait()
			again := open(t, Config{Dir: dir, UV: c.setting})
			warm, err := again.Prepare(t.Context(), c.spec, nil)
			if err != nil || !warm.Reused || warm.Dir != cold.Dir {
				t.Errorf("again: %+v, %v", warm, err)
			}
			if n := again.started.Load(); n != 0 {
				t.Errorf("%d processes were started again", n)
			}
		})
	}
}
