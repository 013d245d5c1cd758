package main

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/sluice-ml/sluice/cmd/sluice/internal/args"
	"github.com/sluice-ml/sluice/manifest"
)

// patchFlags are --set, --add and --remove, remembered in the order they were
// typed in.
type patchFlags struct {
	uses      []patchUse
	forceText bool
}

type patchUse struct {
	verb   string
	values []string
}

// patchValue is one of the flags; all of them write to one list.
type patchValue struct {
	to   *patchFlags
	verb string
}

func (v patchValue) Set(joined string) error {
	v.to.uses = append(v.to.uses, patchUse{v.verb, strings.Split(joined, args.Separator)})
	return nil
}
func (v patchValue) String() string { return "" }
func (v patchValue) Type() string {
	if v.verb == "remove" {
		return "path"
	}
	return "path=value"
}
func (v patchValue) Many() {}

// createFlags registers --set, which patches the file.
func (p *patchFlags) createFlags(f *pflag.FlagSet) {
	f.Var(patchValue{p, "set"}, "set", "change a property, e.g. --set instance_count=2 tags.a=b")
}

// updateFlags registers the flags of a generic update.
func (p *patchFlags) updateFlags(f *pflag.FlagSet) {
	p.createFlags(f)
	f.Var(patchValue{p, "add"}, "add", "add to a list or map, e.g. --add tags a=b")
	f.Var(patchValue{p, "remove"}, "remove", "remove a property or an item, e.g. --remove tags.a")
	f.BoolVar(&p.forceText, "force-string", false, "take every value of --set and --add as text")
}

func (p *patchFlags) given() bool { return len(p.uses) > 0 }

// patches gives what was typed as changes to a document.
func (p *patchFlags) patches() ([]manifest.Patch, error) {
	var out []manifest.Patch
	add := func(patch manifest.Patch, err error) error {
		out = append(out, patch)
		return err
	}
	for _, use := range p.uses {
		var err error
		switch use.verb {
		case "add":
			err = add(manifest.ParseAdd(use.values, p.forceText))
		case "remove":
			err = add(manifest.ParseRemove(use.values))
		default:
			for _, value := range use.values {
				if err = add(manifest.ParseSet(value, p.forceText)); err != nil {
					break
				}
			}
		}
		if err != nil {
			return nil, asUsage(err)
		}
	}
	return out, nil
}

// asUsage marks what was wrong with a flag itself.
func asUsage(err error) error {
	f := faults(err)[0]
	return &usageError{message: f.sentence, hint: f.hint}
}

// overrides collects the flags that were given and beat the file.
type overrides []manifest.Override

func (o *overrides) add(flag, property, value string) {
	if value != "" {
		*o = append(*o, manifest.Override{Flag: "--" + flag, Property: property, Value: value})
	}
}
