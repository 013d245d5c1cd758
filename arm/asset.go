package arm

import (
	"maps"

	"github.com/sluice-ml/sluice"
)

// Container is what all versions of an asset share.
type Container struct {
	ID         string              `json:"id,omitempty"`
	Name       string              `json:"name,omitempty"`
	Type       string              `json:"type,omitempty"`
	SystemData *SystemData         `json:"systemData,omitempty"`
	Properties ContainerProperties `json:"properties"`
}

// ContainerProperties are the settings of a container. LatestVersion is the
// version created last, NextVersion the one that a new version should have.
type ContainerProperties struct {
	Description       string  `json:"description,omitempty"`
	Tags              Strings `json:"tags"`
	Properties        Strings `json:"properties"`
	IsArchived        bool    `json:"isArchived"`
	LatestVersion     string  `json:"latestVersion,omitempty"`
	NextVersion       string  `json:"nextVersion,omitempty"`
	ProvisioningState string  `json:"provisioningState,omitempty"`
}

// AssetProperties are what the versions of every kind of asset have.
type AssetProperties struct {
	Description       string  `json:"description,omitempty"`
	Tags              Strings `json:"tags"`
	Properties        Strings `json:"properties"`
	IsAnonymous       bool    `json:"isAnonymous"`
	IsArchived        bool    `json:"isArchived"`
	ProvisioningState string  `json:"provisioningState,omitempty"`
}

// ModelVersion is one immutable version of a model.
type ModelVersion struct {
	ID         string          `json:"id,omitempty"`
	Name       string          `json:"name,omitempty"` // the version
	Type       string          `json:"type,omitempty"`
	SystemData *SystemData     `json:"systemData,omitempty"`
	Properties ModelProperties `json:"properties"`
}

// ModelProperties are the settings of a model version.
type ModelProperties struct {
	AssetProperties
	ModelURI  string            `json:"modelUri"`
	ModelType string            `json:"modelType,omitempty"`
	Flavors   map[string]Flavor `json:"flavors"`
	Stage     string            `json:"stage,omitempty"`
}

// Flavor is what one MLflow flavour says of a model.
type Flavor struct {
	Data Strings `json:"data"`
}

// CodeVersion is one immutable version of a code folder.
type CodeVersion struct {
	ID         string         `json:"id,omitempty"`
	Name       string         `json:"name,omitempty"` // the version
	Type       string         `json:"type,omitempty"`
	SystemData *SystemData    `json:"systemData,omitempty"`
	Properties CodeProperties `json:"properties"`
}

// CodeProperties are the settings of a code version.
type CodeProperties struct {
	AssetProperties
	CodeURI string `json:"codeUri"`
}

// EnvironmentVersion is one immutable version of an environment.
type EnvironmentVersion struct {
	ID         string                `json:"id,omitempty"`
	Name       string                `json:"name,omitempty"` // the version
	Type       string                `json:"type,omitempty"`
	SystemData *SystemData           `json:"systemData,omitempty"`
	Properties EnvironmentProperties `json:"properties"`
}

// EnvironmentProperties are the settings of an environment version. CondaFile
// is the text of the file.
type EnvironmentProperties struct {
	AssetProperties
	Image           string           `json:"image,omitempty"`
	CondaFile       string           `json:"condaFile,omitempty"`
	Build           *BuildContext    `json:"build,omitempty"`
	OSType          string           `json:"osType,omitempty"`
	InferenceConfig *InferenceConfig `json:"inferenceConfig,omitempty"`
	EnvironmentType string           `json:"environmentType,omitempty"`
}

// BuildContext is a folder with a Dockerfile.
type BuildContext struct {
	ContextURI     string `json:"contextUri"`
	DockerfilePath string `json:"dockerfilePath,omitempty"`
}

// InferenceConfig names the routes of a bring-your-own server.
type InferenceConfig struct {
	LivenessRoute  *Route `json:"livenessRoute,omitempty"`
	ReadinessRoute *Route `json:"readinessRoute,omitempty"`
	ScoringRoute   *Route `json:"scoringRoute,omitempty"`
}

// Route is a path and a port.
type Route struct {
	Path string `json:"path"`
	Port Int    `json:"port"`
}

// ContainerFrom gives the wire form; of is the kind of asset.
func ContainerFrom(s Scope, of sluice.Kind, c *sluice.Container, latest, next string) Container {
	return Container{
		ID: s.AssetID(of, c.Name, ""), Name: c.Name, Type: Provider + "/workspaces/" + Collection(of),
		SystemData: systemData(&c.Meta),
		Properties: ContainerProperties{Description: c.Description, Tags: c.Tags, Properties: c.Properties,
			IsArchived: c.Archived, LatestVersion: latest, NextVersion: next,
			ProvisioningState: string(sluice.StateSucceeded)},
	}
}

func versionType(of sluice.Kind) string {
	return Provider + "/workspaces/" + Collection(of) + "/versions"
}

func assetFrom(m *sluice.Meta, hidden, archived bool) AssetProperties {
	return AssetProperties{Description: m.Description, Tags: m.Tags, Properties: m.Properties,
		IsAnonymous: hidden, IsArchived: archived, ProvisioningState: string(sluice.StateSucceeded)}
}

func (a AssetProperties) meta(id, version string, d *SystemData) sluice.Meta {
	m := sluice.Meta{Name: nameInID(id), Version: version, Description: a.Description,
		Tags: maps.Clone(a.Tags), Properties: maps.Clone(a.Properties)}
	d.domain(&m)
	return m
}

