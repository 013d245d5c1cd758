package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/manifest"
)

func (p *program) modelCommands() *cobra.Command {
	group := &cobra.Command{Use: "model", Short: "Registered models", RunE: p.group,
		Long: "A model is a file or folder under a name, in immutable versions."}
	a := p.models()
	group.AddCommand(p.modelCreate(a))
	group.AddCommand(a.commands()...)
	return group
}

func (p *program) models() *asset {
	return &asset{
		program: p, kind: sluice.KindModel, article: "a model",
		show: func(ctx context.Context, c *arm.Client, name, version string) (manifest.Doc, error) {
			m, err := c.Model(ctx, name, version)
			if err != nil {
				return nil, err
			}
			return shownModel(name, m)
		},
		versions: func(ctx context.Context, c *arm.Client, name string, view arm.ListView) ([]any, error) {
			models, err := c.Models(ctx, name, view)
			if err != nil {
				return nil, err
			}
			docs := make([]any, len(models))
			for i, m := range models {
				if docs[i], err = shownModel(name, m); err != nil {
					return nil, err
				}
			}
			return docs, nil
		},
		archive: func(ctx context.Context, c *arm.Client, name, version string, archived bool) error {
			_, err := c.ArchiveModel(ctx, name, version, archived)
			return err
		},
	}
}

func shownModel(name string, w arm.ModelVersion) (manifest.Doc, error) {
	m, err := w.Domain()
	if err != nil {
		return nil, fmt.Errorf("reading model %s: %w", name, err)
	}
	named(&m.Meta, name, w.Name, w.SystemData)
	return manifest.ModelDoc(m, manifest.Output{ID: w.ID}), nil
}

// named fills in what stands beside the properties on the wire.
func named(m *sluice.Meta, name, version string, s *arm.SystemData) {
	m.Name, m.Version = name, version
	if s != nil {
		m.Created = sluice.Stamp{At: s.CreatedAt, By: s.CreatedBy}
		m.Modified = sluice.Stamp{At: s.LastModifiedAt, By: s.LastModifiedBy}
	}
}

func (p *program) modelCreate(a *asset) *cobra.Command {
	var o createFlags
	var path, kind, stage, datastore string
	cmd := &cobra.Command{
		Use: "create", Short: "Register a version of a model", Args: noArgs,
		Example: "  sluice model create -n iris -p model.pkl\n  sluice model create -f model.yml --set version=2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if datastore != "" {
				return sluice.Errorf(sluice.CodeNotBuilt, "--datastore is not built yet")
			}
			if o.file == "" && (o.name == "" || path == "") {
				return usage("a model needs a file (-f), or a name (-n) and a path (-p)")
			}
			var over overrides
			over.add("path", "path", here(path))
			over.add("type", "type", kind)
			over.add("stage", "stage", stage)
			in, err := o.input(p, over)
			if err != nil {
				return err
			}
			m, warnings, err := manifest.ReadModel(in)
			if err != nil {
				return err
			}
			p.warn(warnings, nil)
			return p.registerModel(cmd.Context(), a, *m)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&path, "path", "p", "", "file or folder to upload")
	f.StringVarP(&kind, "type", "t", "", "custom_model, mlflow_model or triton_model")
	f.StringVarP(&stage, "stage", "s", "", "stage, e.g. Production")
	f.StringVar(&datastore, "datastore", "", "not built yet")
	o.register(cmd, sluice.KindModel)
	return cmd
}

func (p *program) registerModel(ctx context.Context, a *asset, m manifest.Model) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	shown := p.progress()
	defer shown.Close()
	ref, err := uploader{c, shown}.model(ctx, m, false)
	if err != nil {
		return stoppedUpload(ctx, err)
	}
	shown.Close()
	doc, err := a.show(ctx, c, ref.Name, ref.Version)
	if err != nil {
		return err
	}
	return p.print(doc)
}
