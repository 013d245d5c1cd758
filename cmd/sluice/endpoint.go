package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/args"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/progress"
	"github.com/sluice-ml/sluice/manifest"
)

func (p *program) endpointCommands() *cobra.Command {
	group := &cobra.Command{
		Use: "online-endpoint", Short: "Endpoints that answer at once", RunE: p.group,
		Long: "An online endpoint is a stable address with its keys and its traffic split.\nWhat answers are its deployments.",
	}
	group.AddCommand(p.endpointCreate(), p.endpointUpdate(), p.endpointShow(), p.endpointList(), p.endpointDelete(),
		p.endpointInvoke(), p.endpointCredentials(), p.endpointRegenerate())
	return group
}

// endpointFlag registers -n/--name of an endpoint, with completion.
func (p *program) endpointFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "name", "n", "", "name of the endpoint")
	cmd.RegisterFlagCompletionFunc("name", p.completeEndpoints)
}

type endpointOptions struct {
	*program
	name, file, authMode string
	traffic, mirror      args.Groups
	patch                patchFlags
	noWait, web          bool
}

func (p *program) endpointCreate() *cobra.Command {
	o := &endpointOptions{program: p}
	cmd := &cobra.Command{
		Use: "create", Short: "Create an endpoint", Args: noArgs,
		Example: "  sluice online-endpoint create -f endpoint.yml\n" +
			"  sluice online-endpoint create -n iris --auth-mode key\n" +
			"  sluice online-endpoint create -f endpoint.yml --set tags.team=blue",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.create(cmd.Context()) },
	}
	o.register(cmd)
	cmd.Flags().StringVar(&o.authMode, "auth-mode", "", "how callers prove who they are: key")
	o.patch.createFlags(cmd.Flags())
	return cmd
}

func (o *endpointOptions) register(cmd *cobra.Command) {
	o.endpointFlag(cmd, &o.name)
	cmd.Flags().StringVarP(&o.file, "file", "f", "", "YAML file of the endpoint, - for standard input")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "do not wait until it is done")
	cmd.Flags().BoolVarP(&o.web, "web", "e", false, "not built yet: accepted with a warning")
	unbuilt{[]string{"local"}}.register(cmd)
}

func (o *endpointOptions) create(ctx context.Context) error {
	if o.file == "" && o.name == "" {
		return usage("an endpoint needs a file (-f) or a name (-n)")
	}
	patches, err := o.patch.patches()
	if err != nil {
		return err
	}
	var over overrides
	over.add("name", "name", o.name)
	over.add("auth-mode", "auth_mode", o.authMode)
	in, err := o.manifestIn(o.file)
	if err != nil {
		return err
	}
	in.Patches, in.Overrides = patches, over
	e, warnings, err := manifest.ReadEndpoint(in)
	if err != nil {
		return err
	}
	o.warn(warnings, nil)
	if len(e.Traffic) > 0 {
		// What show printed of another endpoint has it.
		if slices.Max(slices.Collect(maps.Values(e.Traffic))) > 0 {
			o.note("sluice: warning: traffic is left out: endpoint %s has no deployments yet; "+
				"give them traffic with `sluice online-endpoint update -n %s --traffic` once they are there", e.Name, e.Name)
		}
		e.Traffic = nil
	}
	return o.put(ctx, &e.Endpoint, arm.IfAbsent)
}

// put writes the endpoint, waits and prints it.
func (o *endpointOptions) put(ctx context.Context, e *sluice.Endpoint, options ...arm.PutOption) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	_, poller, err := c.PutEndpoint(ctx, e.Name, arm.EndpointFrom(c.Scope(), e), options...)
	if sluice.ErrorCode(err) == sluice.CodeExists {
		return sluice.Errorf(sluice.CodeExists, "endpoint %s exists already", e.Name).
			WithHint("change it with `sluice online-endpoint update -n %s`", e.Name)
	}
	if err != nil {
		return err
	}
	return o.finish(ctx, poller, e.Name)
}

