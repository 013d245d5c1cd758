package manifest

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// Output is what `show` prints beside an object's own values: what only the
// server knows. Empty fields are left out.
type Output struct {
	ID         string
	Location   string
	ScoringURI string
	OpenAPIURI string
	// Deployments are the names of all of an endpoint's deployments: those
	// without traffic are shown with 0.
	Deployments []string
}

// docBuilder collects fields and leaves the empty ones out.
type docBuilder struct{ doc Doc }

func (b *docBuilder) text(name, value string) {
	if value != "" {
		b.any(name, value)
	}
}

func (b *docBuilder) any(name string, value any) { b.doc = append(b.doc, Field{name, value}) }

// always are shown even when they are empty, so that queries find them.
func (b *docBuilder) texts(name string, values map[string]string) {
	if values == nil {
		values = map[string]string{}
	}
	b.any(name, values)
}

// EndpointDoc gives an endpoint as `show` prints it.
func EndpointDoc(e *sluice.Endpoint, out Output) Doc {
	var b docBuilder
	b.text("id", out.ID)
	b.text("name", e.Name)
	b.text("description", e.Description)
	b.texts("tags", e.Tags)
	properties := maps.Clone(e.Properties)
	if out.ID != "" {
		if properties == nil {
			properties = map[string]string{}
		}
		properties["azureml.onlineendpointid"] = out.ID
	}
	b.texts("properties", properties)
	b.text("location", out.Location)
	b.text("kind", "Managed")
	b.text("auth_mode", string(e.AuthMode))
	b.identity(e.Identity)
	b.text("compute", e.Compute)
	b.any("traffic", splitDoc(e.Traffic, out.Deployments))
	b.any("mirror_traffic", splitDoc(e.MirrorTraffic, nil))
	b.text("public_network_access", e.PublicNetworkAccess)
	b.text("provisioning_state", string(e.State))
	b.cause("cause", e.Cause)
	b.text("scoring_uri", out.ScoringURI)
	b.text("openapi_uri", out.OpenAPIURI)
	return b.doc
}

func (b *docBuilder) identity(i *sluice.Identity) {
	if i == nil {
		b.any("identity", Doc{{"type", "none"}})
		return
	}
	doc := Doc{{"type", i.Type}}
	if len(i.UserAssigned) > 0 {
		var ids []any
		for _, id := range i.UserAssigned {
			ids = append(ids, Doc{{"resource_id", id}})
		}
		doc = append(doc, Field{"user_assigned_identities", ids})
	}
	b.any("identity", doc)
}

// splitDoc gives a split in the order of names; deployments without a share
// are shown with 0.
func splitDoc(split map[string]int, deployments []string) Doc {
	shares := sluice.NormalTraffic(split)
	for _, name := range deployments {
		if folded := strings.ToLower(name); shares[folded] == 0 {
			shares[folded] = 0
		}
	}
	doc := Doc{}
	for _, name := range slices.Sorted(maps.Keys(shares)) {
		doc = append(doc, Field{name, shares[name]})
	}
	return doc
}

// cause shows why the object is in the state it is in, or what troubles it.
func (b *docBuilder) cause(name string, c *sluice.Cause) {
	if c == nil {
		return
	}
	doc := Doc{{"code", string(c.Code)}, {"message", c.Message}}
	if c.File != "" {
		doc = append(doc, Field{"file", c.File}, Field{"line", c.Line})
		if c.Column > 0 {
			doc = append(doc, Field{"column", c.Column})
		}
	}
	if c.Hint != "" {
		doc = append(doc, Field{"hint", c.Hint})
	}
	if len(c.Evidence) > 0 {
		doc = append(doc, Field{"evidence", c.Evidence})
	}
	if c.Request != "" {
		doc = append(doc, Field{"request", c.Request})
	}
	if c.Instance != "" {
		doc = append(doc, Field{"instance", c.Instance})
	}
	b.any(name, doc)
}

// DeploymentDoc gives a deployment with count instances as `show` prints it.
func DeploymentDoc(d *sluice.Deployment, count int, out Output) Doc {
	var b docBuilder
	s := d.Spec
	b.text("id", out.ID)
	b.text("name", d.Name)
	b.text("endpoint_name", d.Endpoint)
	b.text("type", "managed")
	b.text("location", out.Location)
	b.text("description", d.Description)
	b.texts("tags", d.Tags)
	b.texts("properties", d.Properties)
	b.text("model", s.Model)
	b.text("model_mount_path", s.ModelMountPath)
	if s.Code != nil {
		b.any("code_configuration", Doc{{"code", s.Code.Code}, {"scoring_script", s.Code.ScoringScript}})
	}
	b.text("environment", s.Environment)
	b.texts("environment_variables", s.EnvironmentVariables)
	b.text("instance_type", s.InstanceType)
	if count > 0 {
		b.any("instance_count", count)
	}
	b.any("app_insights_enabled", s.AppInsights)
	b.text("egress_public_network_access", s.EgressAccess)
	b.any("request_settings", Doc{
		{"request_timeout_ms", int(s.Request.Timeout.Milliseconds())},
		{"max_concurrent_requests_per_instance", s.Request.MaxConcurrent},
		{"max_queue_wait_ms", int(s.Request.MaxQueueWait.Milliseconds())},
	})
	b.any("liveness_probe", probeDoc(s.Liveness))
	b.any("readiness_probe", probeDoc(s.Readiness))
	b.any("scale_settings", Doc{{"type", "default"}})
	b.collector(s.DataCollector)
	b.text("provisioning_state", string(d.State))
	b.cause("cause", d.Cause)
	b.cause("trouble", d.Trouble)
	b.notBuilt(s)
	return b.doc
}

