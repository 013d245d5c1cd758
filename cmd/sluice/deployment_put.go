package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/progress"
	"github.com/sluice-ml/sluice/manifest"
)

type deploymentOptions struct {
	*program
	deploymentName
	file               string
	allTraffic         bool
	skipScript, noWait bool
	web                bool
	patch              patchFlags
	served             bool // it was Succeeded before the update
}

func (o *deploymentOptions) registerPut(cmd *cobra.Command) {
	o.register(o.program, cmd)
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "YAML file of the deployment, - for standard input")
	f.BoolVar(&o.skipScript, "skip-script-validation", false, "leave it to the server to check the scoring script: that it is there, parses and defines init() and run()")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait until it is done")
	f.BoolVar(&o.web, "web", false, "not built yet: accepted with a warning")
}

func (p *program) deploymentCreate() *cobra.Command {
	o := &deploymentOptions{program: p}
	cmd := &cobra.Command{
		Use: "create", Short: "Create a deployment", Args: noArgs,
		Long: "Checks the scoring script, uploads code and model, prepares the environment, starts the instances and waits\n" +
			"until they answer.",
		Example: "  sluice online-deployment create -f blue-deployment.yml --all-traffic\n" +
			"  sluice online-deployment create -f deployment.yml -n green -e iris --set instance_count=2",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.create(cmd.Context()) },
	}
	o.registerPut(cmd)
	cmd.Flags().BoolVar(&o.allTraffic, "all-traffic", false, "once it is ready, send it all of the endpoint's traffic")
	o.patch.createFlags(cmd.Flags())
	unbuilt{[]string{"local", "local-enable-gpu", "vscode-debug", "package-model", "with-package"}}.register(cmd)
	cmd.Flags().MarkHidden("with-package")
	return cmd
}

