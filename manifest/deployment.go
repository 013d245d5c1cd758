package manifest

import (
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ml/sluice"
)

// Deployment is a managed online deployment as a manifest describes it. Each
// of its parts is either a reference in Spec, or described here and still to
// be uploaded or registered; Spec is then empty there.
type Deployment struct {
	sluice.Deployment
	Count       int          // how many instances
	Code        *Local       // folder to upload; nil when Spec.Code.Code is a reference or there is no code
	Model       *Model       // inline model; nil when Spec.Model is a reference or there is none
	Environment *Environment // inline environment; nil when Spec.Environment is a reference or there is none
}

// ReadDeployment reads a managed online deployment.
func ReadDeployment(in Input) (*Deployment, []Warning, error) {
	d, err := in.open()
	if err != nil {
		return nil, nil, err
	}
	out := &Deployment{}
	d.deployment(out)
	d.refuse(deploymentRefusals)
	d.warnNotBuilt()
	return out, d.warnings, d.err()
}

func (d *decoder) deployment(out *Deployment) {
	s := &out.Spec
	s.Request = sluice.DefaultRequestSettings()
	s.Liveness, s.Readiness = sluice.DefaultProbe(), sluice.DefaultProbe()
	s.EgressAccess = "enabled"
	var kind string
	var off bool
	known := d.meta(&out.Meta)
	known["endpoint_name"] = d.text(&out.Endpoint, "endpoint_name")
	known["type"] = choice(d, &kind, "type", "managed", "kubernetes")
	known["model"] = func(n *node) { d.deployedModel(n, out) }
	known["model_mount_path"] = d.text(&s.ModelMountPath, "model_mount_path")
	known["code_configuration"] = func(n *node) { d.code(n, out) }
	known["environment"] = func(n *node) { d.deployedEnvironment(n, out) }
	known["environment_variables"] = d.texts(&s.EnvironmentVariables, "environment_variables")
	known["instance_type"] = d.text(&s.InstanceType, "instance_type")
	known["instance_count"] = d.whole(&out.Count, "instance_count", 1, sluice.MaxInstances)
	known["app_insights_enabled"] = d.truth(&s.AppInsights, "app_insights_enabled")
	known["scale_settings"] = func(n *node) { d.scaleSettings(n) }
	known["data_collector"] = func(n *node) { s.DataCollector = d.collector(n) }
	known["request_settings"] = func(n *node) { d.request(n, &s.Request) }
	known["liveness_probe"] = func(n *node) { d.probe(n, &s.Liveness, "liveness_probe") }
	known["readiness_probe"] = func(n *node) { d.probe(n, &s.Readiness, "readiness_probe") }
	known["egress_public_network_access"] = choice(d, &s.EgressAccess, "egress_public_network_access", "enabled", "disabled")
	known["private_network_connection"] = d.truth(&off, "private_network_connection")
	known["resources"] = skip
	readOnly(known, "location", "revision", "serving", "trouble")
	d.object(d.root, "", known)
	d.deploymentRules(out)
}

// deploymentRules checks what spans several properties.
func (d *decoder) deploymentRules(out *Deployment) {
	d.named("deployment", out.Name)
	if out.Endpoint == "" && d.root.get("endpoint_name").isNull() {
		d.missing(d.root, "endpoint_name", "add endpoint_name: to the file, or use --endpoint-name")
	} else {
		d.nameAt("endpoint_name", sluice.CheckName("endpoint", out.Endpoint))
	}
	if d.root.get("instance_type").isNull() {
		d.missing(d.root, "instance_type", "for example instance_type: Standard_DS3_v2")
	}
	if d.root.get("instance_count").isNull() {
		d.missing(d.root, "instance_count", "for example instance_count: 1")
	}
	if d.root.get("code_configuration").empty() && out.Model != nil && out.Model.Type == sluice.ModelCustom {
		d.missing(d.root, "code_configuration", "write the folder and the script: code_configuration: {code: ./src, scoring_script: score.py}, or type: mlflow_model below model if it is one")
	}
	if !d.root.get("code_configuration").empty() && d.root.get("environment").isNull() && !out.modelMaySay() {
		d.missing(d.root, "environment", "write environment: azureml:<name>:<version>, or an image and a conda_file below it")
	}
	if len(d.causes) > 0 {
		return // the rest would repeat them
	}
	// What is still to be uploaded has no reference yet; the domain wants one.
	s := out.Spec
	if out.Environment != nil {
		s.Environment = "inline"
	}
	if out.Model != nil {
		s.Model = "inline"
	}
	d.check(s.Check())
}

