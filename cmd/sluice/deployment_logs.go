package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
)

// logOptions are the flags of get-logs.
type logOptions struct {
	deploymentName
	lines       int
	container   string
	instance    string
	all, follow bool
}

func (p *program) deploymentLogs() *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use: "get-logs", Short: "Show the logs of instances", Args: noArgs,
		Long: "Shows the last lines that one instance wrote: one that lives before one that has ended, then the\n" +
			"newest. --instance names another, and --all-instances shows all of them, each line behind its\n" +
			"instance, with those that ended in the last hour. --follow goes on with what comes, of the instances\n" +
			"that replace these too, until it is interrupted; with --instance, until that one has ended. A line is\n" +
			"shown once it is whole, or 64 KiB long. At a terminal control characters are left out.",
		Example: "  sluice online-deployment get-logs -e iris -n blue --lines 100\n" +
			"  sluice online-deployment get-logs -e iris -n blue --follow\n" +
			"  sluice online-deployment get-logs -e iris -n blue --all-instances | grep ERROR\n" +
			"  sluice online-deployment get-logs -e iris -n blue --instance w4kq2hxn7d3a",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if o.all || o.follow || o.instance != "" {
				return p.streamLogs(cmd.Context(), o)
			}
			return p.lastLines(cmd.Context(), o)
		},
	}
	o.register(p, cmd)
	cmd.Flags().IntVarP(&o.lines, "lines", "l", 5000, "how many of the last lines")
	cmd.Flags().StringVarP(&o.container, "container", "c", "inference-server", "inference-server or storage-initializer")
	cmd.RegisterFlagCompletionFunc("container", completeOneOf("inference-server", "storage-initializer"))
	cmd.Flags().StringVar(&o.instance, "instance", "", "which instance")
	cmd.Flags().BoolVar(&o.all, "all-instances", false, "all instances, each line behind its instance")
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	cmd.RegisterFlagCompletionFunc("instance", p.completeInstances)
	unbuilt{[]string{"local"}}.register(cmd)
	return cmd
}

func (o *logOptions) check() error {
	if err := o.deploymentName.check(); err != nil {
		return err
	}
	if o.lines < 1 {
		return usage("--lines %d is not at least 1", o.lines)
	}
	o.container = strings.ToLower(o.container)
	if o.container != "inference-server" && o.container != "storage-initializer" {
		return usage("--container %s is neither inference-server nor storage-initializer", o.container)
	}
	if o.all && o.instance != "" {
		return usage("--all-instances and --instance exclude each other")
	}
	return nil
}

// lastLines shows the last lines of one instance.
func (p *program) lastLines(ctx context.Context, o logOptions) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	text, err := c.DeploymentLogs(ctx, o.endpoint, o.name, o.container, o.lines)
	if err != nil {
		return err
	}
	if text == "" {
		p.noteNoLog(ctx, c, o)
	}
	return p.printLog(text)
}

// noteNoLog says why there is nothing to show. That it cannot be found out is
// no reason to fail.
func (p *program) noteNoLog(ctx context.Context, c *arm.Client, o logOptions) {
	d, err := c.Deployment(ctx, o.endpoint, o.name)
	if err != nil {
		return
	}
	read, _, err := d.Domain()
	if err != nil {
		return
	}
	instances, err := c.DeploymentInstances(ctx, o.endpoint, o.name)
	if err != nil {
		return
	}
	p.note("sluice: there is nothing to show: %s", whyNoLog(o, read, instances))
}

// whyNoLog words why there is nothing to show of a deployment.
func whyNoLog(o logOptions, d *sluice.Deployment, instances []arm.Instance) string {
	switch {
	case len(instances) == 0 && d.Cause != nil:
		return fmt.Sprintf("%s has no instance, as it failed: %s", o.what(), d.Cause.Error())
	case len(instances) == 0 && d.State.Transitional():
		return fmt.Sprintf("%s has no instance yet: its state is %s", o.what(), d.State)
	case len(instances) == 0:
		return fmt.Sprintf("%s has no instance: its state is %s", o.what(), d.State)
	}
	var each []string
	for _, i := range instances {
		if o.instance == "" || o.instance == i.ID {
			each = append(each, i.ID+" ("+i.Phase+")")
		}
	}
	return fmt.Sprintf("%s has written nothing: %s", o.what(), strings.Join(each[max(0, len(each)-5):], ", "))
}

