package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
)

// heldPoll is how long the server is asked to hold a poll for events open.
const heldPoll = 20 * time.Second

func (p *program) deploymentEvents() *cobra.Command {
	var n deploymentName
	var follow bool
	cmd := &cobra.Command{
		Use: "events", Short: "Show what happened to a deployment, when and to which instance", Args: noArgs,
		Long: "Shows what happened to a deployment and its instances, in order: what was asked for and by whom, how\n" +
			"operations ended, and how instances started, became ready, failed and ended, with the cause. At a\n" +
			"terminal it is a table unless -o says otherwise. With --follow it goes on until it is interrupted or\n" +
			"the deployment is deleted; json is then one object a line.",
		Example: "  sluice online-deployment events -e iris -n blue\n" +
			"  sluice online-deployment events -e iris -n blue --follow\n" +
			"  sluice online-deployment events -e iris -n blue --query \"[?cause].[time, cause.message]\" -o tsv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := n.check(); err != nil {
				return err
			}
			c, err := p.connect()
			if err != nil {
				return err
			}
			if _, tty := terminal(p.stdout); tty && !p.flags.formatGiven && p.flags.query == "" {
				p.flags.format = string(output.Table)
			}
			if follow {
				return p.followEvents(cmd.Context(), c, n)
			}
			events, err := c.DeploymentEvents(cmd.Context(), n.endpoint, n.name, 0, 0)
			if err != nil {
				return err
			}
			return p.print(p.eventDocs(events.Value))
		},
	}
	n.register(p, cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	return cmd
}

// eventDocs gives events as they are printed: what is read as a line has the
// columns that fit one.
func (p *program) eventDocs(events []arm.Event) []any {
	docs := make([]any, len(events))
	narrow := p.flags.query == "" && (p.flags.format == string(output.Table) || p.flags.format == string(output.TSV))
	for i, e := range events {
		if narrow {
			docs[i] = output.Map{{Key: "time", Value: timeOf(e)}, {Key: "what", Value: e.What},
				{Key: "instance", Value: e.Instance}, {Key: "message", Value: sentence(e)}}
			continue
		}
		e.Time = e.Time.UTC()
		docs[i] = e
	}
	return docs
}

// sentence gives an event's message with where it happened.
func sentence(e arm.Event) string {
	if e.Cause == nil || e.Cause.Where() == "" || e.What == string(sluice.EventOperationFailed) {
		return e.Message
	}
	return e.Cause.Where() + ": " + e.Message
}

// followEvents prints events as they come.
func (p *program) followEvents(ctx context.Context, c *arm.Client, n deploymentName) error {
	line := reconnecting{p: p}
	after, wait, first := int64(0), time.Duration(0), true
	for {
		events, err := c.DeploymentEvents(ctx, n.endpoint, n.name, after, wait)
		switch {
		case sluice.ErrorCode(err) == sluice.CodeNotFound && !first:
			p.note("%s is deleted", n.what())
			return nil
		case err != nil && first:
			return err
		case err != nil:
			if err := line.lost(ctx, err); err != nil {
				return err
			}
			c = p.moved(c)
			continue
		}
		line.found()
		if err := p.printEvents(events.Value, first); err != nil {
			return err
		}
		after, wait, first = events.After, heldPoll, false
	}
}

// eventRow is a row of a table that goes on: how wide its columns will have to
// be is not known, but what they hold mostly is.
const eventRow = "%-24s  %-18s  %-12s  %s\n"

func timeOf(e arm.Event) string { return e.Time.UTC().Format("2006-01-02T15:04:05.000Z") }

// printEvents prints some of the events of a list that goes on: what the format
// puts around a whole list is left out.
func (p *program) printEvents(events []arm.Event, first bool) error {
	if p.flags.format == string(output.Table) && p.flags.query == "" {
		if first {
			rule := strings.Repeat("-", 24)
			if err := p.write(eventRow+eventRow, "Time", "What", "Instance", "Message", rule, rule[:18], rule[:12], rule[:7]); err != nil {
				return err
			}
		}
		for _, e := range events {
			if err := p.write(eventRow, timeOf(e), clean(e.What), clean(e.Instance), clean(sentence(e))); err != nil {
				return err
			}
		}
		return nil
	}
	for _, doc := range p.eventDocs(events) {
		if err := p.printOne(doc); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) write(format string, a ...any) error {
	if _, err := fmt.Fprintf(p.stdout, format, a...); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// printOne prints one document of a stream of them. A query is asked of a list
// with this one document, as it would be of the whole list.
func (p *program) printOne(doc any) error {
	switch output.Format(p.flags.format) {
	case output.JSON, output.JSONC:
		return output.PrintLine(p.stdout, []any{doc}, p.flags.query)
	case output.YAML, output.YAMLC:
		if _, err := io.WriteString(p.stdout, "---\n"); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
	}
	return p.print([]any{doc})
}

// reconnecting bears with a server that is away for a while, and says so.
type reconnecting struct {
	p     *program
	since time.Time // when it was lost; zero while it is there
}

const (
	// awayFor is how long a server may be away: it starts again within seconds.
	awayFor = 5 * time.Minute
	// askAgain is how long to wait before it is asked again.
	askAgain = 300 * time.Millisecond
)

// lost waits a little when the error is that the server does not answer. Any
// other is given back.
func (r *reconnecting) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil || sluice.ErrorCode(err) != sluice.CodeUnavailable {
		return err
	}
	if r.since.IsZero() {
		r.since = time.Now()
		r.p.note("sluice: the server does not answer: trying again until it does")
	}
	if time.Since(r.since) > awayFor {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(askAgain):
		return nil
	}
}

// found says that the server is back, if it was away.
func (r *reconnecting) found() {
	if !r.since.IsZero() {
		r.p.note("sluice: the server is back after %s", time.Since(r.since).Round(100*time.Millisecond))
		r.since = time.Time{}
	}
}
