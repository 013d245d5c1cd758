package sluice_test

import (
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
)

func TestDiskUse(t *testing.T) {
	const g = 1 << 30
	room := sluice.DiskUse{Warn: 80, Free: 50 * g, Size: 100 * g}
	with := func(change func(*sluice.DiskUse)) sluice.DiskUse {
		u := room
		change(&u)
		return u
	}
	for name, c := range map[string]struct {
		use     sluice.DiskUse
		fits    int64 // the most that fits
		warning string
	}{
		"no budget":       {room, 50*g - 256<<20, ""},
		"nothing known":   {sluice.DiskUse{}, 1 << 60, ""},
		"within":          {with(func(u *sluice.DiskUse) { u.Budget, u.Artifacts, u.Environments = 20*g, 10*g, 5*g }), 5 * g, ""},
		"at the warning":  {with(func(u *sluice.DiskUse) { u.Budget, u.Artifacts, u.Environments = 20*g, 10*g, 6*g }), 4 * g, "16.0 GiB of the 20.0 GiB that disk.budget allows (80 %)"},
		"at the end":      {with(func(u *sluice.DiskUse) { u.Budget, u.Artifacts = 20*g, 20*g }), 0, "take 20.0 GiB, and disk.budget allows 20.0 GiB"},
		"beyond":          {with(func(u *sluice.DiskUse) { u.Budget, u.Artifacts = 20*g, 21*g }), -g, "take 21.0 GiB"},
		"disk nearly":     {with(func(u *sluice.DiskUse) { u.Free = g }), g - 256<<20, "the disk is nearly full: 1.0 GiB of 100.0 GiB are free"},
		"refuses":         {with(func(u *sluice.DiskUse) { u.Budget, u.Artifacts, u.Refuses = 20*g, 20*g, "it is read-only" }), 0, "it is read-only"},
		"small disk":      {sluice.DiskUse{Free: 1 << 20, Size: 100 << 20}, 0, "nearly full"},
		"disk and budget": {with(func(u *sluice.DiskUse) { u.Budget, u.Free = 20*g, 3*g }), 3*g - 256<<20, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if !c.use.Fits(c.fits) || c.use.Size+c.use.Budget > 0 && c.use.Fits(c.fits+1) {
				t.Errorf("the most that fits is not %d", c.fits)
			}
			if got := c.use.Warning(); (got == "") != (c.warning == "") || !strings.Contains(got, c.warning) {
				t.Errorf("warning %q, want %q", got, c.warning)
			}
		})
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 10: "1.0 KiB", 3 << 19: "1.5 MiB", 5 << 30: "5.0 GiB", 1 << 61: "2048.0 PiB"} {
		if got := sluice.FormatBytes(n); got != want {
			t.Errorf("FormatBytes(%d) = %q, want %q", n, got, want)
		}
	}
}
