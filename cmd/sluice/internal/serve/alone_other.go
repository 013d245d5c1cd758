//go:build !unix

package serve

import (
	"errors"
	"os"
)

func tryLock(string) (*os.File, error) {
	return nil, errors.New("running the server is not supported on this system: use WSL2 or Linux")
}
