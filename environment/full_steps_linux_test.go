package environment

import (
	"path/filepath"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/smalldisk"
)

// An environment is made with ever more room, from none to enough: the disk is
// found full while the log, the lock, the spec, the virtual environment and its
// mark are written. None of these is taken for whole, and with room again the
// same builder makes it.
func TestEveryStepOnAFullDisk(t *testing.T) {
	forTools(t, func(t *testing.T, tool string) {
		d := smalldisk.New(t, 64<<20)
		x := newIndex(t, wheel{name: "small", version: "1.0", code: "VALUE = 1\n"})
		more := int64(4) // pages
		if tool == "off" {
			more = 12 // pip takes its time
		}
		for left := int64(0); ; left += more {
			d.Empty()
			b := open(t, Config{Dir: d.Dir, UV: tool, Environ: x.environ(t)})
			d.Fill(left)
			_, err := b.Prepare(t.Context(), Spec{Requirements: "small"}, nil)
			if err == nil && left > 0 {
				return
			}
			wantCause(t, err, sluice.CauseDiskFull, "free space", d.Dir, "MiB are free")
			for _, unfinished := range []string{filepath.Join("envs", "*", marker), filepath.Join("*", ".new-*")} {
				if found, err := filepath.Glob(filepath.Join(d.Dir, unfinished)); err != nil || len(found) > 0 {
					t.Errorf("with room for %d pages there is %q, %v", left, found, err)
				}
			}
			d.Free()
			env, err := b.Prepare(t.Context(), Spec{Requirements: "small"}, nil)
			if err != nil {
				t.Fatalf("with room for %d pages, and then more: %v", left, err)
			}
			if got := python(t, env, "import small; print(small.VALUE)"); got != "1" {
				t.Errorf("the environment says %q", got)
			}
		}
	})
}

func TestOpenOnAFullDisk(t *testing.T) {
	d := smalldisk.New(t, 1<<20)
	d.EachName(func(string) error {
		_, err := Open(Config{Dir: d.Dir, UV: "off"})
		return err
	}, func(_ string, err error) {
		wantCause(t, err, sluice.CauseDiskFull, "free space", d.Dir, "MiB are free")
	})
}
