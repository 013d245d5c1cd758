//go:build !unix

package artifact

import (
	"io/fs"
	"os"
	"time"
)

// syncDir has nothing to do: names are durable with their files.
func syncDir(string) error { return nil }

// lastUse is not known here, so that nothing is ever collected.
func lastUse(fs.FileInfo) time.Time { return time.Now() }

// lockFile does nothing here: nothing is collected.
func lockFile(string, bool) (unlock func(), err error) { return func() {}, nil }

func openUnused(path string) (*os.File, error) { return os.Open(path) }
