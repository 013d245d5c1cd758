package main

import (
	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
)

func (p *program) workspaceCommands() *cobra.Command {
	group := &cobra.Command{Use: "workspace", Short: "Where everything belongs to", RunE: p.group}
	var name string
	show := &cobra.Command{
		Use: "show", Short: "Show the workspace", Args: noArgs,
		Example: "  sluice workspace show --query location -o tsv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name != "" {
				p.flags.workspace = name
			}
			c, err := p.connect()
			if err != nil {
				return err
			}
			w, err := c.Workspace(cmd.Context())
			if err != nil {
				return err
			}
			return p.print(output.Map{
				{Key: "id", Value: w.ID}, {Key: "name", Value: w.Name},
				{Key: "display_name", Value: w.Properties.FriendlyName}, {Key: "description", Value: w.Properties.Description},
				{Key: "tags", Value: map[string]string(w.Tags)}, {Key: "location", Value: w.Location},
				{Key: "resource_group", Value: c.Scope().ResourceGroup},
				{Key: "public_network_access", Value: w.Properties.PublicNetworkAccess},
				{Key: "provisioning_state", Value: w.Properties.ProvisioningState},
			})
		},
	}
	show.Flags().StringVarP(&name, "name", "n", "", "name of the workspace")
	group.AddCommand(show)
	return group
}
