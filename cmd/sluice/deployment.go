package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/manifest"
)

func (p *program) deploymentCommands() *cobra.Command {
	group := &cobra.Command{
		Use: "online-deployment", Short: "Models with their code, behind an endpoint", RunE: p.group,
		Long: "An online deployment is a model with its code, environment and settings, under an endpoint.",
	}
	group.AddCommand(p.deploymentCreate(), p.deploymentUpdate(), p.deploymentShow(), p.deploymentList(),
		p.deploymentDelete(), p.deploymentLogs(), p.deploymentEvents())
	return group
}

// deploymentName is which deployment a command is about.
type deploymentName struct{ endpoint, name string }

// register adds -e and -n.
func (n *deploymentName) register(p *program, cmd *cobra.Command) {
	n.registerEndpoint(p, cmd)
	cmd.Flags().StringVarP(&n.name, "name", "n", "", "name of the deployment")
	cmd.RegisterFlagCompletionFunc("name", p.completeDeployments("endpoint-name"))
}

func (n *deploymentName) registerEndpoint(p *program, cmd *cobra.Command) {
	cmd.Flags().StringVarP(&n.endpoint, "endpoint-name", "e", "", "name of the endpoint")
	cmd.RegisterFlagCompletionFunc("endpoint-name", p.completeEndpoints)
}

func (n *deploymentName) check() error {
	switch {
	case n.endpoint == "" && n.name == "":
		return usage("which deployment? Give -e and -n")
	case n.endpoint == "":
		return usage("deployment %s of which endpoint? Give -e", n.name)
	case n.name == "":
		return usage("which deployment of endpoint %s? Give -n", n.endpoint)
	}
	return nil
}

func (n *deploymentName) flags() string { return "-e " + n.endpoint + " -n " + n.name }

// what names the deployment in a sentence.
func (n *deploymentName) what() string { return "deployment " + n.name }

func (n *deploymentName) show() string { return "sluice online-deployment show " + n.flags() }

// deploymentDoc reads a deployment as it is shown.
func (p *program) deploymentDoc(ctx context.Context, n deploymentName) (manifest.Doc, error) {
	c, err := p.connect()
	if err != nil {
		return nil, err
	}
	d, err := c.Deployment(ctx, n.endpoint, n.name)
	if err != nil {
		return nil, err
	}
	return shownDeployment(n.endpoint, d)
}

func shownDeployment(endpoint string, w arm.OnlineDeployment) (manifest.Doc, error) {
	d, count, err := w.Domain()
	if err != nil {
		return nil, fmt.Errorf("reading deployment %s: %w", w.Name, err)
	}
	d.Endpoint = endpoint
	d.Spec.Model = byID(w.Properties.Model)
	d.Spec.Environment = byID(w.Properties.EnvironmentID)
	if d.Spec.Code != nil && w.Properties.CodeConfiguration != nil {
		d.Spec.Code.Code = byID(w.Properties.CodeConfiguration.CodeID)
	}
	return manifest.DeploymentDoc(d, count, manifest.Output{ID: w.ID, Location: w.Location}), nil
}

// byID spells a full id as a reference.
func byID(id string) string {
	if strings.HasPrefix(id, "/") {
		return "azureml:" + id
	}
	return id
}

func (p *program) deploymentShow() *cobra.Command {
	var n deploymentName
	var web bool
	cmd := &cobra.Command{
		Use: "show", Short: "Show a deployment", Args: noArgs,
		Example: "  sluice online-deployment show -e iris -n blue\n" +
			"  sluice online-deployment show -e iris -n blue -o yaml > blue.yml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := n.check(); err != nil {
				return err
			}
			p.webNote(web)
			doc, err := p.deploymentDoc(cmd.Context(), n)
			if err != nil {
				return err
			}
			return p.print(doc)
		},
	}
	n.register(p, cmd)
	cmd.Flags().BoolVar(&web, "web", false, "not built yet: accepted with a warning")
	unbuilt{[]string{"local"}}.register(cmd)
	return cmd
}

func (p *program) deploymentList() *cobra.Command {
	var n deploymentName
	cmd := &cobra.Command{
		Use: "list", Short: "List the deployments of an endpoint", Args: noArgs,
		Example: "  sluice online-deployment list -e iris -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n.endpoint == "" {
				return usage("the deployments of which endpoint? Give -e")
			}
			c, err := p.connect()
			if err != nil {
				return err
			}
			deployments, err := c.Deployments(cmd.Context(), n.endpoint)
			if err != nil {
				return err
			}
			docs := make([]any, len(deployments))
			for i, d := range deployments {
				if docs[i], err = shownDeployment(n.endpoint, d); err != nil {
					return err
				}
			}
			return p.print(docs)
		},
	}
	n.registerEndpoint(p, cmd)
	unbuilt{[]string{"local"}}.register(cmd)
	return cmd
}

func (p *program) deploymentDelete() *cobra.Command {
	var n deploymentName
	var yes, noWait bool
	cmd := &cobra.Command{
		Use: "delete", Short: "Delete a deployment", Args: noArgs,
		Long:    "Deletes a deployment. One that carries live traffic is refused: give its share to others first.",
		Example: "  sluice online-deployment delete -e iris -n blue --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := n.check(); err != nil {
				return err
			}
			if err := p.confirm(yes, fmt.Sprintf("Delete deployment %s of endpoint %s?", n.name, n.endpoint)); err != nil {
				return err
			}
			c, err := p.connect()
			if err != nil {
				return err
			}
			poller, err := c.DeleteDeployment(cmd.Context(), n.endpoint, n.name)
			return p.deleted(cmd.Context(), poller, err, noWait, n.what(), n.show())
		},
	}
	n.register(p, cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is done")
	unbuilt{[]string{"local"}}.register(cmd)
	return cmd
}

// withLogs adds where to look when a deployment failed and nothing better is
// known: in the log of the instance that failed, as others may serve on.
func withLogs(err error, n deploymentName) error {
	e, ok := errors.AsType[*sluice.Error](err)
	if !ok || hintOf(err) != "" || e.Cause != nil && e.Cause.Hint != "" {
		return err
	}
	with := *e
	logs := "sluice online-deployment get-logs " + n.flags()
	if e.Cause != nil && e.Cause.Instance != "" {
		logs += " --instance " + e.Cause.Instance
	}
	with.Hint = "its log: `" + logs + "`"
	return &with
}
