package manifest

import (
	"strings"

	"github.com/sluice-ml/sluice"
)

// Model is a model as a manifest describes it. Local is the file or folder to
// upload, nil when Content.URI says where the model is.
type Model struct {
	sluice.Model
	Local *Local
}

// Environment is an environment as a manifest describes it. CondaFile holds
// the text of the conda file in a normal form, so that the same packages are
// the same environment whether they stood in a file or inline.
type Environment struct {
	sluice.Environment
	CondaPath     string   // of the conda file, as the user would type it; "" when it stands in the manifest
	CondaIncludes []string // of the files of requirements that it names, likewise
}

// ReadModel reads a model to register.
func ReadModel(in Input) (*Model, []Warning, error) {
	d, err := in.open()
	if err != nil {
		return nil, nil, err
	}
	m := d.model(d.root, "")
	if m.Name == "" && d.root.get("name").isNull() {
		d.missing(d.root, "name", "add name: to the file, or use --name")
	}
	d.refuse(modelRefusals)
	return m, d.warnings, d.err()
}

// model reads a model; what is "" for the document itself, "model" for an
// inline one.
func (d *decoder) model(n *node, what string) *Model {
	m := &Model{}
	m.Type = sluice.ModelCustom
	known := d.asset(&m.Meta)
	known["type"] = choice(d, &m.Type, dotted(what, "type"), sluice.ModelCustom, sluice.ModelMLflow, sluice.ModelTriton)
	known["stage"] = d.text(&m.Stage, dotted(what, "stage"))
	known["flavors"] = func(n *node) { m.Flavors = d.flavors(n, dotted(what, "flavors")) }
	known["path"] = func(n *node) { d.modelPath(n, m, dotted(what, "path")) }
	known["default_deployment_template"] = skip
	known["allowed_deployment_templates"] = skip
	readOnly(known, "job_name", "latest_version", "next_version")
	d.object(n, what, known)
	d.assetName(n, what, "model", m.Name, m.Version)
	if n.get("path").isNull() {
		d.missing(n, dotted(what, "path"), "path is the model's file or folder")
	}
	return m
}

// skip is for properties whose every value is refused.
func skip(*node) {}

// asset reads what models and environments share.
func (d *decoder) asset(m *sluice.Meta) properties {
	known := d.meta(m)
	known["version"] = d.text(&m.Version, "version")
	readOnly(known, "is_anonymous", "is_archived")
	return known
}

func dotted(what, property string) string {
	if what == "" {
		return property
	}
	return what + "." + property
}

func (d *decoder) assetName(n *node, what, kind, name, version string) {
	if name != "" {
		if err := sluice.CheckAsset(kind, name, ""); err != nil {
			d.bad(n.get("name"), "%s", shortenName(err))
		}
	}
	if version != "" {
		if err := sluice.CheckAsset(kind, "x", version); err != nil {
			d.bad(n.get("version"), "%s", shortenName(err))
		}
		if name == "" && what != "" {
			d.badHint(n.get("version"), "add name:, or leave version out", "%s has a version and no name", what)
		}
	}
}

// flavors reads the flavours of an MLflow model: names to settings.
func (d *decoder) flavors(n *node, what string) map[string]map[string]string {
	if n.kind != mappingNode {
		d.bad(n, "%s is %s: expected a mapping", what, n.describe())
		return nil
	}
	out := map[string]map[string]string{}
	for _, p := range n.props {
		var settings map[string]string
		value := p.value
		if data := value.get("data"); data != nil && data.kind == mappingNode { // as the REST interface nests them
			value = data
		}
		if !value.isNull() {
			d.texts(&settings, what+"."+shorten(p.name))(value)
		}
		out[p.name] = settings
	}
	return out
}

// modelPath reads where a model is: here, or at a URI the server knows.
func (d *decoder) modelPath(n *node, m *Model, what string) {
	if n.kind != scalarNode {
		d.bad(n, "%s is %s: expected a file or folder", what, n.describe())
		return
	}
	switch s := scheme(n.text); s {
	case "":
		if m.Local = d.local(n, what, "a file or folder"); m.Local != nil && m.Local.Dir {
			m.Content.Base = m.Local.Base
		}
	case "http", "https":
		m.Content.URI = n.text // of this server, as show prints it; another is refused there
	case "azureml", "runs", "wasbs", "abfss", "abfs", "adl", "file", "s3", "gs":
		d.add(n.at.cause(sluice.CauseNotBuilt, "download it and write the path of the file or folder",
			"a model at %s is not built yet", shorten(n.text)))
	default:
		d.badHint(n, "write the path of a file or folder", "%s has the unknown scheme %q", what, shorten(s))
	}
}

// reference reads a reference to an asset and gives it as the domain spells it.
func (d *decoder) reference(n *node, property, kind string) string {
	if !isReference(n.text) {
		hint := "write azureml:<name>:<version> or azureml:<name>@latest"
		if kind != "code" {
			hint += ", or describe it below " + property + ":"
		}
		if at, _, ok := strings.Cut(n.text, ":"); ok && at != "" && !strings.ContainsAny(n.text, `/\ `) {
			hint = "did you mean azureml:" + shorten(n.text) + "?"
		}
		d.add(n.at.cause(sluice.CauseReference, hint, "%s: %s is not a reference", property, quoteShort(n.text)))
		return ""
	}
	ref, err := sluice.ParseRef(n.text)
	if err != nil {
		d.add(n.at.cause(sluice.CauseReference, "write azureml:<name>:<version> or azureml:<name>@latest",
			"%s: %s is not a reference", property, quoteShort(n.text)))
		return ""
	}
	if ref.Version == "" && ref.Label == "" {
		d.add(n.at.cause(sluice.CauseReference, "write "+ref.String()+"@latest, or "+ref.String()+":<version>",
			"%s: %s names no version", property, quoteShort(n.text)))
		return ""
	}
	if ref.Registry != "" {
		// The domain does not say of what kind a registry's asset is.
		return n.text
	}
	return ref.String()
}
