package manifest

import (
	"strings"

	"github.com/sluice-ml/sluice"
)

// Endpoint is an endpoint as a manifest describes it.
type Endpoint struct {
	sluice.Endpoint
}

// ReadEndpoint reads an online endpoint. A traffic split is checked as far as
// it can be without knowing which deployments exist.
func ReadEndpoint(in Input) (*Endpoint, []Warning, error) {
	d, err := in.open()
	if err != nil {
		return nil, nil, err
	}
	e := &Endpoint{}
	d.endpoint(&e.Endpoint)
	d.refuse(endpointRefusals)
	return e, d.warnings, d.err()
}

func (d *decoder) endpoint(e *sluice.Endpoint) {
	e.AuthMode = sluice.AuthKey
	e.PublicNetworkAccess = "enabled"
	e.Identity = &sluice.Identity{Type: "system_assigned"}
	known := d.meta(&e.Meta)
	known["auth_mode"] = choice(d, &e.AuthMode, "auth_mode", sluice.AuthKey, sluice.AuthAMLToken, sluice.AuthAADToken)
	known["compute"] = d.text(&e.Compute, "compute")
	known["identity"] = func(n *node) { d.identity(n, e.Identity) }
	known["traffic"] = d.split(&e.Traffic, "traffic", 100)
	known["mirror_traffic"] = d.split(&e.MirrorTraffic, "mirror_traffic", 50)
	known["public_network_access"] = choice(d, &e.PublicNetworkAccess, "public_network_access", "enabled", "disabled")
	readOnly(known, "location", "kind", "scoring_uri", "openapi_uri")
	d.object(d.root, "", known)
	if e.Identity.Type == "none" {
		e.Identity = nil
	}
	d.named("endpoint", e.Name)
	d.sum(e.Traffic)
}

// meta reads what every resource has.
func (d *decoder) meta(m *sluice.Meta) properties {
	var schema string
	known := properties{
		"$schema":     d.text(&schema, "$schema"), // a hint for editors; never fetched
		"name":        d.text(&m.Name, "name"),
		"description": d.text(&m.Description, "description"),
		"tags":        d.texts(&m.Tags, "tags"),
		"properties": func(n *node) {
			d.texts(&m.Properties, "properties")(n)
			for _, ours := range outputProperties {
				delete(m.Properties, ours)
			}
			if len(m.Properties) == 0 {
				m.Properties = nil
			}
		},
	}
	readOnly(known, "id", "provisioning_state", "creation_context", "cause", "not_built", "resourceGroup", "resource_group")
	return known
}

// outputProperties stand among the properties of what is shown, and are not
// the user's.
var outputProperties = []string{"azureml.onlineendpointid", "AzureAsyncOperationUri", "sluice.notBuilt"}

func readOnly(known properties, names ...string) {
	for _, name := range names {
		known[name] = nil
	}
}

// named checks the name of an endpoint or deployment.
func (d *decoder) named(what, name string) {
	if name == "" && d.root.get("name").isNull() {
		d.missing(d.root, "name", "add name: to the file, or use --name")
		return
	}
	d.nameAt("name", sluice.CheckName(what, name))
}

// nameAt reports a bad name where it was written.
func (d *decoder) nameAt(property string, err error) {
	if n := d.root.get(property); err != nil && n != nil && n.kind == scalarNode {
		d.bad(n, "%s", shortenName(err))
	}
}

func shortenName(err error) string {
	s := err.Error()
	if len(s) > 400 {
		return shorten(s)
	}
	return s
}

func (d *decoder) identity(n *node, to *sluice.Identity) {
	d.object(n, "identity", properties{
		"type": choice(d, &to.Type, "identity.type", "system_assigned", "user_assigned", "none"),
		"user_assigned_identities": func(n *node) {
			to.UserAssigned = d.identities(n)
		},
		"principal_id": nil,
		"tenant_id":    nil,
	})
}

// identities reads a list of ARM ids, each a text or {resource_id: …}; one
// alone needs no list.
func (d *decoder) identities(n *node) []string {
	const what = "identity.user_assigned_identities"
	items := n.items
	if n.kind != sequenceNode {
		items = []*node{n}
	}
	var out []string
	for _, item := range items {
		id := ""
		if item.kind == mappingNode {
			d.object(item, what, properties{"resource_id": d.text(&id, what+".resource_id"), "principal_id": nil, "client_id": nil})
		} else {
			d.text(&id, what)(item)
		}
		if id != "" {
			out = append(out, id)
		}
	}
	return out
}

// split reads deployment names with percentages.
func (d *decoder) split(to *map[string]int, what string, most int) func(*node) {
	return func(n *node) {
		if n.kind != mappingNode {
			d.badHint(n, "for example "+what+": {blue: 100}", "%s is %s: expected deployment names with percentages", what, n.describe())
			return
		}
		out := map[string]int{}
		for _, p := range n.props {
			if err := sluice.CheckName("deployment", p.name); err != nil {
				d.add(p.at.cause(sluice.CauseBadValue, "", "%s: %s", what, shortenName(err)))
				continue
			}
			share := 0
			d.whole(&share, what+"."+p.name, 0, most)(p.value)
			if _, twice := out[strings.ToLower(p.name)]; twice {
				d.bad(p.value, "%s names deployment %s twice", what, p.name)
			}
			out[strings.ToLower(p.name)] = share
		}
		*to = sluice.NormalTraffic(out)
	}
}

// sum checks that live traffic is all or nothing.
func (d *decoder) sum(traffic map[string]int) {
	sum := 0
	for _, share := range traffic {
		sum += share
	}
	n := d.root.get("traffic")
	if n == nil || n.kind != mappingNode || sum == 0 || sum == 100 || d.faultBelow(n) {
		return
	}
	// Over a current object, the share that the user gave is at fault.
	if n.at == currentObject {
		for _, p := range n.props {
			if p.value.at != currentObject {
				n = p.value
				break
			}
		}
	}
	d.bad(n, "traffic sums to %d: it must sum to 0 or 100", sum)
}

// faultBelow reports whether a fault was found at any value below n.
func (d *decoder) faultBelow(n *node) bool {
	found := false
	n.walk(func(n *node) { found = found || d.faulty[n] })
	return found
}