func probeDoc(p sluice.Probe) Doc {
	return Doc{
		{"initial_delay", int(p.InitialDelay.Seconds())},
		{"period", int(p.Period.Seconds())},
		{"timeout", int(p.Timeout.Seconds())},
		{"success_threshold", p.SuccessThreshold},
		{"failure_threshold", p.FailureThreshold},
	}
}

// notBuilt marks what was accepted and has no effect yet.
func (b *docBuilder) notBuilt(s sluice.Spec) {
	var marks []string
	if s.AppInsights {
		marks = append(marks, "app_insights_enabled")
	}
	if s.DataCollector != nil {
		marks = append(marks, "data_collector")
	}
	if len(marks) > 0 {
		b.any("not_built", marks)
	}
}

func (b *docBuilder) collector(c *sluice.DataCollector) {
	if c == nil {
		return
	}
	doc := Doc{{"sampling_rate", c.SamplingRate}, {"rolling_rate", c.RollingRate}}
	if len(c.CaptureHeaders) > 0 {
		doc = append(doc, Field{"request_logging", Doc{{"capture_headers", c.CaptureHeaders}}})
	}
	collections := Doc{}
	for _, name := range slices.Sorted(maps.Keys(c.Collections)) {
		collections = append(collections, Field{name, collectionDoc(c.Collections[name])})
	}
	b.any("data_collector", append(doc, Field{"collections", collections}))
}

func collectionDoc(c sluice.Collection) Doc {
	var b, data docBuilder
	b.any("enabled", c.Enabled)
	if c.SamplingRate != 0 {
		b.any("sampling_rate", c.SamplingRate)
	}
	b.text("client_id", c.ClientID)
	data.text("name", c.DataName)
	data.text("path", c.DataPath)
	data.text("version", c.DataVersion)
	if len(data.doc) > 0 {
		b.any("data", data.doc)
	}
	return b.doc
}

// asset shows what models and environments share; the rest follows it.
func (b *docBuilder) asset(m *sluice.Meta, out Output) {
	b.text("id", out.ID)
	b.text("name", m.Name)
	b.text("version", m.Version)
	b.text("description", m.Description)
	b.texts("tags", m.Tags)
	b.texts("properties", m.Properties)
}

// created shows when an asset came to be, and by whom.
func (b *docBuilder) created(m *sluice.Meta) {
	if m.Created.At.IsZero() {
		return
	}
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	doc := Doc{{"created_at", stamp(m.Created.At)}, {"created_by", m.Created.By}}
	if !m.Modified.At.IsZero() {
		doc = append(doc, Field{"last_modified_at", stamp(m.Modified.At)}, Field{"last_modified_by", m.Modified.By})
	}
	b.any("creation_context", doc)
}

// ModelDoc gives a model as `show` prints it.
func ModelDoc(m *sluice.Model, out Output) Doc {
	var b docBuilder
	b.asset(&m.Meta, out)
	b.text("type", string(m.Type))
	b.text("path", m.Content.URI)
	b.text("stage", m.Stage)
	if len(m.Flavors) > 0 {
		flavors := Doc{}
		for _, name := range slices.Sorted(maps.Keys(m.Flavors)) {
			flavors = append(flavors, Field{name, nonNil(m.Flavors[name])})
		}
		b.any("flavors", flavors)
	}
	b.created(&m.Meta)
	return b.doc
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// EnvironmentDoc gives an environment as `show` prints it, the conda file as
// the mapping it holds.
func EnvironmentDoc(e *sluice.Environment, out Output) Doc {
	var b docBuilder
	b.asset(&e.Meta, out)
	b.text("image", e.Image)
	if e.CondaFile != "" {
		b.any("conda_file", condaValue(e.CondaFile))
	}
	if e.Build != nil {
		var build docBuilder
		build.text("path", e.Build.ContextURI)
		build.text("dockerfile_path", e.Build.DockerfilePath)
		b.any("build", build.doc)
	}
	b.text("os_type", e.OSType)
	if i := e.Inference; i != nil {
		b.any("inference_config", Doc{{"liveness_route", routeDoc(i.Liveness)},
			{"readiness_route", routeDoc(i.Readiness)}, {"scoring_route", routeDoc(i.Scoring)}})
	}
	b.created(&e.Meta)
	return b.doc
}

func routeDoc(r sluice.Route) Doc { return Doc{{"path", r.Path}, {"port", r.Port}} }

// condaValue gives a conda file's content, or its text when it does not parse
// (another client may have stored anything).
func condaValue(text string) any {
	n, err := parse("", []byte(text))
	if err != nil || n.kind != mappingNode {
		return text
	}
	return n.value()
}
