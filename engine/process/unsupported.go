//go:build !linux && !darwin

package process

import "errors"

// errUnsupported says where processes can be run.
var errUnsupported = errors.New("processes are run on Linux and macOS only (on Windows: in WSL 2)")
