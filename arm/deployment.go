package arm

import (
	"cmp"
	"maps"
	"strings"

	"github.com/sluice-ml/sluice"
)

// OnlineDeployment is a deployment on the wire. The number of instances is
// SKU.Capacity.
type OnlineDeployment struct {
	ID         string               `json:"id,omitempty"`
	Name       string               `json:"name,omitempty"`
	Type       string               `json:"type,omitempty"`
	Location   string               `json:"location,omitempty"`
	Kind       string               `json:"kind,omitempty"`
	Tags       Strings              `json:"tags"`
	SKU        *SKU                 `json:"sku,omitempty"`
	Identity   *Identity            `json:"identity,omitempty"`
	SystemData *SystemData          `json:"systemData,omitempty"`
	Properties DeploymentProperties `json:"properties"`
	// Warnings are what the server had to say about an accepted request. They
	// travel in a header.
	Warnings []string `json:"-"`
}

// DeploymentProperties are the settings of a deployment.
type DeploymentProperties struct {
	EndpointComputeType       string             `json:"endpointComputeType,omitempty"` // exactly "Managed" on the way out
	Description               string             `json:"description,omitempty"`
	Properties                Strings            `json:"properties"`
	Model                     string             `json:"model,omitempty"`
	ModelMountPath            string             `json:"modelMountPath,omitempty"`
	CodeConfiguration         *CodeConfiguration `json:"codeConfiguration,omitempty"`
	EnvironmentID             string             `json:"environmentId,omitempty"`
	EnvironmentVariables      Strings            `json:"environmentVariables,omitempty"`
	InstanceType              string             `json:"instanceType,omitempty"`
	AppInsightsEnabled        bool               `json:"appInsightsEnabled"`
	EgressPublicNetworkAccess string             `json:"egressPublicNetworkAccess,omitempty"`
	RequestSettings           *RequestSettings   `json:"requestSettings,omitempty"`
	LivenessProbe             *Probe             `json:"livenessProbe,omitempty"`
	ReadinessProbe            *Probe             `json:"readinessProbe,omitempty"`
	StartupProbe              *Probe             `json:"startupProbe,omitempty"`
	ScaleSettings             *ScaleSettings     `json:"scaleSettings,omitempty"`
	DataCollector             *DataCollector     `json:"dataCollector,omitempty"`

	ProvisioningState string       `json:"provisioningState,omitempty"`
	ProvisioningError *ErrorDetail `json:"provisioningError,omitempty"` // ours: why the state is Failed
	Trouble           *ErrorDetail `json:"trouble,omitempty"`           // ours: why requests to it fail
}

// CodeConfiguration is the code folder and the script in it.
type CodeConfiguration struct {
	CodeID        string `json:"codeId,omitempty"`
	ScoringScript string `json:"scoringScript"`
}

// RequestSettings bound what one request may take. What is not said has its
// default.
type RequestSettings struct {
	RequestTimeout                   *Duration `json:"requestTimeout,omitempty"`
	MaxConcurrentRequestsPerInstance *Int      `json:"maxConcurrentRequestsPerInstance,omitempty"`
	MaxQueueWait                     *Duration `json:"maxQueueWait,omitempty"`
}

// Probe says how often an instance is asked. What is not said has its default.
type Probe struct {
	InitialDelay     *Duration `json:"initialDelay,omitempty"`
	Period           *Duration `json:"period,omitempty"`
	Timeout          *Duration `json:"timeout,omitempty"`
	SuccessThreshold *Int      `json:"successThreshold,omitempty"`
	FailureThreshold *Int      `json:"failureThreshold,omitempty"`
}

// ScaleSettings is only ever {"scaleType":"Default"} on a managed deployment.
type ScaleSettings struct {
	ScaleType string `json:"scaleType"`
}

// DeploymentPatch changes what it names and leaves the rest.
type DeploymentPatch struct {
	Tags       *Strings                   `json:"tags,omitempty"`
	SKU        *SKU                       `json:"sku,omitempty"`
	Properties *DeploymentPatchProperties `json:"properties,omitempty"`
}

// DeploymentPatchProperties go beyond Azure, where a PATCH has none.
type DeploymentPatchProperties struct {
	Description *string  `json:"description,omitempty"`
	Properties  *Strings `json:"properties,omitempty"`
}

// LogsRequest asks for the end of a log. ContainerType is InferenceServer or
// StorageInitializer, Tail the number of lines.
type LogsRequest struct {
	ContainerType string `json:"containerType,omitempty"`
	Tail          *Int   `json:"tail,omitempty"`
}

