//go:build !linux

package artifact

import (
	"errors"
	"os"
)

// clone is not built here; files are linked or copied.
func clone(_, _ *os.File) error { return errors.ErrUnsupported }