func (o *endpointOptions) finish(ctx context.Context, poller *arm.Poller, name string) error {
	o.webNote(o.web)
	if !o.noWait {
		shown := o.progress()
		defer shown.Close()
		err := o.follow(ctx, shown, poller, "endpoint "+name, "sluice online-endpoint show -n "+name)
		if err != nil {
			return err
		}
		shown.Close()
	}
	doc, err := o.endpointDoc(ctx, name)
	if err != nil {
		return err
	}
	return o.print(doc)
}

// endpointDoc reads an endpoint as it is shown: with all its deployments in
// the traffic split.
func (p *program) endpointDoc(ctx context.Context, name string) (manifest.Doc, error) {
	c, err := p.connect()
	if err != nil {
		return nil, err
	}
	e, err := c.Endpoint(ctx, name)
	if err != nil {
		return nil, err
	}
	deployments, err := c.Deployments(ctx, name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(deployments))
	for i, d := range deployments {
		names[i] = d.Name
	}
	return shownEndpoint(e, names)
}

func shownEndpoint(e arm.OnlineEndpoint, deployments []string) (manifest.Doc, error) {
	d, err := e.Domain()
	if err != nil {
		return nil, fmt.Errorf("reading endpoint %s: %w", e.Name, err)
	}
	return manifest.EndpointDoc(d, manifest.Output{ID: e.ID, Location: e.Location, Deployments: deployments,
		ScoringURI: e.Properties.ScoringURI, OpenAPIURI: e.Properties.SwaggerURI}), nil
}

func (p *program) endpointUpdate() *cobra.Command {
	o := &endpointOptions{program: p}
	cmd := &cobra.Command{
		Use: "update", Short: "Change an endpoint: traffic, tags, description", Args: noArgs,
		Example: "  sluice online-endpoint update -n iris --traffic \"blue=90 green=10\"\n" +
			"  sluice online-endpoint update -n iris --set tags.team=blue\n" +
			"  sluice online-endpoint update -f endpoint.yml",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.update(cmd) },
	}
	o.register(cmd)
	cmd.Flags().VarP(&o.traffic, "traffic", "r", "the traffic split, e.g. \"blue=90 green=10\"")
	cmd.Flags().Var(&o.mirror, "mirror-traffic", "not built yet: copies of the traffic, e.g. \"green=10\"; 0 is accepted")
	o.patch.updateFlags(cmd.Flags())
	return cmd
}

func (o *endpointOptions) update(cmd *cobra.Command) error {
	ctx := cmd.Context()
	mirrored := cmd.Flags().Changed("mirror-traffic")
	split := cmd.Flags().Changed("traffic")
	if o.file == "" && !o.patch.given() && !split && !mirrored {
		return usage("there is nothing to change: give -f, --traffic, --set, --add or --remove")
	}
	shares, err := args.Shares(o.traffic.All())
	if err != nil {
		return err
	}
	mirror, err := args.Shares(o.mirror.All())
	if err != nil {
		return err
	}
	if slices.ContainsFunc(slices.Collect(maps.Values(mirror)), func(share int) bool { return share > 0 }) {
		return sluice.Errorf(sluice.CodeNotBuilt, "--mirror-traffic is not built yet")
	}
	if split && o.file == "" && !o.patch.given() && o.name != "" {
		return o.setTraffic(ctx, shares)
	}
	e, err := o.merged(ctx)
	if err != nil {
		return err
	}
	if split {
		e.Traffic = shares
	}
	return o.put(ctx, e)
}

// setTraffic changes the split and nothing else.
func (o *endpointOptions) setTraffic(ctx context.Context, shares map[string]int) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	poller, err := patchTraffic(ctx, c, o.name, shares)
	if err != nil {
		return err
	}
	return o.finish(ctx, poller, o.name)
}

func patchTraffic(ctx context.Context, c *arm.Client, endpoint string, shares map[string]int) (*arm.Poller, error) {
	traffic := arm.Shares(shares)
	_, poller, err := c.PatchEndpoint(ctx, endpoint, arm.EndpointPatch{Properties: &arm.EndpointPatchProperties{Traffic: &traffic}})
	return poller, err
}

