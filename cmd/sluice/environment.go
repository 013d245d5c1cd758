package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/manifest"
)

func (p *program) environmentCommands() *cobra.Command {
	group := &cobra.Command{Use: "environment", Short: "What scripts run in", RunE: p.group,
		Long: "An environment is an image, with or without a conda file, under a name, in immutable versions."}
	a := p.environments()
	group.AddCommand(p.environmentCreate(a))
	group.AddCommand(a.commands()...)
	return group
}

func (p *program) environments() *asset {
	return &asset{
		program: p, kind: sluice.KindEnvironment, article: "an environment",
		show: func(ctx context.Context, c *arm.Client, name, version string) (manifest.Doc, error) {
			e, err := c.Environment(ctx, name, version)
			if err != nil {
				return nil, err
			}
			return shownEnvironment(name, e)
		},
		versions: func(ctx context.Context, c *arm.Client, name string, view arm.ListView) ([]any, error) {
			environments, err := c.Environments(ctx, name, view)
			if err != nil {
				return nil, err
			}
			docs := make([]any, len(environments))
			for i, e := range environments {
				if docs[i], err = shownEnvironment(name, e); err != nil {
					return nil, err
				}
			}
			return docs, nil
		},
		archive: func(ctx context.Context, c *arm.Client, name, version string, archived bool) error {
			_, err := c.ArchiveEnvironment(ctx, name, version, archived)
			return err
		},
	}
}

func shownEnvironment(name string, w arm.EnvironmentVersion) (manifest.Doc, error) {
	e, err := w.Domain()
	if err != nil {
		return nil, fmt.Errorf("reading environment %s: %w", name, err)
	}
	named(&e.Meta, name, w.Name, w.SystemData)
	return manifest.EnvironmentDoc(e, manifest.Output{ID: w.ID}), nil
}

func (p *program) environmentCreate(a *asset) *cobra.Command {
	var o createFlags
	var image, conda, build, dockerfile, os string
	cmd := &cobra.Command{
		Use: "create", Short: "Register a version of an environment", Args: noArgs,
		Example: "  sluice environment create -f environment.yml\n" +
			"  sluice environment create -n iris -i mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04 -c conda.yml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.file == "" && o.name == "" {
				return usage("an environment needs a file (-f) or a name (-n)")
			}
			for flag, value := range map[string]string{"build-context": build, "dockerfile-path": dockerfile} {
				if value != "" {
					return sluice.Errorf(sluice.CodeNotBuilt, "--%s is not built yet", flag).
						WithHint("give --image and --conda-file instead")
				}
			}
			var over overrides
			over.add("image", "image", image)
			over.add("conda-file", "conda_file", here(conda))
			over.add("os-type", "os_type", os)
			in, err := o.input(p, over)
			if err != nil {
				return err
			}
			e, warnings, err := manifest.ReadEnvironment(in)
			if err != nil {
				return err
			}
			p.warn(warnings, nil)
			return p.registerEnvironment(cmd.Context(), a, *e)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&image, "image", "i", "", "container image")
	f.StringVarP(&conda, "conda-file", "c", "", "conda file with the packages")
	f.StringVarP(&build, "build-context", "b", "", "not built yet")
	f.StringVarP(&dockerfile, "dockerfile-path", "d", "", "not built yet")
	f.StringVar(&os, "os-type", "", "linux or windows")
	o.register(cmd, sluice.KindEnvironment)
	return cmd
}

func (p *program) registerEnvironment(ctx context.Context, a *asset, e manifest.Environment) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	ref, err := uploader{client: c}.environment(ctx, e, false)
	if err != nil {
		return err
	}
	doc, err := a.show(ctx, c, ref.Name, ref.Version)
	if err != nil {
		return err
	}
	return p.print(doc)
}
