package home

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/smalldisk"
)

func TestMakeOnAFullDisk(t *testing.T) {
	disk := smalldisk.New(t, 64<<10)
	d := Dir(filepath.Join(disk.Dir, "home"))
	disk.EachName(func(string) error { return d.Make() }, func(scarce string, err error) {
		var c *sluice.Cause
		if !errors.As(err, &c) || c.Code != sluice.CauseDiskFull || !strings.Contains(c.Message, string(d)) || !strings.Contains(c.Hint, "free space") {
			t.Errorf("%s: %v, want a full disk", scarce, err)
		}
	})
	if err := d.Make(); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
