package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
)

func (p *program) envCommand() *cobra.Command {
	var shell string
	cmd := &cobra.Command{
		Use: "env", Short: "Print what other tools need to trust Sluice's certificates", Args: noArgs,
		Long: "Prints commands for a shell that set SLUICE_HOME and make curl, Python, Node and Go programs\n" +
			"trust the local certificate authority beside the system's own.",
		Example: "  eval \"$(sluice env)\"\n" +
			"  sluice env --shell fish | source\n" +
			"  sluice env --shell powershell | Out-String | Invoke-Expression",
		RunE: func(*cobra.Command, []string) error { return p.printEnv(shell) },
	}
	cmd.Flags().StringVar(&shell, "shell", "sh", "sh, fish or powershell")
	return cmd
}

func (p *program) printEnv(shell string) error {
	line, ok := exports[strings.ToLower(shell)]
	if !ok {
		return usage("--shell %s is not one of sh, fish, powershell", shell)
	}
	dir, err := p.home()
	if err != nil {
		return err
	}
	vars := output.Map{{Key: "SLUICE_HOME", Value: string(dir)}}
	for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		vars = append(vars, output.Entry{Key: name, Value: dir.Bundle()})
	}
	if _, err := os.Stat(dir.Bundle()); errors.Is(err, fs.ErrNotExist) {
		p.note("sluice: warning: %s does not exist yet: `sluice up` makes it", dir.Bundle())
	}
	if p.flags.formatGiven || p.flags.query != "" {
		return p.print(vars)
	}
	for _, v := range vars {
		fmt.Fprintln(p.stdout, line(v.Key, v.Value.(string)))
	}
	return nil
}

// exports gives, by shell, the line that sets and exports a variable.
var exports = map[string]func(name, value string) string{
	"sh": func(name, value string) string {
		return "export " + name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'"
	},
	"fish": func(name, value string) string {
		return "set -gx " + name + " '" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(value) + "'"
	},
	"powershell": func(name, value string) string {
		return "$env:" + name + " = '" + strings.ReplaceAll(value, "'", "''") + "'"
	},
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		Example: "  sluice version --query sluice -o tsv",
		RunE: func(*cobra.Command, []string) error {
			return p.print(output.Map{{Key: "sluice", Value: version}, {Key: "go", Value: runtime.Version()},
				{Key: "platform", Value: runtime.GOOS + "/" + runtime.GOARCH}})
		},
	}
}