// Canonical gives the request with its container in canonical case.
func (r LogsRequest) Canonical() (LogsRequest, error) {
	var err error
	r.ContainerType, err = enum("containerType", r.ContainerType, "InferenceServer", "StorageInitializer")
	return r, err
}

// Logs is the answer to a [LogsRequest].
type Logs struct {
	Content string `json:"content"`
}

// SKUResource says how many instances a deployment may have.
type SKUResource struct {
	ResourceType string      `json:"resourceType"`
	SKU          SKU         `json:"sku"`
	Capacity     SKUCapacity `json:"capacity"`
}

// SKUCapacity is a range of instance counts.
type SKUCapacity struct {
	Default   int    `json:"default"`
	Minimum   int    `json:"minimum"`
	Maximum   int    `json:"maximum"`
	ScaleType string `json:"scaleType"`
}

// DeploymentFrom gives the wire form of a deployment with count instances.
func DeploymentFrom(s Scope, d *sluice.Deployment, count int) OnlineDeployment {
	spec := d.Spec
	out := OnlineDeployment{
		ID: s.DeploymentID(d.Endpoint, d.Name), Name: d.Name,
		Type:     Provider + "/workspaces/onlineEndpoints/deployments",
		Location: Location, Kind: "Managed", Tags: d.Tags, SystemData: systemData(&d.Meta),
		SKU: &SKU{Name: "Default", Tier: "Standard", Capacity: integer(count)},
		Properties: DeploymentProperties{
			EndpointComputeType: "Managed", Description: d.Description, Properties: maps.Clone(d.Properties),
			Model: s.refID(sluice.KindModel, spec.Model), ModelMountPath: spec.ModelMountPath,
			EnvironmentID: s.refID(sluice.KindEnvironment, spec.Environment), EnvironmentVariables: spec.EnvironmentVariables,
			InstanceType: spec.InstanceType, AppInsightsEnabled: spec.AppInsights,
			EgressPublicNetworkAccess: capital(orElse(spec.EgressAccess, "enabled")),
			RequestSettings: &RequestSettings{RequestTimeout: duration(spec.Request.Timeout),
				MaxConcurrentRequestsPerInstance: integer(spec.Request.MaxConcurrent), MaxQueueWait: duration(spec.Request.MaxQueueWait)},
			LivenessProbe: probeFrom(spec.Liveness), ReadinessProbe: probeFrom(spec.Readiness),
			ScaleSettings:     &ScaleSettings{ScaleType: "Default"},
			DataCollector:     collectorFrom(s, spec.DataCollector),
			ProvisioningState: string(d.State), ProvisioningError: causeDetail(d.Cause), Trouble: causeDetail(d.Trouble),
		},
	}
	if spec.Code != nil {
		out.Properties.CodeConfiguration = &CodeConfiguration{
			CodeID: s.refID(sluice.KindCode, spec.Code.Code), ScoringScript: spec.Code.ScoringScript}
	}
	if out.Properties.Properties == nil {
		out.Properties.Properties = Strings{}
	}
	if marks := notBuiltMarks(&d.Spec); marks != "" {
		out.Properties.Properties[PropertyNotBuilt] = marks
	}
	return out
}

// notBuiltMarks names the settings that are accepted and do nothing yet.
func notBuiltMarks(spec *sluice.Spec) string {
	var marks []string
	if spec.AppInsights {
		marks = append(marks, "app_insights_enabled")
	}
	if spec.DataCollector != nil {
		marks = append(marks, "data_collector")
	}
	return strings.Join(marks, ",")
}

// Domain gives the deployment that the wire form describes and its number of
// instances, the read-only parts included; who takes it as a request ignores
// those. What is not said has its default. References are in their short form
// and are not looked up. The endpoint's name is the caller's to add. count is
// 0 when it is not said.
func (w OnlineDeployment) Domain() (d *sluice.Deployment, count int, err error) {
	p := w.Properties
	if err := p.checkOnlyDefaults(); err != nil {
		return nil, 0, err
	}
	if i, err := w.Identity.Domain(); err != nil || i != nil && i.Type == "user_assigned" {
		return nil, 0, cmp.Or(err, notBuilt("identity", "the identity of a deployment (the endpoint has one)"))
	}
	d = &sluice.Deployment{
		Meta: sluice.Meta{Name: w.Name, Description: p.Description, Tags: w.Tags,
			Properties: domainProperties(p.Properties)},
		State: sluice.State(p.ProvisioningState), Cause: p.ProvisioningError.cause(), Trouble: p.Trouble.cause(),
	}
	w.SystemData.domain(&d.Meta)
	d.Spec, err = p.spec()
	if err != nil {
		return nil, 0, err
	}
	if w.SKU != nil {
		count = w.SKU.Capacity.or(0)
	}
	return d, count, nil
}