// modelMaySay reports whether the model may be one of MLflow, which says itself
// what environment it needs.
func (out *Deployment) modelMaySay() bool {
	return out.Spec.Model != "" || out.Model != nil && out.Model.Type == sluice.ModelMLflow
}

func (d *decoder) deployedModel(n *node, out *Deployment) {
	switch n.kind {
	case mappingNode:
		out.Model = d.model(n, "model")
	case scalarNode:
		out.Spec.Model = d.reference(n, "model", "model")
	default:
		d.bad(n, "model is a list: expected a reference or the properties of a model")
	}
}

func (d *decoder) deployedEnvironment(n *node, out *Deployment) {
	switch n.kind {
	case mappingNode:
		out.Environment = d.environment(n, "environment")
	case scalarNode:
		out.Spec.Environment = d.reference(n, "environment", "environment")
	default:
		d.bad(n, "environment is a list: expected a reference or the properties of an environment")
	}
}

// code reads the folder with the user's code and the script in it.
func (d *decoder) code(n *node, out *Deployment) {
	if n.empty() {
		return
	}
	c := &sluice.CodeConfiguration{}
	out.Spec.Code = c
	d.object(n, "code_configuration", properties{
		"code":           func(n *node) { d.codeFolder(n, out) },
		"scoring_script": d.text(&c.ScoringScript, "code_configuration.scoring_script"),
	})
	if n.kind != mappingNode {
		return
	}
	if n.get("code").isNull() {
		d.missing(n, "code_configuration.code", "it is the folder that holds the scoring script")
	}
	script := n.get("scoring_script")
	if script.isNull() {
		d.missing(n, "code_configuration.scoring_script", "it is the script's path inside the code folder")
		return
	}
	if script.kind != scalarNode {
		return
	}
	c.ScoringScript = filepath.ToSlash(filepath.Clean(c.ScoringScript))
	if err := sluice.CheckScriptPath(c.ScoringScript); err != nil {
		d.bad(script, "%s", err.Error())
		return
	}
	if out.Code != nil && !d.skipScript {
		d.script(script, out.Code.Path, c.ScoringScript)
	}
}

func (d *decoder) codeFolder(n *node, out *Deployment) {
	switch {
	case n.kind != scalarNode:
		d.bad(n, "code_configuration.code is %s: expected a folder", n.describe())
	case isReference(n.text):
		out.Spec.Code.Code = d.reference(n, "code_configuration.code", "code")
	default:
		out.Code = d.local(n, "code_configuration.code", "a folder")
	}
}

// script checks that the scoring script is a file in the code folder.
func (d *decoder) script(n *node, folder, script string) {
	path := filepath.Join(folder, filepath.FromSlash(script))
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errIsFolder
	}
	if err != nil {
		d.add(missingPath(n.at, n.text, path, "a file in code_configuration.code", err))
	}
}

