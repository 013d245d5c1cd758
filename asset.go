package sluice

import (
	"fmt"
	"regexp"
	"strings"
)

// ModelType is what kind of model a folder holds.
type ModelType string

// The model types, as the YAML spells them.
const (
	ModelCustom ModelType = "custom_model"
	ModelMLflow ModelType = "mlflow_model"
	ModelTriton ModelType = "triton_model"
)

// Model is one immutable version of a model.
type Model struct {
	Meta
	Type     ModelType                    `json:"type"`
	Flavors  map[string]map[string]string `json:"flavors,omitempty"`
	Stage    string                       `json:"stage,omitempty"`
	Content  Content                      `json:"content"`
	Hidden   bool                         `json:"hidden,omitempty"` // anonymous: made for one deployment, in no list
	Archived bool                         `json:"archived,omitempty"`
}

// Key implements Resource.
func (m *Model) Key() Key {
	return Key{Workspace: m.Workspace, Kind: KindModel, Name: m.Name, Version: m.Version}
}

// CodeVersion is one immutable version of a code folder.
type CodeVersion struct {
	Meta
	Content  Content `json:"content"`
	Hidden   bool    `json:"hidden,omitempty"`
	Archived bool    `json:"archived,omitempty"`
}

// Key implements Resource.
func (c *CodeVersion) Key() Key {
	return Key{Workspace: c.Workspace, Kind: KindCode, Name: c.Name, Version: c.Version}
}

// Content is a tree of files in the artifact store.
type Content struct {
	// Tree is the digest of the tree, "sha256:<hex>".
	Tree string `json:"tree,omitempty"`
	// Base is the basename of the user's folder: where a tree is placed, its
	// files stand below Base. It is "" for a single file, which the tree holds
	// under the file's own name.
	Base string `json:"base,omitempty"`
	// URI is where it came from when that is not an upload.
	URI string `json:"uri,omitempty"`
}

// Environment is one immutable version of what a script runs in.
type Environment struct {
	Meta
	Image     string           `json:"image,omitempty"`
	CondaFile string           `json:"condaFile,omitempty"` // YAML text
	Build     *BuildContext    `json:"build,omitempty"`
	OSType    string           `json:"osType,omitempty"`
	Inference *InferenceConfig `json:"inference,omitempty"`
	Hidden    bool             `json:"hidden,omitempty"`
	Archived  bool             `json:"archived,omitempty"`
}

// Key implements Resource.
func (e *Environment) Key() Key {
	return Key{Workspace: e.Workspace, Kind: KindEnvironment, Name: e.Name, Version: e.Version}
}

// BuildContext is a folder with a Dockerfile.
type BuildContext struct {
	ContextURI     string `json:"contextUri"`
	DockerfilePath string `json:"dockerfilePath,omitempty"`
}

// InferenceConfig names the routes of a bring-your-own server.
type InferenceConfig struct {
	Liveness  Route `json:"liveness"`
	Readiness Route `json:"readiness"`
	Scoring   Route `json:"scoring"`
}

// Route is a path and a port.
type Route struct {
	Path string `json:"path"`
	Port int    `json:"port"`
}

// Container is what all versions of one asset share.
type Container struct {
	Meta
	Of       Kind `json:"of"` // one of the container kinds
	Archived bool `json:"archived,omitempty"`
}

// Key implements Resource.
func (c *Container) Key() Key { return Key{Workspace: c.Workspace, Kind: c.Of, Name: c.Name} }

// ContainerKind gives the kind of container an asset kind has.
func ContainerKind(asset Kind) Kind { return asset + "Container" }

// Ref is a reference to an asset. Exactly one of Version and Label is set,
// except for references to things without versions.
type Ref struct {
	Registry string // "" for the workspace
	Name     string
	Version  string
	Label    string // e.g. "latest"
}

// String gives the reference as the YAML spells it.
func (r Ref) String() string {
	at := ""
	switch {
	case r.Version != "":
		at = r.Version
	case r.Label != "":
		at = r.Label
	}
	if r.Registry != "" {
		kind := "versions/"
		if r.Version == "" {
			kind = "labels/"
		}
		return fmt.Sprintf("azureml://registries/%s/environments/%s/%s%s", r.Registry, r.Name, kind, at)
	}
	switch {
	case r.Version != "":
		return "azureml:" + r.Name + ":" + at
	case r.Label != "":
		return "azureml:" + r.Name + "@" + at
	}
	return "azureml:" + r.Name
}

var (
	refARM      = regexp.MustCompile(`(?i)^(?:azureml:)?/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.MachineLearningServices/workspaces/[^/]+/[a-z]+/([^/]+)(?:/(versions|labels)/([^/]+))?$`)
	refRegistry = regexp.MustCompile(`(?i)^azureml://registries/([^/]+)/[a-z]+/([^/]+)/(versions|labels)/([^/]+)$`)
	refShort    = regexp.MustCompile(`^azureml:([^:@/]+)(?:([:@])([^:@/]+))?$`)
)

// ParseRef reads every form of reference to an asset that the YAML and the
// REST interface know. It does not say whether the thing exists.
func ParseRef(s string) (Ref, error) {
	if m := refRegistry.FindStringSubmatch(s); m != nil {
		r := Ref{Registry: m[1], Name: m[2]}
		r.set(strings.EqualFold(m[3], "versions"), m[4])
		return r, nil
	}
	if m := refARM.FindStringSubmatch(s); m != nil {
		r := Ref{Name: m[1]}
		if m[3] != "" {
			r.set(strings.EqualFold(m[2], "versions"), m[3])
		}
		return r, nil
	}
	if m := refShort.FindStringSubmatch(s); m != nil {
		r := Ref{Name: m[1]}
		if m[2] != "" {
			r.set(m[2] == ":", m[3])
		}
		return r, nil
	}
	return Ref{}, Errorf(CodeInvalid, "%q is not a reference: write azureml:<name>:<version> or azureml:<name>@latest", s)
}

func (r *Ref) set(version bool, value string) {
	if version {
		r.Version = value
	} else {
		r.Label = value
	}
}