func (o *deploymentOptions) create(ctx context.Context) error {
	if o.file == "" {
		return usage("a deployment needs a file: give -f")
	}
	if o.allTraffic && o.noWait {
		return usage("--all-traffic and --no-wait exclude each other: traffic can move only when the deployment is ready")
	}
	d, err := o.readManifest(nil)
	if err != nil {
		return err
	}
	if err := o.checkScript(ctx, d); err != nil {
		return err
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	// Better to know before a large model is uploaded.
	if _, err := c.Endpoint(ctx, o.endpoint); err != nil {
		if sluice.ErrorCode(err) == sluice.CodeNotFound {
			return sluice.Errorf(sluice.CodeNotFound, "endpoint %s does not exist", o.endpoint).
				WithHint("create it first: sluice online-endpoint create -n %s", o.endpoint)
		}
		return err
	}
	if there, err := c.Deployment(ctx, o.endpoint, o.name); err == nil {
		return o.exists(there.Properties.ProvisioningState)
	} else if sluice.ErrorCode(err) != sluice.CodeNotFound {
		return err
	}
	err = o.put(ctx, c, d, arm.IfAbsent)
	if sluice.ErrorCode(err) == sluice.CodeExists {
		return o.exists("")
	}
	return err
}

// exists says what to do about a deployment that is there already, perhaps
// because a former command was interrupted.
func (o *deploymentOptions) exists(state string) error {
	switch sluice.State(state) {
	case sluice.StateCreating:
		return sluice.Errorf(sluice.CodeExists, "deployment %s of endpoint %s is being created already", o.name, o.endpoint).
			WithHint("see how far it is with `%s`, or end it with `sluice online-deployment delete %s`", o.show(), o.deploymentName.flags())
	case sluice.StateDeleting:
		return sluice.Errorf(sluice.CodeExists, "deployment %s of endpoint %s is still being deleted", o.name, o.endpoint).
			WithHint("try again in a moment")
	}
	return sluice.Errorf(sluice.CodeExists, "deployment %s of endpoint %s exists already", o.name, o.endpoint).
		WithHint("change it with `sluice online-deployment update -f %s`", o.file)
}

// readManifest reads the file over the base and takes the names from it.
func (o *deploymentOptions) readManifest(base manifest.Doc) (*manifest.Deployment, error) {
	d, warnings, err := o.read(base)
	if err != nil {
		return nil, err
	}
	o.warn(warnings, nil)
	o.endpoint, o.name = d.Endpoint, d.Name
	return d, nil
}

func (o *deploymentOptions) read(base manifest.Doc) (*manifest.Deployment, []manifest.Warning, error) {
	patches, err := o.patch.patches()
	if err != nil {
		return nil, nil, err
	}
	var over overrides
	over.add("name", "name", o.name)
	over.add("endpoint-name", "endpoint_name", o.endpoint)
	in, err := o.manifestIn(o.file)
	if err != nil {
		return nil, nil, err
	}
	in.Base, in.Patches, in.Overrides, in.SkipScript = base, patches, over, o.skipScript
	return manifest.ReadDeployment(in)
}

// put uploads what is on this machine, writes the deployment, waits until it
// is ready and prints it.
func (o *deploymentOptions) put(ctx context.Context, c *arm.Client, d *manifest.Deployment, options ...arm.PutOption) error {
	o.webNote(o.web)
	// Better to know before a large model is uploaded.
	types, err := c.InstanceTypes(ctx)
	if err != nil {
		return err
	}
	if _, err := sluice.FindInstanceType(types, d.Spec.InstanceType); err != nil {
		return err
	}
	shown := o.progress()
	defer shown.Close()
	if err := (uploader{c, shown}).deployment(ctx, d); err != nil {
		return err
	}
	answer, poller, err := c.PutDeployment(ctx, o.endpoint, o.name, arm.DeploymentFrom(c.Scope(), &d.Deployment, d.Count), options...)
	if err != nil {
		return err
	}
	if !d.Spec.AppInsights && d.Spec.DataCollector == nil {
		o.warn(nil, answer.Warnings)
	}
	if !o.noWait {
		if err := o.follow(ctx, shown, poller, o.what(), o.show()); err != nil {
			o.serving(shown, err)
			return withLogs(inCondaFile(err, d, o.file), o.deploymentName)
		}
		if o.allTraffic {
			if err := o.takeTraffic(ctx, c); err != nil {
				return err
			}
		}
	}
	shown.Close()
	doc, err := o.deploymentDoc(ctx, o.deploymentName)
	if err != nil {
		return err
	}
	return o.print(doc)
}

// serving says that a deployment whose update failed goes on with what it was.
func (o *deploymentOptions) serving(shown *progress.Progress, err error) {
	_, waiting := errors.AsType[*goesOn](err)
	if o.served && !waiting && sluice.ErrorCode(err) != sluice.CodeUnavailable {
		shown.Note("deployment %s goes on serving what it served before this update", o.name)
	}
}

// takeTraffic gives the deployment all of the endpoint's traffic.
func (o *deploymentOptions) takeTraffic(ctx context.Context, c *arm.Client) error {
	poller, err := patchTraffic(ctx, c, o.endpoint, map[string]int{o.name: 100})
	if err != nil {
		return err
	}
	return poller.Wait(ctx, nil)
}

func (p *program) deploymentUpdate() *cobra.Command {
	o := &deploymentOptions{program: p}
	cmd := &cobra.Command{
		Use: "update", Short: "Change a deployment without an interruption", Args: noArgs,
		Example: "  sluice online-deployment update -e iris -n blue --set instance_count=2\n" +
			"  sluice online-deployment update -f blue-deployment.yml",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.update(cmd.Context()) },
	}
	o.registerPut(cmd)
	o.patch.updateFlags(cmd.Flags())
	unbuilt{[]string{"local", "local-enable-gpu", "vscode-debug"}}.register(cmd)
	return cmd
}

func (o *deploymentOptions) update(ctx context.Context) error {
	if o.file == "" {
		if err := o.check(); err != nil {
			return err
		}
		if !o.patch.given() {
			return usage("there is nothing to change: give -f, --set, --add or --remove")
		}
	} else if o.name == "" || o.endpoint == "" {
		// The file says which one. What else it lacks or has wrong shows once
		// it lies over the deployment.
		first, _, err := o.read(nil)
		if first == nil || first.Name == "" || first.Endpoint == "" {
			return err
		}
		o.name, o.endpoint = first.Name, first.Endpoint
	}
	base, err := o.deploymentDoc(ctx, o.deploymentName)
	if err != nil {
		return err
	}
	o.served = fmt.Sprint(base.Get("provisioning_state")) == string(sluice.StateSucceeded)
	d, err := o.readManifest(base)
	if err != nil {
		return err
	}
	if err := o.checkScript(ctx, d); err != nil {
		return err
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	return o.put(ctx, c, d)
}
