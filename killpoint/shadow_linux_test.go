package killpoint_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice/killpoint"
)

// What was synced is in the shadow, and what a sync that failed was about is not.
func TestShadow(t *testing.T) {
	for _, c := range []struct {
		off   killpoint.Point
		fails bool
		want  string
	}{
		{killpoint.Point{Call: killpoint.Call{Program: "killpoint.test", Name: "fsync", File: "at"}, N: 1}, false, ""},
		{killpoint.Point{Call: killpoint.Call{Program: "killpoint.test", Name: "fsync", File: "at"}, N: 2}, false, "one"},
		{killpoint.Point{Call: killpoint.Call{Program: "killpoint.test", Name: "unlink", File: "at"}, N: 1}, false, "onetwo"},
		{killpoint.Point{Call: killpoint.Call{Program: "killpoint.test", Name: "unlink", File: "at"}, N: 1}, true, "\x00\x00\x00two"},
	} {
		dir, shadow := t.TempDir(), filepath.Join(t.TempDir(), "s")
		rig := killpoint.New(t, dir)
		rig.Shadow(shadow)
		rig.At(c.off, killpoint.Kill)
		if c.fails {
			rig.Also(killpoint.Point{Call: killpoint.Call{Program: "killpoint.test", Name: "fsync", File: "at"}, N: 1}, killpoint.Fail(unix.EIO))
		}
		if out, err := start(t, rig, dir+"/at"); err == nil {
			t.Errorf("%s: it was not killed: %s", c.off, out)
		}
		got, err := os.ReadFile(filepath.Join(shadow, "at"))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: the shadow holds %q (%v), want %q", c.off, got, err, c.want)
		}
	}
}
