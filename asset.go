package sluice

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
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

// Tags by which an environment says how it is to be made: Azure's schema has no
// property for it.
const (
	// TagPlatformPackages says what becomes of the packages of Azure's own
	// platform: "install" installs them, "leave_out" is the default.
	TagPlatformPackages = "sluice.platform_packages"
	// TagSourceBuilds says whether packages without a wheel are built from
	// source: "allow", or the default "refuse".
	TagSourceBuilds = "sluice.source_builds"

	switchTags = "sluice." // what all of them start with
)

// Switches is what an environment's tags say of how it is made.
type Switches struct {
	PlatformPackages bool // the platform's own packages are installed
	SourceBuilds     bool // packages without a wheel are built from source
}

// Switches reads the environment's tags. A slip is an error: unseen, it would
// mean the default.
func (e *Environment) Switches() (Switches, error) {
	var s Switches
	known := []string{TagPlatformPackages, TagSourceBuilds}
	for _, tag := range slices.Sorted(maps.Keys(e.Tags)) {
		value := strings.ToLower(e.Tags[tag])
		var on, off string
		switch tag {
		case TagPlatformPackages:
			on, off, s.PlatformPackages = "install", "leave_out", value == "install"
		case TagSourceBuilds:
			on, off, s.SourceBuilds = "allow", "refuse", value == "allow"
		default:
			if strings.HasPrefix(strings.ToLower(tag), switchTags) {
				return s, Errorf(CodeInvalid, "the tag %.80q is none that an environment is made by", tag).
					WithHint("these are known: %s", strings.Join(known, ", "))
			}
			continue
		}
		if value != on && value != off {
			return s, Errorf(CodeInvalid, "the tag %s is %.80q: it must be %s or %s", tag, e.Tags[tag], on, off)
		}
	}
	return s, nil
}

// Redacted stands where a user and a password stood in an address.
const Redacted = "****"

var userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@'"]*@`)

// RedactURLs takes user and password out of every address in a text.
func RedactURLs(text string) string { return userinfo.ReplaceAllString(text, "${1}"+Redacted+"@") }

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
