package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/progress"
	"github.com/sluice-ml/sluice/manifest"
)

// unbuilt are flags that are known and refused by name.
type unbuilt struct{ names []string }

// register makes the flags known to the command and refuses them when given.
func (u unbuilt) register(cmd *cobra.Command) {
	for _, name := range u.names {
		cmd.Flags().Bool(name, false, "not built yet")
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, rest []string) error {
		for _, name := range u.names {
			if cmd.Flags().Changed(name) {
				return sluice.Errorf(sluice.CodeNotBuilt, "--%s is not built yet", name)
			}
		}
		return run(cmd, rest)
	}
}

// follow waits for an operation and shows its stages. what names the thing it
// works on; the command in show tells how far it is later on.
func (p *program) follow(ctx context.Context, shown *progress.Progress, poller *arm.Poller, what, show string) error {
	noted := 0
	err := poller.Wait(ctx, func(op arm.Operation) {
		for _, stage := range op.Properties.Stages {
			shown.Update(stepOf(stage))
		}
		for ; noted < len(op.Properties.Notices); noted++ {
			shown.Note("note: %s", op.Properties.Notices[noted])
		}
	})
	if err != nil && stopped(ctx) {
		return &goesOn{what: what, follow: show}
	}
	return err
}

// stepOf gives a stage as a step on the screen. How long it took is the
// server's to say: its clock and ours may differ.
func stepOf(s sluice.Stage) progress.Step {
	step := progress.Step{Name: s.Name, Step: s.Step, Detail: s.Detail, Instance: s.Instance,
		Telling: s.Name == sluice.StageInstance}
	if !s.Ended.IsZero() {
		step.Done, step.Took = true, s.Ended.Sub(s.Started)
	}
	return step
}

// warn shows what a manifest or the server accepted without doing it yet. The
// server repeats what the manifest already said.
func (p *program) warn(read []manifest.Warning, answered []string) {
	for _, w := range read {
		p.note("sluice: warning: %s", w)
	}
	if len(read) > 0 {
		return
	}
	for _, w := range answered {
		p.note("sluice: warning: %s", w)
	}
}

// webNote answers --web.
func (p *program) webNote(web bool) {
	if web {
		p.note("sluice: warning: --web: Studio is not built yet; going on without it")
	}
}
