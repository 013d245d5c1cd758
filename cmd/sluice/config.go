package main

import (
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
	"github.com/sluice-ml/sluice/home"
)

func (p *program) configCommands() *cobra.Command {
	group := &cobra.Command{Use: "config", Short: "Settings of Sluice on this machine", RunE: p.group}
	group.AddCommand(&cobra.Command{
		Use: "show", Short: "Show every setting, with its default where it is not set", Args: noArgs,
		Long:    "Shows the settings that hold: those in sluice.yml in the state directory over the defaults.",
		Example: "  sluice config show -o yaml\n  sluice config show --query api.listen -o tsv",
		RunE: func(*cobra.Command, []string) error {
			dir, err := p.home()
			if err != nil {
				return err
			}
			settings, err := dir.Load()
			if err != nil {
				return sluice.Errorf(sluice.CodeInvalid, "%w", err)
			}
			doc, err := settingsDoc(settings)
			if err != nil {
				return err
			}
			return p.print(doc)
		},
	})
	return group
}

// settingsDoc gives the settings as they would stand in sluice.yml.
func settingsDoc(settings home.Config) (output.Map, error) {
	text, err := yaml.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("printing the settings: %w", err)
	}
	var doc yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(text, &doc, yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("printing the settings: %w", err)
	}
	return ordered(doc), nil
}

func ordered(doc yaml.MapSlice) output.Map {
	out := make(output.Map, len(doc))
	for i, item := range doc {
		value := item.Value
		if below, ok := value.(yaml.MapSlice); ok {
			value = ordered(below)
		}
		out[i] = output.Entry{Key: fmt.Sprint(item.Key), Value: value}
	}
	return out
}
