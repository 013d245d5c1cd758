package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/args"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
	"github.com/sluice-ml/sluice/manifest"
)

// asset is what the commands of models and environments differ in.
type asset struct {
	*program
	kind    sluice.Kind
	article string // "a model"
	// show reads one version as it is shown.
	show func(ctx context.Context, c *arm.Client, name, version string) (manifest.Doc, error)
	// versions lists all versions of one asset.
	versions func(ctx context.Context, c *arm.Client, name string, view arm.ListView) ([]any, error)
	// archive hides one version, or shows it again.
	archive func(ctx context.Context, c *arm.Client, name, version string, archived bool) error
}

func (a *asset) commands() []*cobra.Command {
	return []*cobra.Command{a.showCommand(), a.listCommand(), a.archiveCommand(true), a.archiveCommand(false)}
}

// assetName is which version of an asset a command is about.
type assetName struct{ name, version, label string }

func (n *assetName) register(cmd *cobra.Command, kind sluice.Kind) {
	cmd.Flags().StringVarP(&n.name, "name", "n", "", fmt.Sprintf("name of the %s", kind))
	cmd.Flags().StringVarP(&n.version, "version", "v", "", "version")
	cmd.Flags().StringVarP(&n.label, "label", "l", "", "latest, instead of a version")
}

// resolve finds the version that a label stands for.
func (a *asset) resolve(ctx context.Context, c *arm.Client, n *assetName) error {
	if n.label == "" {
		return nil
	}
	if n.version != "" {
		return usage("--version and --label exclude each other")
	}
	if !strings.EqualFold(n.label, "latest") {
		return usage("--label %s is not known: it can be latest", n.label)
	}
	container, err := c.Container(ctx, a.kind, n.name)
	if err != nil {
		return err
	}
	if container.Properties.LatestVersion == "" {
		return sluice.Errorf(sluice.CodeNotFound, "%s %s has no version", a.kind, n.name)
	}
	n.version = container.Properties.LatestVersion
	return nil
}

func (a *asset) showCommand() *cobra.Command {
	var n assetName
	cmd := &cobra.Command{
		Use: "show", Short: "Show one version of " + a.article, Args: noArgs,
		Example: fmt.Sprintf("  sluice %[1]s show -n iris -v 1\n  sluice %[1]s show -n iris --label latest", a.kind),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n.name == "" || n.version == "" && n.label == "" {
				return usage("which %s? Give -n and -v, or --label latest", a.kind)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.resolve(cmd.Context(), c, &n); err != nil {
				return err
			}
			doc, err := a.show(cmd.Context(), c, n.name, n.version)
			if err != nil {
				return err
			}
			return a.print(doc)
		},
	}
	n.register(cmd, a.kind)
	return cmd
}

type assetList struct {
	name                  string
	most                  int
	archivedOnly, include bool
}

func (o assetList) view() arm.ListView {
	switch {
	case o.archivedOnly:
		return arm.ArchivedOnly
	case o.include:
		return arm.ListAll
	}
	return arm.ActiveOnly
}

func (a *asset) listCommand() *cobra.Command {
	var o assetList
	cmd := &cobra.Command{
		Use: "list", Short: fmt.Sprintf("List the %ss, or the versions of one", a.kind), Args: noArgs,
		Example: fmt.Sprintf("  sluice %[1]s list -o table\n  sluice %[1]s list -n iris --query \"[].version\" -o tsv", a.kind),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.archivedOnly && o.include {
				return usage("--archived-only and --include-archived exclude each other")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			docs, err := a.list(cmd.Context(), c, o)
			if err != nil {
				return err
			}
			if o.most > 0 && len(docs) > o.most {
				docs = docs[:o.most]
			}
			return a.print(docs)
		},
	}
	cmd.Flags().StringVarP(&o.name, "name", "n", "", fmt.Sprintf("list the versions of this %s", a.kind))
	cmd.Flags().IntVarP(&o.most, "max-results", "r", 0, "at most so many")
	cmd.Flags().BoolVar(&o.archivedOnly, "archived-only", false, "only what is archived")
	cmd.Flags().BoolVar(&o.include, "include-archived", false, "also what is archived")
	return cmd
}

