package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/args"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/progress"
)

// program is one run of the command line: what it reads and writes, the flags
// that every command has, and the connection, made when first needed.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookup         func(string) (string, bool) // environment variables

	root    *cobra.Command
	flags   globals
	client  *arm.Client
	address string // where the client looks for the server
	piped   []byte // the manifest that came through standard input
}

// globals are the flags of every command.
type globals struct {
	resourceGroup, workspace, subscription string
	format, query                          string
	formatGiven                            bool
	debug, verbose, onlyErrors             bool
	policyToken                            bool
	changeReference                        string
}

func (p *program) env(name string) string {
	value, _ := p.lookup(name)
	return value
}

func (p *program) close() {
	if p.client != nil {
		p.client.Close()
	}
}

// execute finds the command, reads its flags and runs it.
func (p *program) execute(ctx context.Context, tokens []string) error {
	p.build()
	if !completing(tokens) {
		rewritten, err := p.rewrite(tokens)
		if err != nil {
			return err
		}
		tokens = rewritten
	}
	p.root.SetArgs(tokens)
	return p.root.ExecuteContext(ctx)
}

// completing reports whether a shell asks what could come next: it asks about
// arguments that are not finished yet.
func completing(tokens []string) bool {
	return len(tokens) > 0 && strings.HasPrefix(tokens[0], "__complete")
}

func (p *program) build() {
	p.root = &cobra.Command{
		Use:   "sluice",
		Short: "Managed model endpoints that anyone can run",
		Long: "Sluice serves machine-learning models behind managed endpoints, on your own machines.\n" +
			"Start it with `sluice up`; then create an endpoint and a deployment.",
		Example: "  sluice up --detach\n" +
			"  sluice online-endpoint create -f endpoint.yml\n" +
			"  sluice online-deployment create -f blue-deployment.yml --all-traffic\n" +
			"  sluice online-endpoint invoke -n iris -r request.json",
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs, // group explains what is no command
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return p.checkGlobals(cmd) },
		RunE:              p.group,
	}
	p.root.SetIn(p.stdin)
	p.root.SetOut(p.stdout)
	p.root.SetErr(p.stderr)
	p.root.SetVersionTemplate("sluice {{.Version}}\n")
	p.root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%s", err) })
	p.globalFlags(p.root.PersistentFlags())
	p.root.AddCommand(lifecycleCommands(version)...)
	p.root.AddCommand(p.endpointCommands(), p.deploymentCommands(), p.modelCommands(), p.environmentCommands(),
		p.workspaceCommands(), p.statusCommand(), p.pruneCommand(), p.backupCommand(), p.restoreCommand(), p.configCommands(), p.envCommand(), p.versionCommand())
	p.root.InitDefaultHelpCmd()
	p.root.InitDefaultCompletionCmd()
	p.root.CompletionOptions.HiddenDefaultCmd = false
}

func (p *program) globalFlags(f *pflag.FlagSet) {
	g := &p.flags
	f.StringVarP(&g.resourceGroup, "resource-group", "g", "", "resource group; a label that is echoed")
	f.StringVarP(&g.workspace, "workspace-name", "w", "", "workspace (default \"default\")")
	f.StringVar(&g.subscription, "subscription", "", "subscription; a label that is echoed")
	f.StringVarP(&g.format, "output", "o", "json", "how to print the result: json, jsonc, none, table, tsv, yaml, yamlc")
	f.StringVar(&g.query, "query", "", "the part of the result to print, as JMESPath")
	f.BoolVar(&g.debug, "debug", false, "show every request on standard error")
	f.BoolVar(&g.verbose, "verbose", false, "say more on standard error")
	f.BoolVar(&g.onlyErrors, "only-show-errors", false, "no progress, notes or warnings")
	// Plumbing of Azure policy: accepted so that scripts run unchanged.
	f.BoolVar(&g.policyToken, "acquire-policy-token", false, "accepted and ignored")
	f.StringVar(&g.changeReference, "change-reference", "", "accepted and ignored")
	f.MarkHidden("acquire-policy-token")
	f.MarkHidden("change-reference")
	p.root.RegisterFlagCompletionFunc("output", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"json", "jsonc", "none", "table", "tsv", "yaml", "yamlc"}, cobra.ShellCompDirectiveNoFileComp
	})
}

// checkGlobals refuses a wrong format or query before anything is done.
func (p *program) checkGlobals(cmd *cobra.Command) error {
	p.flags.formatGiven = cmd.Flags().Changed("output")
	p.flags.format = strings.ToLower(p.flags.format)
	if !slices.Contains(output.Formats(), output.Format(p.flags.format)) {
		return usage("--output %s is not one of json, jsonc, none, table, tsv, yaml, yamlc", p.flags.format)
	}
	if p.flags.query != "" {
		if err := output.CheckQuery(p.flags.query); err != nil {
			return &usageError{message: err.Error(), hint: hintOf(err)}
		}
	}
	return nil
}

