package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) endpointCredentials() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "get-credentials", Short: "Show the keys of an endpoint", Args: noArgs,
		Example: "  sluice online-endpoint get-credentials -n iris --query primaryKey -o tsv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usage("which endpoint? Give -n")
			}
			c, err := p.connect()
			if err != nil {
				return err
			}
			keys, err := c.Keys(cmd.Context(), name)
			if err != nil {
				return err
			}
			return p.print(keys)
		},
	}
	p.endpointFlag(cmd, &name)
	return cmd
}

func (p *program) endpointRegenerate() *cobra.Command {
	var name, keyType string
	cmd := &cobra.Command{
		Use: "regenerate-keys", Short: "Replace a key of an endpoint", Args: noArgs,
		Long:    "Replaces one of an endpoint's two keys. The former key stops working at once; the other one goes on.",
		Example: "  sluice online-endpoint regenerate-keys -n iris --key-type secondary",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usage("which endpoint? Give -n")
			}
			keyType = strings.ToLower(keyType)
			if !slices.Contains([]string{"primary", "secondary"}, keyType) {
				return usage("--key-type %s is neither primary nor secondary", keyType)
			}
			c, err := p.connect()
			if err != nil {
				return err
			}
			if err := c.RegenerateKeys(cmd.Context(), name, keyType); err != nil {
				return err
			}
			p.note("the %s key of endpoint %s is a new one: see `sluice online-endpoint get-credentials -n %s`", keyType, name, name)
			return nil
		},
	}
	p.endpointFlag(cmd, &name)
	cmd.Flags().StringVar(&keyType, "key-type", "primary", "which key: primary or secondary")
	cmd.RegisterFlagCompletionFunc("key-type", completeOneOf("primary", "secondary"))
	cmd.Flags().Bool("no-wait", false, "accepted: a key is replaced at once")
	return cmd
}
