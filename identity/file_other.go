//go:build !unix

package identity

import "io/fs"

const ignoreDirSync = true

// openToOthers cannot be told from a mode here.
func openToOthers(fs.FileInfo) bool { return false }

// lock does nothing: the processes that would need it run on Unix only.
func lock(string) (unlock func(), err error) { return func() {}, nil }