// checkOnlyDefaults refuses by name what has no place in the domain yet.
func (p DeploymentProperties) checkOnlyDefaults() error {
	kind, err := enum("endpointComputeType", p.EndpointComputeType, "Managed", "Kubernetes", "AzureMLCompute")
	if err != nil {
		return err
	}
	if kind != "Managed" {
		return notBuilt("endpointComputeType", "type: "+kind)
	}
	if p.StartupProbe != nil && p.StartupProbe.domain() != sluice.DefaultProbe() {
		return notBuilt("startupProbe", "startup_probe")
	}
	if p.ScaleSettings == nil {
		return nil
	}
	scale, err := enum("scaleSettings.scaleType", p.ScaleSettings.ScaleType, "Default", "TargetUtilization")
	if err == nil && scale != "Default" {
		return notBuilt("scaleSettings", "scale_settings.type "+scale)
	}
	return err
}

func (p DeploymentProperties) spec() (sluice.Spec, error) {
	spec := sluice.Spec{
		ModelMountPath: p.ModelMountPath, EnvironmentVariables: p.EnvironmentVariables,
		InstanceType: p.InstanceType, AppInsights: p.AppInsightsEnabled,
		Request: p.RequestSettings.domain(), Liveness: p.LivenessProbe.domain(), Readiness: p.ReadinessProbe.domain(),
	}
	if len(spec.EnvironmentVariables) == 0 {
		spec.EnvironmentVariables = nil
	}
	var err error
	if spec.Model, err = refText("model", p.Model); err != nil {
		return spec, err
	}
	if spec.Environment, err = refText("environmentId", p.EnvironmentID); err != nil {
		return spec, err
	}
	if c := p.CodeConfiguration; c != nil {
		code, err := refText("codeConfiguration.codeId", c.CodeID)
		if err != nil {
			return spec, err
		}
		spec.Code = &sluice.CodeConfiguration{Code: code, ScoringScript: c.ScoringScript}
	}
	if spec.EgressAccess, err = enum("egressPublicNetworkAccess", p.EgressPublicNetworkAccess, "enabled", "disabled"); err != nil {
		return spec, err
	}
	spec.DataCollector, err = p.DataCollector.domain()
	return spec, err
}

// refText gives a reference in its short form; "" stays "".
func refText(field, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	ref, err := sluice.ParseRef(text)
	if err != nil {
		return "", &sluice.Error{Code: sluice.CodeInvalid, Target: field, Message: field + ": " + err.Error()}
	}
	if ref.Registry != "" {
		return text, nil
	}
	return ref.String(), nil
}

func (r *RequestSettings) domain() sluice.RequestSettings {
	out := sluice.DefaultRequestSettings()
	if r != nil {
		out.Timeout = r.RequestTimeout.or(out.Timeout)
		out.MaxConcurrent = r.MaxConcurrentRequestsPerInstance.or(out.MaxConcurrent)
		out.MaxQueueWait = r.MaxQueueWait.or(out.MaxQueueWait)
	}
	return out
}

func (p *Probe) domain() sluice.Probe {
	out := sluice.DefaultProbe()
	if p != nil {
		out.InitialDelay = p.InitialDelay.or(out.InitialDelay)
		out.Period = p.Period.or(out.Period)
		out.Timeout = p.Timeout.or(out.Timeout)
		out.SuccessThreshold = p.SuccessThreshold.or(out.SuccessThreshold)
		out.FailureThreshold = p.FailureThreshold.or(out.FailureThreshold)
	}
	return out
}

func probeFrom(p sluice.Probe) *Probe {
	return &Probe{InitialDelay: duration(p.InitialDelay), Period: duration(p.Period), Timeout: duration(p.Timeout),
		SuccessThreshold: integer(p.SuccessThreshold), FailureThreshold: integer(p.FailureThreshold)}
}

func notBuilt(field, what string) error {
	return &sluice.Error{Code: sluice.CodeNotBuilt, Target: field, Message: what + " is not built yet",
		Hint: "leave it out, or at its default"}
}
