package api

import (
	"testing"

	"github.com/sluice-ml/sluice"
)

// What is not there is told with the path as it is written and with the nearest
// that is there.
func TestMissingScript(t *testing.T) {
	tree := func(paths ...string) sluice.Tree {
		var files []sluice.TreeFile
		for _, p := range paths {
			files = append(files, sluice.TreeFile{Path: p})
		}
		return sluice.Tree{Files: files}
	}
	for _, tt := range []struct {
		script        string
		tree          sluice.Tree
		message, hint string
	}{
		{"score.py", tree("a.py", "score.py"), "", ""},
		{"sub/./score.py", tree("sub/score.py"), "", ""},
		{"scoer.py", tree("score.py", "util.py"), "scoring_script scoer.py is not a file in the code folder my src: it does not exist", "did you mean score.py?"},
		{"score.py", tree("a/score.py", "b/score.py", "c/score.py"), "scoring_script score.py is not a file in the code folder my src: it does not exist", "did you mean a/score.py or b/score.py?"},
		{"score", tree("score/main.py"), "scoring_script score is not a file in the code folder my src: it is a folder", "the code folder has score/main.py"},
		{"x\x1b[2J.py", tree("readme"), "scoring_script x [2J.py is not a file in the code folder my src: it does not exist", "the code folder has no Python file"},
	} {
		err := missingScript(tt.script, "my src", tt.tree)
		if tt.message == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.script, err)
			}
			continue
		}
		e, ok := err.(*sluice.Error)
		if !ok || e.Cause == nil || e.Cause.Code != sluice.CauseFileMissing || e.Cause.Message != tt.message || e.Cause.Hint != tt.hint {
			t.Errorf("%s: got %v, want %q (%q)", tt.script, err, tt.message, tt.hint)
		}
	}
}
