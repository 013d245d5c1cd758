package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/progress"
)

func (p *program) pruneCommand() *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove from the disk what nothing needs", Args: noArgs,
		Long: "Removes uploaded files that no registered version and no running instance needs, Python\n" +
			"environments that no deployment needs, what is left of interrupted uploads, and old logs of\n" +
			"builds, in every workspace. What was uploaded or used in the last hour and a half stays.\n\n" +
			"Nothing is lost that could still run: an environment is made again when it is needed again,\n" +
			"and a folder is uploaded again when it is deployed again.",
		Example: "  sluice prune --dry-run                      what would go\n" +
			"  sluice prune                                ask, then remove it\n" +
			"  sluice prune -y --query bytes -o tsv        from a script",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.prune(cmd.Context(), dryRun, yes) },
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (p *program) prune(ctx context.Context, dryRun, yes bool) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	would, err := c.Prune(ctx, true)
	if err != nil {
		return err
	}
	p.note("%s", wouldRemove(would))
	empty := sluice.Pruned{DryRun: true, LaterBytes: would.LaterBytes}
	if dryRun || would == empty {
		would.DryRun = dryRun
		return p.print(prunedDoc(would))
	}
	if err := p.confirm(yes, "Remove it?"); err != nil {
		return err
	}
	shown := p.progress()
	defer shown.Close()
	step := progress.Step{Name: "pruning"}
	shown.Update(step)
	did, err := c.Prune(ctx, false)
	if err != nil {
		return err
	}
	step.Done, step.Detail = true, sluice.FormatBytes(did.Bytes)+" came free"
	shown.Update(step)
	shown.Close()
	return p.print(prunedDoc(did))
}

func prunedDoc(d sluice.Pruned) output.Map {
	return output.Map{
		{Key: "dryRun", Value: d.DryRun}, {Key: "bytes", Value: d.Bytes}, {Key: "files", Value: d.Files},
		{Key: "environments", Value: d.Environments}, {Key: "uploads", Value: d.Uploads}, {Key: "logs", Value: d.Logs},
		{Key: "laterBytes", Value: d.LaterBytes},
	}
}

// wouldRemove says what a prune would do, in one sentence.
func wouldRemove(w sluice.Pruned) string {
	var parts []string
	for _, part := range []struct {
		n         int
		one, many string
	}{
		{w.Files, "uploaded file", "uploaded files"}, {w.Environments, "environment", "environments"},
		{w.Uploads, "interrupted upload", "interrupted uploads"}, {w.Logs, "log of a build", "logs of builds"},
	} {
		switch part.n {
		case 0:
		case 1:
			parts = append(parts, "1 "+part.one)
		default:
			parts = append(parts, fmt.Sprint(part.n, " ", part.many))
		}
	}
	sentence := "nothing can be removed: all that is there is needed"
	switch {
	case len(parts) > 0:
		sentence = fmt.Sprintf("%s would be freed: %s", sluice.FormatBytes(w.Bytes), strings.Join(parts, ", "))
	case w.LaterBytes > 0:
		sentence = "nothing can be removed yet"
	}
	if w.LaterBytes > 0 {
		sentence += fmt.Sprintf(" (%s more that nothing needs was used in the last hour and a half, and stays for now)", sluice.FormatBytes(w.LaterBytes))
	}
	return sentence
}
