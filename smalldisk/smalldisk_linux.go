package smalldisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Page is the unit in which the file system gives room for bytes.
var Page = int64(os.Getpagesize())

// names is how many files the file system takes in all.
const names = 2000

// Disk is a small file system. It is used by one goroutine.
type Disk struct {
	// Dir is an empty folder on it, with a short path: sockets fit below it.
	Dir string

	t     testing.TB
	mount string
}

// New mounts a file system of so many bytes until the test ends.
func New(t testing.TB, bytes int64) *Disk {
	t.Helper()
	mount, err := os.MkdirTemp("", "disk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(mount) })
	options := fmt.Sprintf("size=%d,nr_inodes=%d,mode=0700", bytes, names)
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, options); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI mounts a small file system: %v", err)
		}
		t.Skipf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	d := &Disk{Dir: filepath.Join(mount, "d"), t: t, mount: mount}
	for _, dir := range []string{d.Dir, d.filler()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// filler is the folder with what fills the disk.
func (d *Disk) filler() string { return filepath.Join(d.mount, "filler") }

func (d *Disk) room() (bytes, names int64) {
	d.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.mount, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Bfree) * st.Bsize, int64(st.Ffree)
}

// Fill leaves room for so many pages of bytes. What else writes at the same
// time may take of them.
func (d *Disk) Fill(pages int64) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.filler(), "bytes"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, Page)
	for {
		free, _ := d.room()
		if free <= pages*Page {
			return
		}
		if _, err := f.Write(page); err != nil && !errors.Is(err, unix.ENOSPC) {
			d.t.Fatal(err)
		}
	}
}

// FillNames leaves room for so many new files, folders and sockets.
func (d *Disk) FillNames(n int64) {
	d.t.Helper()
	for i := 0; ; i++ {
		_, free := d.room()
		if free <= n {
			return
		}
		err := os.Mkdir(filepath.Join(d.filler(), fmt.Sprint(i)), 0o700)
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOSPC) {
			d.t.Fatal(err)
		}
	}
}

// Free gives back what Fill and FillNames took.
func (d *Disk) Free() {
	d.t.Helper()
	if err := os.RemoveAll(d.filler()); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Mkdir(d.filler(), 0o700); err != nil {
		d.t.Fatal(err)
	}
}

// ReadOnly makes the file system read-only, or writable again. Nobody may have a
// file on it open to write.
func (d *Disk) ReadOnly(yes bool) {
	d.t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if yes {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", d.mount, "", flags, ""); err != nil {
		d.t.Fatalf("remounting: %v", err)
	}
}

// Empty removes everything from Dir.
func (d *Disk) Empty() {
	d.t.Helper()
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(d.Dir, e.Name())); err != nil {
			d.t.Fatal(err)
		}
	}
}

// most is how much room an operation may want.
const most = 500

// Each is EachPage and then EachName, on a disk emptied in between.
func (d *Disk) Each(try func(scarce string) error, failed func(scarce string, err error)) {
	d.t.Helper()
	d.EachPage(try, failed)
	d.Empty()
	d.EachName(try, failed)
}

// EachPage tries an operation with room for no page, for one, and so on until
// it succeeds. What an attempt leaves behind is there for the next. scarce says
// how much room there is, for messages; failed is called with each error.
func (d *Disk) EachPage(try func(scarce string) error, failed func(scarce string, err error)) {
	d.t.Helper()
	d.each("pages", d.Fill, try, failed)
}

// EachName is EachPage with the names of files.
func (d *Disk) EachName(try func(scarce string) error, failed func(scarce string, err error)) {
	d.t.Helper()
	d.each("names", d.FillNames, try, failed)
}

func (d *Disk) each(what string, fill func(int64), try func(scarce string) error, failed func(scarce string, err error)) {
	d.t.Helper()
	for left := int64(0); left < most; left++ {
		scarce := fmt.Sprintf("with room for %d %s", left, what)
		fill(left)
		err := try(scarce)
		if err != nil {
			if left == 0 {
				d.t.Logf("%s: %v", scarce, err)
			}
			failed(scarce, err)
		}
		d.Free()
		if err == nil {
			if left == 0 {
				d.t.Errorf("it succeeds %s: nothing was tested", scarce)
			}
			return
		}
	}
	d.t.Fatalf("it fails with room for %d %s", most, what)
}

// Freeze lets nothing on the disk be opened for writing until thaw is called,
// although somebody has a file on it open to write.
func (d *Disk) Freeze() (thaw func()) {
	d.t.Helper()
	if err := unix.Mount(d.mount, d.mount, "", unix.MS_BIND, ""); err != nil {
		d.t.Fatal(err)
	}
	undo := func() {
		if err := unix.Unmount(d.mount, unix.MNT_DETACH); err != nil {
			d.t.Error(err)
		}
	}
	if err := unix.Mount("", d.mount, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		undo()
		d.t.Fatal(err)
	}
	return undo
}
