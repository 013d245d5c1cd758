package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/manifest"
)

// A cause in the conda file is shown at the line of the user's own file, which
// is another than that of the normal form.
func TestInCondaFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "conda.yml")
	text := "# cudatoolkit is not here\nname: x\n\ndependencies:\n  - python=3.11\n  - cudatoolkit=11.8\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fails := func(file string, evidence ...string) error {
		c := &sluice.Cause{Message: "no", File: file, Line: 3, Evidence: evidence}
		return &sluice.Error{Code: sluice.CodeInvalid, Message: "no", Cause: c}
	}
	more := filepath.Join(filepath.Dir(file), "requirements.txt")
	if err := os.WriteFile(more, []byte("numpy\n-e .\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := &manifest.Deployment{Environment: &manifest.Environment{CondaPath: file, CondaIncludes: []string{more}}}
	own := &manifest.Deployment{Environment: &manifest.Environment{CondaPath: file}}
	inline := &manifest.Deployment{Environment: &manifest.Environment{}}
	for _, tt := range []struct {
		name string
		err  error
		d    *manifest.Deployment
		want string
	}{
		{"its line", fails("conda_file", "cudatoolkit: it is a CUDA library"), own, file + ":6"},
		{"in a file that it names", fails("conda_file", "-e: no"), with, more + ":2"},
		{"in neither", fails("conda_file", "other: no"), with, file},
		{"in the manifest", fails("conda_file", "cudatoolkit: it is a CUDA library"), inline, file + ":6"},
		{"not to be found", fails("conda_file", "other: no"), own, file},
		{"of the whole file", fails("conda_file"), own, file},
		{"a registered environment", fails("conda_file", "cudatoolkit: no"), &manifest.Deployment{}, "conda_file:3"},
		{"elsewhere", fails("score.py", "cudatoolkit: no"), own, "score.py:3"},
	} {
		e, ok := errors.AsType[*sluice.Error](inCondaFile(tt.err, tt.d, file))
		if !ok || e.Cause.Where() != tt.want {
			t.Errorf("%s: the cause is at %s, want %s", tt.name, e.Cause.Where(), tt.want)
		}
	}
	missing := &sluice.Cause{Code: sluice.CauseImportMissing, Message: "module joblib is not installed in the environment",
		File: "score.py", Line: 12, Hint: "add joblib to the dependencies in the environment's conda file"}
	err := inCondaFile(&sluice.Error{Message: "no", Cause: missing}, own, "blue.yml")
	if e, ok := errors.AsType[*sluice.Error](err); !ok || e.Cause.Hint != "add joblib to the dependencies in "+file || e.Cause.Where() != "score.py:12" {
		t.Errorf("a missing module is shown as %v", err)
	}
	other := errors.New("other")
	if got := inCondaFile(other, own, file); !errors.Is(got, other) {
		t.Errorf("another error became %v", got)
	}
}
