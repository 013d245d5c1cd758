// Package killpoint lets tests choose one durable step of a program, a system
// call that changes files, and have it fail, or be the last thing that the
// program does.
//
//	rig := killpoint.New(t, dir)
//	rig.Start(cmd)                          // the program and all that it starts
//	…
//	for _, p := range killpoint.Sample(rig.Points(), seed, 1) {
//		rig.At(p, killpoint.Kill)       // or Torn, or Fail(unix.EIO)
//		…                               // the same work again: what is left of it?
//	}
//
// A step is named by what makes it: the program, the call, the kind of file and
// how many of these there were before, as in "sluice server: fsync
// sluice.db-wal #3". The product knows nothing of it: the kernel stops a program
// that is watched at each such call (seccomp user notification) and asks what
// is to become of it. Calls of all threads and children are counted together,
// and only those on files below dir.
//
// A program with the race detector sleeps for a second when it ends; tests that
// start many of them have GORACE=atexit_sleep_ms=0 in their environment.
//
// A call that is killed at has not happened; a torn write has happened by half.
// Every write that came before is in the files, as after the death of a process.
// After the death of the machine only what was synced is: see [Rig.Shadow].
//
// It needs Linux. Where the kernel does not allow it the test fails: nothing
// here may pass by not being tried.
package killpoint
