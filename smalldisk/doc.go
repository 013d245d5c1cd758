// Package smalldisk gives tests a real file system of their own, so small that
// it can be filled at any step of what is tested, and emptied again.
//
//	d := smalldisk.New(t, 1<<20)
//	d.Fill(4096)          // one page is left
//	err := write(d.Dir)   // what happens?
//	d.Free()
//
// A step is a page of bytes or the name of a file: [Disk.Each] tries an
// operation with room for none of them, one, two and so on, so that each of its
// writes is once the one that fails.
//
// It needs Linux and the right to mount. Without that right a test is skipped,
// except in CI.
package smalldisk
