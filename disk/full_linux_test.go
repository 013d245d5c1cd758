package disk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-ml/sluice"
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

func TestExplain(t *testing.T) {
	d := smalldisk.New(t, 1<<20)
	path := filepath.Join(d.Dir, "x")
	d.Fill(0)
	full := os.WriteFile(path, []byte("x"), 0o600)
	d.Free()
	if disk.ReadOnly(d.Dir) || disk.Try(d.Dir) != nil {
		t.Error("a disk that takes writes is said not to")
	}
	d.ReadOnly(true)
	readOnly := os.WriteFile(path, []byte("x"), 0o600)
	if !disk.ReadOnly(path) || !disk.HasFailed(disk.Try(d.Dir)) {
		t.Error("a read-only disk is not seen")
	}
	d.ReadOnly(false)
	known := &sluice.Cause{Code: sluice.CauseQuota, Message: "too many"}
	for _, c := range []struct {
		err     error
		code    sluice.CauseCode
		says    string
		unwraps error
	}{
		{full, sluice.CauseDiskFull, "the disk is full: writing a page to " + d.Dir + ": ", syscall.ENOSPC},
		{readOnly, sluice.CauseDiskFailed, "the disk refuses to write (read-only file system): writing a page to " + d.Dir, syscall.EROFS},
		{fmt.Errorf("syncing: %w", syscall.EIO), sluice.CauseDiskFailed, "the disk refuses to write (input/output error): writing a page to " + d.Dir, syscall.EIO},
		{fmt.Errorf("%w: %w", known, syscall.EIO), sluice.CauseQuota, "too many", syscall.EIO},
	} {
		got := disk.Explain("a page", d.Dir, c.err)
		cause, ok := errors.AsType[*sluice.Cause](got)
		if !ok || cause.Code != c.code || !strings.HasPrefix(cause.Message, c.says) || !errors.Is(got, c.unwraps) {
			t.Errorf("%v: got %v", c.err, got)
		}
	}
	if err := errors.New("other"); disk.Explain("a page", d.Dir, err) != err || disk.Explain("a page", d.Dir, nil) != nil {
		t.Error("other errors are changed")
	}
}
