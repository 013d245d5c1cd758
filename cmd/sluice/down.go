package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/parent"
	"github.com/sluice-ml/sluice/home"
)

// downTime bounds how long `down` waits for everything to end: requests under
// way first, at the gateway, and then the instances.
const downTime = 2*sluice.MaxRequestTimeout + time.Minute

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop everything that sluice up started",
		Long: `Stop the gateway, the server and every instance on this machine.

What should run is kept: "sluice up" brings it back. Requests under way are finished first.`,
		Example: `  sluice down`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := home.Find()
			if err != nil {
				return err
			}
			slow := time.AfterFunc(time.Second, func() {
				fmt.Fprintln(cmd.ErrOrStderr(), "waiting for requests under way to finish")
			})
			err = parent.Stop(cmd.Context(), dir, downTime)
			slow.Stop()
			switch {
			case errors.Is(err, parent.ErrNotRunning):
				fmt.Fprintln(cmd.ErrOrStderr(), "Sluice is not running.")
				return nil
			case err != nil:
				return sluice.Errorf(sluice.CodeInternal, "stopping: %w", err).WithHint("the logs are in %s", dir.Logs())
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "Sluice is down.")
			return nil
		},
	}
}
