package disk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/smalldisk"
)

func TestSentence(t *testing.T) {
	d := smalldisk.New(t, 3<<20)
	missing := filepath.Join(d.Dir, "not", "there")
	says := func(ends string) {
		t.Helper()
		want := fmt.Sprintf("the disk is full: writing a page to %s: %s", missing, ends)
		if got := disk.Sentence("a page", missing); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	d.Fill(300)
	says("1 MiB are free")
	d.Fill(0)
	says("0 MiB are free")
	err := os.WriteFile(filepath.Join(d.Dir, "x"), []byte("x"), 0o600)
	if !disk.IsFull(fmt.Errorf("writing: %w", err)) {
		t.Errorf("%v is not taken for a full disk", err)
	}
	d.Free()
	d.FillNames(0)
	says("3 MiB are free, but no more files can be made")
	if err := os.Mkdir(filepath.Join(d.Dir, "y"), 0o700); !disk.IsFull(err) {
		t.Errorf("%v is not taken for a full disk", err)
	}
	if disk.IsFull(errors.New("no space left on device")) || disk.IsFull(nil) {
		t.Error("what only sounds like a full disk, or nothing, is taken for one")
	}
	if room, ok := disk.At(filepath.Dir(d.Dir)); !ok || room.Files != 0 || room.Bytes == 0 {
		t.Errorf("room is %+v, %t", room, ok)
	}
	if !strings.HasPrefix(disk.Sentence("x", "/"), "the disk is full: writing x to /") {
		t.Error("the root has no sentence")
	}
}