// rewrite spells the flags out that the user abbreviated.
func (p *program) rewrite(tokens []string) ([]string, error) {
	cmd := p.find(tokens)
	if i := len(strings.Fields(cmd.CommandPath())) - 1; i < len(tokens) && cmd.HasSubCommands() {
		if err := notBuiltCommand(cmd, tokens[i]); err != nil { // its flags are not known either
			return nil, err
		}
	}
	cmd.InitDefaultHelpFlag()
	if cmd == p.root {
		cmd.InitDefaultVersionFlag()
	}
	return args.Rewrite(tokens, flagsOf(cmd))
}

// find gives the command that the tokens name, as far as they do.
func (p *program) find(tokens []string) *cobra.Command {
	cmd := p.root
	skip := false
	for _, token := range tokens {
		if skip {
			skip = false
			continue
		}
		if strings.HasPrefix(token, "-") {
			skip = takesNext(token, cmd)
			continue
		}
		i := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == token || c.HasAlias(token) })
		if i < 0 {
			break
		}
		cmd = cmd.Commands()[i]
	}
	return cmd
}

// takesNext reports whether the token is a flag whose value is the next one.
func takesNext(token string, cmd *cobra.Command) bool {
	if strings.Contains(token, "=") {
		return false
	}
	flags := flagsOf(cmd)
	if name, long := strings.CutPrefix(token, "--"); long {
		f, err := args.Find(name, flags)
		return err == nil && f.Value
	}
	return slices.ContainsFunc(flags, func(f args.Flag) bool { return f.Value && "-"+f.Short == token })
}

func flagsOf(cmd *cobra.Command) []args.Flag {
	var flags []args.Flag
	add := func(f *pflag.Flag) {
		_, many := f.Value.(interface{ Many() })
		flags = append(flags, args.Flag{Name: f.Name, Short: f.Shorthand, Hidden: f.Hidden,
			Value: f.NoOptDefVal == "" && !many, Many: many})
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return flags
}

// notBuiltCommands are Azure's commands that Sluice will have, by the command
// they belong to. Building one means deleting it here.
var notBuiltCommands = map[string][]string{
	"sluice": {"batch-deployment", "batch-endpoint", "component", "compute", "connection", "data", "datastore",
		"deployment-template", "job", "registry", "schedule"},
	"sluice environment": {"share", "update"},
	"sluice model":       {"download", "package", "share", "update"},
	"sluice workspace":   {"create", "delete", "list", "list-keys", "update"},
}

func notBuiltCommand(cmd *cobra.Command, name string) error {
	if !slices.Contains(notBuiltCommands[cmd.CommandPath()], name) {
		return nil
	}
	return sluice.Errorf(sluice.CodeNotBuilt, "%s %s is not built yet", cmd.CommandPath(), name)
}

// group is what a command does that only holds others.
func (p *program) group(cmd *cobra.Command, rest []string) error {
	if len(rest) == 0 {
		return cmd.Help()
	}
	if err := notBuiltCommand(cmd, rest[0]); err != nil {
		return err
	}
	var names, near []string
	for _, c := range cmd.Commands() {
		if c.Hidden {
			continue
		}
		names = append(names, c.Name())
		if strings.HasPrefix(c.Name(), rest[0]) {
			near = append(near, c.Name())
		}
	}
	if len(near) == 0 {
		near = sluice.Nearest(rest[0], names, 2)
	}
	hint := "`" + cmd.CommandPath() + " --help` lists the commands"
	if len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return &usageError{message: fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+rest[0]), hint: hint}
}

// noArgs refuses stray words, which most often are a value without its flag.
func noArgs(_ *cobra.Command, rest []string) error {
	if len(rest) == 0 {
		return nil
	}
	return &usageError{message: fmt.Sprintf("what is %q? No flag takes it", rest[0]), hint: "--help lists the flags"}
}

// print writes a command's result.
func (p *program) print(value any) error {
	_, tty := terminal(p.stdout)
	return output.Print(p.stdout, value, output.Options{Format: output.Format(p.flags.format),
		Query: p.flags.query, Color: p.color(p.stdout), Terminal: tty})
}

// note says something that is neither the result nor an error.
func (p *program) note(format string, a ...any) {
	if !p.flags.onlyErrors {
		fmt.Fprintln(p.stderr, clean(fmt.Sprintf(format, a...)))
	}
}

// terminal gives the file behind a stream that is one.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

func (p *program) color(w io.Writer) bool {
	_, tty := terminal(w)
	return tty && p.env("NO_COLOR") == "" && p.env("TERM") != "dumb"
}

// progress starts showing how far the command is.
func (p *program) progress() *progress.Progress {
	f, tty := terminal(p.stderr)
	return progress.New(progress.Options{
		Out: p.stderr, Quiet: p.flags.onlyErrors, Live: tty && p.env("TERM") != "dumb", Color: p.color(p.stderr),
		Width: func() int {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil {
				return width
			}
			return 80
		},
	})
}

// stopped reports whether the user wanted the program to end.
func stopped(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }
