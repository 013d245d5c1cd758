package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completionTime bounds how long a shell waits for names.
const completionTime = 500 * time.Millisecond

// completeEndpoints gives the names of all endpoints, nothing when the server
// cannot be asked in time.
func (p *program) completeEndpoints(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	c, err := p.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	endpoints, err := c.Endpoints(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, len(endpoints))
	for i, e := range endpoints {
		names[i] = e.Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeDeployments gives the names of the deployments of the endpoint that
// the named flag holds.
func (p *program) completeDeployments(flag string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		endpoint, err := cmd.Flags().GetString(flag)
		if err != nil || endpoint == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := p.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		deployments, err := c.Deployments(ctx, endpoint)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := make([]string, len(deployments))
		for i, d := range deployments {
			names[i] = d.Name
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeInstances gives the instances of the deployment that -e and -n name,
// ended ones included: their logs answer for a while.
func (p *program) completeInstances(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	endpoint, _ := cmd.Flags().GetString("endpoint-name")
	name, _ := cmd.Flags().GetString("name")
	c, err := p.connect()
	if err != nil || endpoint == "" || name == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	instances, err := c.DeploymentInstances(ctx, endpoint, name)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ids := make([]string, len(instances))
	for i, instance := range instances {
		ids[i] = instance.ID + "\t" + instance.Phase
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeOneOf completes a flag that takes one of a few words.
func completeOneOf(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}