func (d *decoder) request(n *node, to *sluice.RequestSettings) {
	timeout, wait := int(to.Timeout.Milliseconds()), int(to.MaxQueueWait.Milliseconds())
	d.object(n, "request_settings", properties{
		"request_timeout_ms": d.whole(&timeout, "request_settings.request_timeout_ms", 1, int(sluice.MaxRequestTimeout.Milliseconds())),
		"max_concurrent_requests_per_instance": d.whole(&to.MaxConcurrent,
			"request_settings.max_concurrent_requests_per_instance", 1, math.MaxInt32),
		"max_queue_wait_ms": d.whole(&wait, "request_settings.max_queue_wait_ms", 0, math.MaxInt32),
	})
	to.Timeout, to.MaxQueueWait = time.Duration(timeout)*time.Millisecond, time.Duration(wait)*time.Millisecond
}

// probe reads a probe, all times in seconds.
func (d *decoder) probe(n *node, to *sluice.Probe, what string) {
	delay, period, timeout := int(to.InitialDelay.Seconds()), int(to.Period.Seconds()), int(to.Timeout.Seconds())
	d.object(n, what, properties{
		"initial_delay":     d.whole(&delay, what+".initial_delay", 0, math.MaxInt32),
		"period":            d.whole(&period, what+".period", 1, math.MaxInt32),
		"timeout":           d.whole(&timeout, what+".timeout", 1, math.MaxInt32),
		"success_threshold": d.whole(&to.SuccessThreshold, what+".success_threshold", 1, math.MaxInt32),
		"failure_threshold": d.whole(&to.FailureThreshold, what+".failure_threshold", 1, math.MaxInt32),
	})
	to.InitialDelay, to.Period, to.Timeout = time.Duration(delay)*time.Second, time.Duration(period)*time.Second, time.Duration(timeout)*time.Second
}

// scaleSettings reads what autoscaling a file asks for; nothing but the
// default is served, which the refusals say.
func (d *decoder) scaleSettings(n *node) {
	var kind string
	var number int
	whole := func(name string) func(*node) {
		return d.whole(&number, "scale_settings."+name, 0, math.MaxInt32)
	}
	d.object(n, "scale_settings", properties{
		"type":                          choice(d, &kind, "scale_settings.type", "default", "target_utilization"),
		"min_instances":                 whole("min_instances"),
		"max_instances":                 whole("max_instances"),
		"polling_interval":              whole("polling_interval"),
		"target_utilization_percentage": whole("target_utilization_percentage"),
	})
}

func (d *decoder) collector(n *node) *sluice.DataCollector {
	out := &sluice.DataCollector{SamplingRate: 1, RollingRate: "hour"}
	d.object(n, "data_collector", properties{
		"sampling_rate": d.fraction(&out.SamplingRate, "data_collector.sampling_rate"),
		"rolling_rate": choice(d, &out.RollingRate, "data_collector.rolling_rate",
			"year", "month", "day", "hour", "minute"),
		"request_logging": func(n *node) {
			d.object(n, "data_collector.request_logging", properties{
				"capture_headers": d.list(&out.CaptureHeaders, "data_collector.request_logging.capture_headers"),
			})
		},
		"collections": func(n *node) { out.Collections = d.collections(n) },
	})
	return out
}

func (d *decoder) collections(n *node) map[string]sluice.Collection {
	const what = "data_collector.collections"
	if n.kind != mappingNode {
		d.bad(n, "%s is %s: expected names with their settings", what, n.describe())
		return nil
	}
	out := map[string]sluice.Collection{}
	for _, p := range n.props {
		var c sluice.Collection
		name := what + "." + shorten(p.name)
		d.object(p.value, name, properties{
			"enabled":       d.truth(&c.Enabled, name+".enabled"),
			"sampling_rate": d.fraction(&c.SamplingRate, name+".sampling_rate"),
			"client_id":     d.text(&c.ClientID, name+".client_id"),
			"data": func(n *node) {
				d.object(n, name+".data", properties{
					"name":    d.text(&c.DataName, name+".data.name"),
					"path":    d.text(&c.DataPath, name+".data.path"),
					"version": d.text(&c.DataVersion, name+".data.version"),
				})
			},
		})
		out[p.name] = c
	}
	return out
}