// printLog writes a log as it is, unless a format was asked for.
func (p *program) printLog(text string) error {
	if p.flags.query != "" || p.flags.formatGiven && p.flags.format != string(output.TSV) {
		return p.print(text)
	}
	if _, tty := terminal(p.stdout); tty {
		var b strings.Builder
		for line := range strings.Lines(text) {
			b.WriteString(clean(line) + "\n")
		}
		text = b.String()
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if _, err := io.WriteString(p.stdout, text); err != nil {
		return fmt.Errorf("writing the log: %w", err)
	}
	return nil
}

// streamLogs shows logs as they come.
func (p *program) streamLogs(ctx context.Context, o logOptions) error {
	if p.flags.query != "" || p.flags.formatGiven && p.flags.format != string(output.TSV) {
		return usage("--follow, --all-instances and --instance print lines: leave out -o and --query")
	}
	if o.container != "inference-server" {
		return sluice.Errorf(sluice.CodeNotBuilt, "the log of container %s is not built yet: files are placed before the instance starts", o.container)
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	if o.follow {
		p.noteWaiting(ctx, c, o)
	}
	_, tty := terminal(p.stdout)
	printer := &logPrinter{to: p.stdout, prefix: o.all, clean: tty, follow: o.follow, one: o.instance != "",
		say: func(format string, a ...any) { p.note("sluice: "+format, a...) }}
	if err := p.readLogs(ctx, c, o, printer); err != nil {
		return err
	}
	switch {
	case o.follow && o.instance == "":
		p.note("sluice: %s is deleted", o.what())
	case !o.follow && !printer.wrote:
		p.noteNoLog(ctx, c, o)
	}
	return nil
}

// readLogs reads logs to their end, and bears with a server that is away
// meanwhile.
func (p *program) readLogs(ctx context.Context, c *arm.Client, o logOptions, printer *logPrinter) error {
	line := reconnecting{p: p}
	var place arm.LogPlace
	ask := arm.LogAsk{Instance: o.instance, All: o.all, Follow: o.follow, Tail: o.lines}
	for {
		err := c.StreamLogs(ctx, o.endpoint, o.name, ask, &place, func(r arm.LogRecord) error {
			line.found()
			return printer.record(r)
		}, printer.flush)
		if flushErr := printer.flush(); flushErr != nil {
			return flushErr
		}
		switch {
		case err == nil, place.Begun() && o.follow && sluice.ErrorCode(err) == sluice.CodeNotFound:
			return printer.close()
		case !place.Begun(): // nothing came yet: the server is not there, or refuses
			return err
		}
		if err := line.lost(ctx, err); err != nil {
			return err
		}
		c = p.moved(c)
	}
}

// noteWaiting says what is waited for when there is no instance to follow.
func (p *program) noteWaiting(ctx context.Context, c *arm.Client, o logOptions) {
	if instances, err := c.DeploymentInstances(ctx, o.endpoint, o.name); err == nil && len(instances) == 0 {
		p.noteNoLog(ctx, c, o)
	}
}

// logPrinter prints the records of a stream of logs.
type logPrinter struct {
	to     io.Writer
	prefix bool // each line behind its instance
	clean  bool // a terminal reads it
	follow bool
	one    bool // of an instance that was named
	say    func(format string, a ...any)

	buffer []byte
	open   bool // the last line has no end yet
	wrote  bool
	known  map[string]arm.LogKind // what was said of instances
}

// maxUnflushed is how much is gathered before it is written although more is
// there, in bytes.
const maxUnflushed = 64 << 10

func (l *logPrinter) record(r arm.LogRecord) error {
	switch r.Kind {
	case arm.LogLine, arm.LogPiece:
		l.text(r)
	case arm.LogJoined, arm.LogEnded:
		if err := l.life(r); err != nil {
			return err
		}
	case arm.LogNote:
		if err := l.flush(); err != nil {
			return err
		}
		l.say("instance %s: %s", r.Instance, r.Text)
	}
	if len(l.buffer) >= maxUnflushed {
		return l.flush()
	}
	return nil
}

// text prints a line or a piece of one. Behind instances each piece is a line:
// what comes next may be another's.
func (l *logPrinter) text(r arm.LogRecord) {
	if l.prefix {
		l.buffer = append(append(append(l.buffer, '['), r.Instance...), "] "...)
	}
	if l.clean {
		l.buffer = append(l.buffer, clean(string(r.Text))...)
	} else {
		l.buffer = append(l.buffer, r.Text...)
	}
	l.open = !l.prefix && r.Kind == arm.LogPiece
	if !l.open {
		l.buffer = append(l.buffer, '\n')
	}
	l.wrote = true
}

// life says which instance is followed, and that it has ended. After a cut the
// server repeats that.
func (l *logPrinter) life(r arm.LogRecord) error {
	if l.open && r.Kind == arm.LogEnded {
		l.buffer, l.open = append(l.buffer, '\n'), false
	}
	if l.known == nil {
		l.known = map[string]arm.LogKind{}
	}
	if !l.follow || l.one || l.known[r.Instance] == r.Kind || l.known[r.Instance] == arm.LogEnded {
		return nil
	}
	l.known[r.Instance] = r.Kind
	if err := l.flush(); err != nil {
		return err
	}
	if r.Kind == arm.LogEnded {
		l.say("instance %s has ended", r.Instance)
	} else {
		l.say("following instance %s", r.Instance)
	}
	return nil
}

func (l *logPrinter) close() error {
	if l.open {
		l.buffer, l.open = append(l.buffer, '\n'), false
	}
	return l.flush()
}

func (l *logPrinter) flush() error {
	if len(l.buffer) == 0 {
		return nil
	}
	_, err := l.to.Write(l.buffer)
	l.buffer = l.buffer[:0]
	if err != nil {
		return fmt.Errorf("writing the log: %w", err)
	}
	return nil
}
