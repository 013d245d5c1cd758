package sluice

import (
	"maps"
	"slices"
	"strings"
)

// AuthMode is how callers of an endpoint prove who they are.
type AuthMode string

// The modes, as the YAML spells them.
const (
	AuthKey      AuthMode = "key"
	AuthAMLToken AuthMode = "aml_token"
	AuthAADToken AuthMode = "aad_token"
)

// Endpoint is a stable URI with its authentication and traffic split. It owns
// no compute.
type Endpoint struct {
	Meta
	AuthMode            AuthMode       `json:"authMode"`
	Identity            *Identity      `json:"identity,omitempty"`
	Traffic             map[string]int `json:"traffic,omitempty"`       // deployment → percent, lower-case names, no zeros
	MirrorTraffic       map[string]int `json:"mirrorTraffic,omitempty"` // likewise
	PublicNetworkAccess string         `json:"publicNetworkAccess,omitempty"`
	Compute             string         `json:"compute,omitempty"`
	// KeyDigests are what the gateway compares; the keys themselves are a
	// resource of their own, sealed.
	KeyDigests KeyDigests `json:"keyDigests"`

	State State  `json:"state"`
	Cause *Cause `json:"cause,omitempty"` // why State is Failed
	// Operation is the name of the operation that runs on it, "" when none
	// does. Whoever starts one sets it in the same change; whoever ends it
	// clears it.
	Operation string `json:"operation,omitempty"`
}

// Key implements Resource.
func (e *Endpoint) Key() Key { return EndpointKey(e.Workspace, e.Name) }

// EndpointKey gives the key of an endpoint.
func EndpointKey(workspace, name string) Key {
	return Key{Workspace: workspace, Kind: KindEndpoint, Name: name}
}

// Identity is the managed identity of an endpoint.
type Identity struct {
	Type         string   `json:"type"` // "system_assigned" or "user_assigned"
	UserAssigned []string `json:"userAssigned,omitempty"`
}

// KeyDigests are the SHA-256 digests of an endpoint's two keys, in lower-case
// hexadecimal. An empty one matches nothing.
type KeyDigests struct {
	Primary   string `json:"primary,omitempty"`
	Secondary string `json:"secondary,omitempty"`
}

// Keys are an endpoint's two keys, sealed: only the holder of the state's key
// file can read them.
type Keys struct {
	Meta                   // Name is the endpoint's
	SealedPrimary   []byte `json:"sealedPrimary"`
	SealedSecondary []byte `json:"sealedSecondary"`
}

// Key implements Resource.
func (k *Keys) Key() Key { return Key{Workspace: k.Workspace, Kind: KindKeys, Name: k.Name} }

// NormalTraffic gives the split with lower-case names and without zeros.
func NormalTraffic(split map[string]int) map[string]int {
	out := map[string]int{}
	for name, percent := range split {
		if percent != 0 {
			out[strings.ToLower(name)] += percent
		}
	}
	return out
}

// CheckTraffic checks an endpoint's split and mirror against the deployments
// that exist (names in any case): each share 0 to 100, the sum 0 or 100, every
// name known; at most one mirror target, at most 50 percent, without live
// traffic.
func CheckTraffic(traffic, mirror map[string]int, deployments []string) error {
	known := map[string]bool{}
	for _, d := range deployments {
		known[strings.ToLower(d)] = true
	}
	sum := 0
	for _, name := range slices.Sorted(maps.Keys(traffic)) {
		percent := traffic[name]
		if percent < 0 || percent > 100 {
			return Errorf(CodeInvalid, "traffic of deployment %s is %d: a share is 0 to 100 percent", name, percent)
		}
		if percent > 0 && !known[strings.ToLower(name)] {
			err := Errorf(CodeInvalid, "traffic names deployment %s, which does not exist", name)
			if near := Nearest(name, deployments, 1); len(near) > 0 {
				return err.WithHint("did you mean %s? Else create deployment %s first, then give it traffic", near[0], name)
			}
			return err.WithHint("create deployment %s first, then give it traffic", name)
		}
		sum += percent
	}
	if sum != 0 && sum != 100 {
		return Errorf(CodeInvalid, "traffic sums to %d: it must sum to 0 or 100", sum)
	}
	return checkMirror(NormalTraffic(traffic), NormalTraffic(mirror), known)
}

func checkMirror(traffic, mirror map[string]int, known map[string]bool) error {
	if len(mirror) > 1 {
		return Errorf(CodeInvalid, "mirror_traffic names %d deployments: only one can be the mirror", len(mirror))
	}
	for name, percent := range mirror {
		switch {
		case percent < 0 || percent > 50:
			return Errorf(CodeInvalid, "mirror_traffic of deployment %s is %d: it may be 0 to 50 percent", name, percent)
		case !known[name]:
			return Errorf(CodeInvalid, "mirror_traffic names deployment %s, which does not exist", name)
		case traffic[name] > 0:
			return Errorf(CodeInvalid, "mirror_traffic names deployment %s, which also carries live traffic", name)
		}
	}
	return nil
}
