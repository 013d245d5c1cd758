package main

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/parent"
	"github.com/sluice-ml/sluice/home"
)

// statusTime bounds how long the server is given to say how it is.
const statusTime = 5 * time.Second

// running is what the server says of itself.
type running struct {
	Version   string          `json:"version"`
	Engine    string          `json:"engine"`
	Isolation string          `json:"isolation"`
	Weaker    []string        `json:"weaker"` // what of it could be better
	Disk      *sluice.DiskUse `json:"disk"`
	Instances []struct {
		ID  string `json:"id"`
		PID int    `json:"pid"`
	} `json:"instances"`
}

func (p *program) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what runs on this machine", Args: noArgs,
		Long: "Shows the processes, the addresses, how many instances run, how much memory all of Sluice's\n" +
			"own processes take together (proportional set size, in bytes; models' Python excluded), and how\n" +
			"much of the disk uploaded files and environments take. Warns when disk.budget or the disk is\n" +
			"nearly used up, and when the parent of server and gateway has ended: parentPid is 0 then.",
		Example: "  sluice status\n  sluice status --query memory -o tsv",
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.status(cmd.Context()) },
	}
}

func (p *program) status(ctx context.Context) error {
	dir, err := p.home()
	if err != nil {
		return err
	}
	state, err := parent.ReadState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return sluice.Errorf(sluice.CodeUnavailable, "Sluice is not running in %s", dir).WithHint("start it with `sluice up`")
	}
	if err != nil {
		return err
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	var now running
	asked, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	if err := c.Status(asked, &now); err != nil {
		if asked.Err() != nil && ctx.Err() == nil {
			return sluice.Errorf(sluice.CodeUnavailable, "the server at %s has not answered for %s", state.APIAddress, statusTime).
				WithHint("its log is in %s", dir.Logs())
		}
		if sluice.ErrorCode(err) == sluice.CodeUnavailable && !parent.Running(dir) {
			return sluice.Errorf(sluice.CodeUnavailable, "Sluice is not running in %s: it ended without being stopped", dir).
				WithHint("`sluice up` starts it again, with everything that ran")
		}
		return err
	}
	if !parent.Running(dir) {
		p.note("sluice: warning: the parent (process %d) has ended: nothing restarts the server and the gateway", state.ParentPID)
		p.note("  hint: `sluice up --detach` takes both over, without a request being refused")
		state.ParentPID = 0
	}
	pids := []int{state.PID, state.GatewayPID, state.ParentPID}
	for _, i := range now.Instances {
		pids = append(pids, i.PID)
	}
	if warning := diskWarning(now.Disk); warning != "" {
		p.note("sluice: warning: %s", warning)
	}
	if now.Disk == nil { // it could not be counted
		now.Disk = &sluice.DiskUse{}
	}
	return p.print(output.Map{
		{Key: "pid", Value: state.PID}, {Key: "gatewayPid", Value: state.GatewayPID}, {Key: "parentPid", Value: state.ParentPID},
		{Key: "apiAddress", Value: state.APIAddress}, {Key: "gatewayAddress", Value: state.GatewayAddress},
		{Key: "instances", Value: len(now.Instances)}, {Key: "memory", Value: memory(pids)},
		{Key: "disk", Value: diskDoc(*now.Disk)}, {Key: "home", Value: string(dir)}, {Key: "version", Value: now.Version},
		{Key: "startedAt", Value: state.StartedAt.UTC().Format(time.RFC3339)},
		{Key: "engine", Value: now.Engine}, {Key: "isolation", Value: now.Isolation}, {Key: "weaker", Value: now.Weaker},
	})
}

// askLocal asks the server on this machine how it is, whatever server the
// environment names.
func askLocal(ctx context.Context, dir home.Dir) (running, error) {
	var now running
	address, err := localAPI(dir)
	if err != nil {
		return now, err
	}
	credential, err := readCredential(dir)
	if err != nil {
		return now, err
	}
	c, err := arm.NewClient(arm.Options{BaseURL: address, CAFile: dir.CA(), Credential: credential, UserAgent: "sluice/" + version})
	if err != nil {
		return now, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	return now, c.Status(ctx, &now)
}
