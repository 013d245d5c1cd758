//go:build !unix

package environment

import (
	"context"
	"os"
	"os/exec"

	"github.com/sluice-ml/sluice"
)

func ownGroup(*exec.Cmd) {}

func startAndWait(cmd *exec.Cmd, started func()) error {
	err := cmd.Start()
	started()
	if err != nil {
		return err
	}
	return cmd.Wait()
}

// lock is not built here: environments are made where instances run.
func lock(context.Context, string) (*os.File, error) {
	return nil, sluice.Errorf(sluice.CodeNotBuilt, "environments cannot be made on this system")
}

func yield(int) {}

func syncAll(string) error { return nil }

func syncDir(string) error { return nil }