// merged gives the endpoint as it is with the file and the flags over it.
func (o *endpointOptions) merged(ctx context.Context) (*sluice.Endpoint, error) {
	patches, err := o.patch.patches()
	if err != nil {
		return nil, err
	}
	if o.name == "" {
		if o.file == "" {
			return nil, usage("which endpoint? Give -n")
		}
		// What else the file lacks or has wrong shows once it lies over the
		// endpoint it names.
		in, err := o.manifestIn(o.file)
		if err != nil {
			return nil, err
		}
		in.Patches = patches
		first, _, err := manifest.ReadEndpoint(in)
		if first == nil || first.Name == "" {
			return nil, err
		}
		o.name = first.Name
	}
	base, err := o.endpointDoc(ctx, o.name)
	if err != nil {
		return nil, err
	}
	var over overrides
	over.add("name", "name", o.name)
	in, err := o.manifestIn(o.file)
	if err != nil {
		return nil, err
	}
	in.Base, in.Patches, in.Overrides = base, patches, over
	e, warnings, err := manifest.ReadEndpoint(in)
	if err != nil {
		return nil, err
	}
	o.warn(warnings, nil)
	return &e.Endpoint, nil
}

func (p *program) endpointShow() *cobra.Command {
	var name string
	var web bool
	cmd := &cobra.Command{
		Use: "show", Short: "Show an endpoint", Args: noArgs,
		Example: "  sluice online-endpoint show -n iris\n  sluice online-endpoint show -n iris --query scoring_uri -o tsv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usage("which endpoint? Give -n")
			}
			p.webNote(web)
			doc, err := p.endpointDoc(cmd.Context(), name)
			if err != nil {
				return err
			}
			return p.print(doc)
		},
	}
	p.endpointFlag(cmd, &name)
	cmd.Flags().BoolVarP(&web, "web", "e", false, "not built yet: accepted with a warning")
	unbuilt{[]string{"local"}}.register(cmd)
	return cmd
}

func (p *program) endpointList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the endpoints", Args: noArgs,
		Example: "  sluice online-endpoint list -o table\n  sluice online-endpoint list --query \"[].name\" -o tsv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.connect()
			if err != nil {
				return err
			}
			endpoints, err := c.Endpoints(cmd.Context())
			if err != nil {
				return err
			}
			docs := make([]any, len(endpoints))
			for i, e := range endpoints {
				// Reading every endpoint's deployments would be a request each.
				if docs[i], err = shownEndpoint(e, nil); err != nil {
					return err
				}
			}
			return p.print(docs)
		},
	}
	unbuilt{[]string{"local"}}.register(cmd)
	return cmd
}

func (p *program) endpointDelete() *cobra.Command {
	var name string
	var yes, noWait bool
	cmd := &cobra.Command{
		Use: "delete", Short: "Delete an endpoint and all its deployments", Args: noArgs,
		Example: "  sluice online-endpoint delete -n iris --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usage("which endpoint? Give -n")
			}
			if err := p.confirm(yes, fmt.Sprintf("Delete endpoint %s and all its deployments?", name)); err != nil {
				return err
			}
			c, err := p.connect()
			if err != nil {
				return err
			}
			poller, err := c.DeleteEndpoint(cmd.Context(), name)
			return p.deleted(cmd.Context(), poller, err, noWait, "endpoint "+name, "sluice online-endpoint show -n "+name)
		},
	}
	p.endpointFlag(cmd, &name)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is done")
	unbuilt{[]string{"local"}}.register(cmd)
	return cmd
}

// deleted ends a deletion. What is not there is deleted already.
func (p *program) deleted(ctx context.Context, poller *arm.Poller, err error, noWait bool, what, show string) error {
	if sluice.ErrorCode(err) == sluice.CodeNotFound {
		p.note("%s does not exist: there is nothing to delete", what)
		return nil
	}
	if err != nil || noWait {
		return err
	}
	shown := p.progress()
	defer shown.Close()
	// At a terminal there is something to look at meanwhile; a pipe has the note.
	step := progress.Step{Name: "deleting " + what, Detail: "requests under way are finished first"}
	_, tty := terminal(p.stderr)
	if tty {
		shown.Update(step)
	}
	if err := p.follow(ctx, shown, poller, "deleting "+what, show); err != nil {
		return err
	}
	if step.Done = true; tty {
		shown.Update(step)
	}
	shown.Note("%s is deleted", what)
	return nil
}
