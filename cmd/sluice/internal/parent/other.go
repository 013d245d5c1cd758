//go:build !unix

package parent

import (
	"errors"
	"os"
	"os/exec"
)

// ErrRunning says that a parent runs already.
var ErrRunning = errors.New("sluice is running already")

func acquire(string) (*os.File, error) {
	return nil, errors.New("running the server is not supported on this system: use WSL2 or Linux")
}

func probe(path string) (*os.File, error) { return acquire(path) }

func own(*os.File) error { return nil }

func holder(string) (int, error) { return 0, ErrNotRunning }

func alive(int) bool { return false }

// Detach does nothing here.
func Detach(*exec.Cmd) {}
