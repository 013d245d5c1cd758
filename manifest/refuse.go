package manifest

import (
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// refusal is one property that touches safety or behaviour and that Sluice
// does not serve yet: any value but those in serves is refused by name. A
// mapping or list is refused unless it is empty.
type refusal struct {
	property string
	serves   []string // compared without case
	unless   string   // another property that makes it served after all
}

// What is not built yet, all of it. Building one of these means deleting its
// row. (Properties that change nothing of how a model is served are accepted
// with a warning instead; see warnNotBuilt.)
var (
	endpointRefusals = []refusal{
		{property: "auth_mode", serves: []string{"key"}},
		{property: "mirror_traffic"},
		{property: "compute"},
		{property: "identity.type", serves: []string{"system_assigned", "systemassigned", "none"}},
		{property: "identity.user_assigned_identities"},
		{property: "public_network_access", serves: []string{"enabled"}},
		{property: "properties.enforce_access_to_default_secret_stores", serves: []string{"disabled"}},
	}
	deploymentRefusals = slices.Concat([]refusal{
		{property: "type", serves: []string{"managed"}},
		{property: "model_mount_path", serves: []string{"/var/azureml-app/azureml-models"}},
		{property: "scale_settings.type", serves: []string{"default"}},
		{property: "scale_settings.min_instances"},
		{property: "scale_settings.max_instances"},
		{property: "scale_settings.polling_interval"},
		{property: "scale_settings.target_utilization_percentage"},
		{property: "egress_public_network_access", serves: []string{"enabled"}},
		{property: "private_network_connection", serves: []string{"false"}},
		{property: "resources"}, // of Kubernetes deployments
		{property: "model.type", serves: []string{"custom_model", "mlflow_model"}, unless: "code_configuration"},
	}, probeRefusals("liveness_probe"),
		under("model", modelRefusals), under("environment", environmentRefusals))
	modelRefusals = []refusal{
		{property: "properties.azureml.unpack", serves: []string{"false"}},
		{property: "default_deployment_template"},
		{property: "allowed_deployment_templates"},
	}
	environmentRefusals = []refusal{
		{property: "build"},
		{property: "inference_config"},
		{property: "os_type", serves: []string{"linux"}},
	}
)

// probeRefusals hold the defaults of sluice.DefaultProbe; a test keeps it so.
func probeRefusals(probe string) []refusal {
	return under(probe, []refusal{
		{property: "initial_delay", serves: []string{"10"}},
		{property: "period", serves: []string{"10"}},
		{property: "timeout", serves: []string{"2"}},
		{property: "success_threshold", serves: []string{"1"}},
		{property: "failure_threshold", serves: []string{"30"}},
	})
}

func under(prefix string, rows []refusal) []refusal {
	out := slices.Clone(rows)
	for i := range out {
		out[i].property = prefix + "." + out[i].property
	}
	return out
}

// refuse reports every property of the document that is not built yet. It
// runs after the values were read, so that a plain mistake is called one.
func (d *decoder) refuse(rows []refusal) {
	for _, r := range rows {
		n := d.root.find(r.property)
		if n.empty() || d.faulty[n] || r.unless != "" && !d.root.find(r.unless).empty() {
			continue
		}
		if n.kind == scalarNode && slices.ContainsFunc(r.serves, func(s string) bool { return strings.EqualFold(s, n.text) }) {
			continue
		}
		if n.kind == mappingNode && allZero(n) {
			continue
		}
		what := r.property
		if n.kind == scalarNode {
			what += ": " + shorten(n.text)
		}
		hint := "leave " + r.property + " out"
		if len(r.serves) > 0 {
			hint += ", or write " + lastName(r.property) + ": " + r.serves[0]
		}
		if r.unless != "" {
			hint = "give the deployment a " + r.unless + " and an environment"
		}
		d.add(n.at.cause(sluice.CauseNotBuilt, hint, "%s is not built yet", what))
	}
}

// lastName gives the last name of a path; what stands in a bag of properties
// may hold dots itself.
func lastName(path string) string {
	if _, name, ok := strings.Cut(path, "properties."); ok {
		return name
	}
	return path[strings.LastIndexByte(path, '.')+1:]
}

// allZero reports whether a mapping holds nothing but zeros, as the mirror
// traffic of an endpoint without one is shown.
func allZero(n *node) bool {
	return !slices.ContainsFunc(n.props, func(p prop) bool { return p.value.text != "0" })
}

// notBuiltNotes are the properties that are accepted and have no effect, unless
// they have the value that means just that.
var notBuiltNotes = []struct{ property, without, note string }{
	{"app_insights_enabled", "false", "app_insights_enabled is accepted, and nothing is sent to Application Insights yet"},
	{"data_collector", "", "data_collector is accepted, and nothing is collected yet"},
	{"request_settings.max_queue_wait_ms", "500", "max_queue_wait_ms is accepted and has no effect: request_timeout_ms bounds a request's whole time, waiting included"},
}

// warnNotBuilt warns of what is accepted without effect.
func (d *decoder) warnNotBuilt() {
	for _, w := range notBuiltNotes {
		n := d.root.find(w.property)
		if n.empty() || n.kind == scalarNode && strings.EqualFold(n.text, w.without) {
			continue
		}
		d.warn(n, w.property, w.note)
	}
}
