package artifact

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-ml/sluice"
)

// TestPlacing places a file in each way there is: whatever the file system can
// do, it is the same file in the end, and read-only.
func TestPlacing(t *testing.T) {
	s := newStore(t)
	f := blob(t, s, "content")
	x := f
	x.Executable = true
	for name, c := range map[string]struct {
		placer placer
		linked bool // whether it must share the blob's inode; else it may not
		either bool
	}{
		"as it can": {placer{store: s}, false, true},
		"by link":   {placer{store: s, noClone: true}, true, false},
		"by copy":   {placer{store: s, noClone: true, noLink: true}, false, false},
	} {
		for _, f := range []sluice.TreeFile{f, x} {
			to := filepath.Join(t.TempDir(), "f")
			if err := c.placer.place(t.Context(), f, to); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			text, err := os.ReadFile(to)
			info, errStat := os.Stat(to)
			if err != nil || errStat != nil || string(text) != "content" {
				t.Fatalf("%s: it holds %q, %v, %v", name, text, err, errStat)
			}
			if info.Mode() != placedMode(f) || !info.ModTime().Equal(sealTime(f.Digest)) {
				t.Errorf("%s: it has mode %s and was changed %s", name, info.Mode(), info.ModTime())
			}
			from := s.blobPath(f.Digest)
			if f.Executable {
				from += ".x"
			}
			original, err := os.Stat(from)
			if !c.either && (err == nil && os.SameFile(original, info)) != c.linked {
				t.Errorf("%s: whether it shares the blob's inode: want %v", name, c.linked)
			}
		}
	}
}