// nameInID gives the asset's name out of the full id of its version, "" when
// there is none: the wire form has it nowhere else.
func nameInID(id string) string {
	ref, err := sluice.ParseRef(id)
	if id == "" || err != nil {
		return ""
	}
	return ref.Name
}

// ModelFrom gives the wire form. PublicURL is where uploads are addressed.
func ModelFrom(s Scope, m *sluice.Model, publicURL string) ModelVersion {
	flavors := map[string]Flavor{}
	for name, data := range m.Flavors {
		flavors[name] = Flavor{Data: data}
	}
	return ModelVersion{
		ID: s.AssetID(sluice.KindModel, m.Name, m.Version), Name: m.Version, Type: versionType(sluice.KindModel),
		SystemData: systemData(&m.Meta),
		Properties: ModelProperties{AssetProperties: assetFrom(&m.Meta, m.Hidden, m.Archived),
			ModelURI: TreeURI(publicURL, s.Workspace, m.Content), ModelType: string(m.Type), Flavors: flavors, Stage: m.Stage},
	}
}

// Domain gives the model that the wire form describes. The URI is left in
// Content.URI, not looked into.
func (w ModelVersion) Domain() (*sluice.Model, error) {
	p := w.Properties
	kind, err := enum("modelType", p.ModelType, string(sluice.ModelCustom), string(sluice.ModelMLflow), string(sluice.ModelTriton))
	if err != nil {
		return nil, err
	}
	m := &sluice.Model{Meta: p.meta(w.ID, w.Name, w.SystemData), Type: sluice.ModelType(kind),
		Stage: p.Stage, Content: sluice.Content{URI: p.ModelURI}, Hidden: p.IsAnonymous, Archived: p.IsArchived}
	for name, f := range p.Flavors {
		if m.Flavors == nil {
			m.Flavors = map[string]map[string]string{}
		}
		m.Flavors[name] = maps.Clone(f.Data)
	}
	return m, nil
}

// CodeFrom gives the wire form. PublicURL is where uploads are addressed.
func CodeFrom(s Scope, c *sluice.CodeVersion, publicURL string) CodeVersion {
	return CodeVersion{
		ID: s.AssetID(sluice.KindCode, c.Name, c.Version), Name: c.Version, Type: versionType(sluice.KindCode),
		SystemData: systemData(&c.Meta),
		Properties: CodeProperties{AssetProperties: assetFrom(&c.Meta, c.Hidden, c.Archived),
			CodeURI: TreeURI(publicURL, s.Workspace, c.Content)},
	}
}

// Domain gives the code that the wire form describes. The URI is left in
// Content.URI, not looked into.
func (w CodeVersion) Domain() (*sluice.CodeVersion, error) {
	p := w.Properties
	return &sluice.CodeVersion{Meta: p.meta(w.ID, w.Name, w.SystemData),
		Content: sluice.Content{URI: p.CodeURI}, Hidden: p.IsAnonymous, Archived: p.IsArchived}, nil
}

// EnvironmentFrom gives the wire form.
func EnvironmentFrom(s Scope, e *sluice.Environment) EnvironmentVersion {
	out := EnvironmentVersion{
		ID: s.AssetID(sluice.KindEnvironment, e.Name, e.Version), Name: e.Version, Type: versionType(sluice.KindEnvironment),
		SystemData: systemData(&e.Meta),
		Properties: EnvironmentProperties{AssetProperties: assetFrom(&e.Meta, e.Hidden, e.Archived),
			Image: e.Image, CondaFile: e.CondaFile, OSType: capital(orElse(e.OSType, "linux")), EnvironmentType: "UserCreated"},
	}
	if b := e.Build; b != nil {
		out.Properties.Build = &BuildContext{ContextURI: b.ContextURI, DockerfilePath: b.DockerfilePath}
	}
	if i := e.Inference; i != nil {
		out.Properties.InferenceConfig = &InferenceConfig{LivenessRoute: routeFrom(i.Liveness),
			ReadinessRoute: routeFrom(i.Readiness), ScoringRoute: routeFrom(i.Scoring)}
	}
	return out
}

// Domain gives the environment that the wire form describes.
func (w EnvironmentVersion) Domain() (*sluice.Environment, error) {
	p := w.Properties
	system, err := enum("osType", p.OSType, "linux", "windows")
	if err != nil {
		return nil, err
	}
	e := &sluice.Environment{Meta: p.meta(w.ID, w.Name, w.SystemData), Image: p.Image, CondaFile: p.CondaFile,
		OSType: system, Hidden: p.IsAnonymous, Archived: p.IsArchived}
	if p.Build != nil {
		e.Build = &sluice.BuildContext{ContextURI: p.Build.ContextURI, DockerfilePath: p.Build.DockerfilePath}
	}
	if i := p.InferenceConfig; i != nil {
		e.Inference = &sluice.InferenceConfig{Liveness: i.LivenessRoute.domain(),
			Readiness: i.ReadinessRoute.domain(), Scoring: i.ScoringRoute.domain()}
	}
	return e, nil
}

func routeFrom(r sluice.Route) *Route {
	if r == (sluice.Route{}) {
		return nil
	}
	return &Route{Path: r.Path, Port: Int(r.Port)}
}

func (r *Route) domain() sluice.Route {
	if r == nil {
		return sluice.Route{}
	}
	return sluice.Route{Path: r.Path, Port: int(r.Port)}
}
