package arm

import (
	"net/url"
	"strings"

	"github.com/sluice-ml/sluice"
)

// Provider is the resource provider's name as it stands in every path.
const Provider = "Microsoft.MachineLearningServices"

// APIVersion is the version our client sends; the server takes any.
const APIVersion = "2024-04-01"

// What stands in the paths when nobody says otherwise. The server keeps neither.
const (
	DefaultSubscription  = "00000000-0000-0000-0000-000000000000"
	DefaultResourceGroup = "sluice"
)

// Location is what every resource says about where it is.
const Location = "local"

// Scope says where resources live. Subscription and resource group are labels
// that are echoed; the workspace is the tenant.
type Scope struct {
	Subscription  string
	ResourceGroup string
	Workspace     string
}

// WorkspaceID gives the full id of the workspace, in the exact case that
// clients parse.
func (s Scope) WorkspaceID() string {
	return "/subscriptions/" + s.Subscription + "/resourceGroups/" + s.ResourceGroup +
		"/providers/" + Provider + "/workspaces/" + s.Workspace
}

// EndpointID gives the full id of an online endpoint.
func (s Scope) EndpointID(endpoint string) string {
	return s.WorkspaceID() + "/onlineEndpoints/" + endpoint
}

// DeploymentID gives the full id of an online deployment.
func (s Scope) DeploymentID(endpoint, deployment string) string {
	return s.EndpointID(endpoint) + "/deployments/" + deployment
}

// AssetID gives the full id of an asset's container or, when version is not
// "", of that version. Kind is one of model, code and environment.
func (s Scope) AssetID(kind sluice.Kind, name, version string) string {
	id := s.WorkspaceID() + "/" + Collection(kind) + "/" + name
	if version != "" {
		id += "/versions/" + version
	}
	return id
}

// Collection gives the path segment under which assets of the kind are found.
func Collection(kind sluice.Kind) string { return string(kind) + "s" }

// refID gives the full id that a reference text stands for. What is not a
// reference to something in the workspace is given back as it is.
func (s Scope) refID(kind sluice.Kind, text string) string {
	ref, err := sluice.ParseRef(text)
	if text == "" || err != nil || ref.Registry != "" {
		return text
	}
	if ref.Version == "" && ref.Label != "" {
		return s.AssetID(kind, ref.Name, "") + "/labels/" + ref.Label
	}
	return s.AssetID(kind, ref.Name, ref.Version)
}

// TreeURI gives the URI under which uploaded content is referred to.
func TreeURI(publicURL, workspace string, c sluice.Content) string {
	if c.Tree == "" {
		return c.URI
	}
	uri := strings.TrimSuffix(publicURL, "/") + "/artifacts/" + url.PathEscape(workspace) + "/trees/" + c.Tree
	if c.Base == "" {
		return uri
	}
	return uri + "/" + url.PathEscape(c.Base)
}

// ParseTreeURI reads what [TreeURI] wrote. host is the URI's host and port.
func ParseTreeURI(uri string) (host, workspace string, c sluice.Content, err error) {
	bad := func() (string, string, sluice.Content, error) {
		return "", "", sluice.Content{}, sluice.Errorf(sluice.CodeInvalid, "%.200q is not the address of an upload to this server", uri)
	}
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return bad()
	}
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	for i, p := range parts {
		if parts[i], err = url.PathUnescape(p); err != nil {
			return bad()
		}
	}
	if len(parts) == 4 {
		parts = append(parts, "") // a single file has no folder around it
	}
	if len(parts) != 5 || parts[0] != "artifacts" || parts[2] != "trees" || CheckBase(parts[4]) != nil ||
		sluice.CheckDigest(parts[3]) != nil {
		return bad()
	}
	return u.Host, parts[1], sluice.Content{Tree: parts[3], Base: parts[4]}, nil
}

// CheckBase checks the basename of an upload: one path element that can do no
// harm where it is placed, or "" for a single file, which its tree holds under
// its own name.
func CheckBase(base string) error {
	if base == "." || base == ".." || len(base) > 255 ||
		strings.ContainsFunc(base, func(r rune) bool { return r < ' ' || r == '/' || r == '\\' || r == 0x7f || r == '\uFFFD' }) {
		return sluice.Errorf(sluice.CodeInvalid, "%.80q is not a usable file or folder name", base)
	}
	return nil
}
