//go:build !linux

package environment

import (
	"errors"
	"os/exec"
)

const (
	boxPlace    = "/build"
	driverPlace = "/sluice_build.py"
)

type confinement struct {
	user              User
	root, box, driver string
	read              []string
}

const nonblock = 0

func bootID() string { return "" }

var errNotConfined = errors.New("a build can be confined on Linux only")

func canConfine() error { return errNotConfined }

func confined(_ confinement, _ *exec.Cmd, started func()) error {
	started()
	return errNotConfined
}

func prefixOf(string, string) (string, error) { return "", errNotConfined }