func (a *asset) list(ctx context.Context, c *arm.Client, o assetList) ([]any, error) {
	if o.name != "" {
		return a.versions(ctx, c, o.name, o.view())
	}
	containers, err := c.Containers(ctx, a.kind, o.view())
	if err != nil {
		return nil, err
	}
	docs := make([]any, len(containers))
	for i, container := range containers {
		p := container.Properties
		docs[i] = output.Map{
			{Key: "id", Value: container.ID}, {Key: "name", Value: container.Name},
			{Key: "description", Value: p.Description}, {Key: "tags", Value: map[string]string(p.Tags)},
			{Key: "properties", Value: map[string]string(p.Properties)},
			{Key: "latest_version", Value: p.LatestVersion}, {Key: "next_version", Value: p.NextVersion},
			{Key: "archived", Value: p.IsArchived},
		}
	}
	return docs, nil
}

func (a *asset) archiveCommand(archived bool) *cobra.Command {
	var n assetName
	verb, short := "restore", "Show "+a.article+" in lists again"
	if archived {
		verb, short = "archive", "Hide "+a.article+" from lists; what uses it goes on"
	}
	cmd := &cobra.Command{
		Use: verb, Short: short, Args: noArgs,
		Example: fmt.Sprintf("  sluice %[1]s %[2]s -n iris\n  sluice %[1]s %[2]s -n iris -v 1", a.kind, verb),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n.name == "" {
				return usage("which %s? Give -n", a.kind)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.resolve(cmd.Context(), c, &n); err != nil {
				return err
			}
			if n.version == "" {
				_, err = c.ArchiveContainer(cmd.Context(), a.kind, n.name, archived)
				return err
			}
			return a.archive(cmd.Context(), c, n.name, n.version, archived)
		},
	}
	n.register(cmd, a.kind)
	return cmd
}

// createFlags are what `model create` and `environment create` share.
type createFlags struct {
	file, name, version, description string
	tags                             args.Groups
	patch                            patchFlags
}

func (o *createFlags) register(cmd *cobra.Command, kind sluice.Kind) {
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", fmt.Sprintf("YAML file of the %s, - for standard input", kind))
	f.StringVarP(&o.name, "name", "n", "", "name")
	f.StringVarP(&o.version, "version", "v", "", "version; the next one when not given")
	f.StringVar(&o.description, "description", "", "description")
	f.Var(&o.tags, "tags", "tags, e.g. --tags team=blue stage=test")
	f.Bool("no-wait", false, "accepted: it is registered at once")
	f.String("registry-name", "", "not built yet")
	o.patch.createFlags(f)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, rest []string) error {
		if cmd.Flags().Changed("registry-name") {
			return sluice.Errorf(sluice.CodeNotBuilt, "--registry-name is not built yet")
		}
		return run(cmd, rest)
	}
}

// input gives what to read the asset from, with the overrides given.
func (o *createFlags) input(p *program, over overrides) (manifest.Input, error) {
	patches, err := o.patch.patches()
	if err != nil {
		return manifest.Input{}, err
	}
	for _, tag := range o.tags.All() {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" {
			return manifest.Input{}, usage("--tags %s is not name=value", tag)
		}
		patch, err := manifest.ParseSet(`tags."`+key+`"=`+value, true)
		if err != nil {
			return manifest.Input{}, asUsage(err)
		}
		patches = append(patches, patch)
	}
	over.add("name", "name", o.name)
	over.add("version", "version", o.version)
	over.add("description", "description", o.description)
	in, err := p.manifestIn(o.file)
	in.Patches, in.Overrides = patches, over
	return in, err
}

// here makes a path of the command line absolute: it is relative to the
// working directory, whatever file stands beside it. What is no path stays.
func here(path string) string {
	if path == "" || strings.Contains(path, "://") || strings.HasPrefix(path, "azureml:") {
		return path
	}
	if _, err := os.Lstat(path); err != nil && strings.Contains(path, ":") {
		return path
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
