package arm

import (
	"maps"
	"slices"

	"github.com/sluice-ml/sluice"
)

// PropertyOperation is the entry of the inner properties bag that holds the
// address of the last operation, for clients that read no headers.
const PropertyOperation = "AzureAsyncOperationUri"

// PropertyNotBuilt is the entry of the inner properties bag that names the
// settings that were accepted but do nothing yet, comma-separated.
const PropertyNotBuilt = "sluice.notBuilt"

// OnlineEndpoint is an endpoint on the wire.
type OnlineEndpoint struct {
	ID         string             `json:"id,omitempty"`
	Name       string             `json:"name,omitempty"`
	Type       string             `json:"type,omitempty"`
	Location   string             `json:"location,omitempty"`
	Kind       string             `json:"kind,omitempty"`
	Tags       Strings            `json:"tags"`
	SKU        *SKU               `json:"sku,omitempty"`
	Identity   *Identity          `json:"identity,omitempty"`
	SystemData *SystemData        `json:"systemData,omitempty"`
	Properties EndpointProperties `json:"properties"`
}

// EndpointProperties are the settings of an endpoint. Traffic nil means "not
// said": a PUT then leaves it as it is.
type EndpointProperties struct {
	AuthMode            string            `json:"authMode,omitempty"`
	Description         string            `json:"description,omitempty"`
	Properties          Strings           `json:"properties"`
	Keys                *EndpointAuthKeys `json:"keys,omitempty"` // written, never read back
	Traffic             Shares            `json:"traffic,omitzero"`
	MirrorTraffic       Shares            `json:"mirrorTraffic,omitzero"`
	Compute             string            `json:"compute,omitempty"`
	PublicNetworkAccess string            `json:"publicNetworkAccess,omitempty"`

	ScoringURI        string       `json:"scoringUri,omitempty"`
	SwaggerURI        string       `json:"swaggerUri,omitempty"`
	ProvisioningState string       `json:"provisioningState,omitempty"`
	ProvisioningError *ErrorDetail `json:"provisioningError,omitempty"` // ours: why the state is Failed
}

// EndpointAuthKeys are an endpoint's two keys.
type EndpointAuthKeys struct {
	PrimaryKey   string `json:"primaryKey"`
	SecondaryKey string `json:"secondaryKey"`
}

// RegenerateKeysRequest asks for a new key; KeyType is Primary or Secondary.
// Without a KeyValue the server makes one up.
type RegenerateKeysRequest struct {
	KeyType  string `json:"keyType"`
	KeyValue string `json:"keyValue,omitempty"`
}

// Canonical gives the request with its key type in canonical case.
func (r RegenerateKeysRequest) Canonical() (RegenerateKeysRequest, error) {
	var err error
	r.KeyType, err = enum("keyType", r.KeyType, "Primary", "Secondary")
	return r, err
}

// EndpointPatch changes what it names and leaves the rest. A tags or traffic
// map replaces the former one whole.
type EndpointPatch struct {
	Tags       *Strings                 `json:"tags,omitempty"`
	Identity   *Identity                `json:"identity,omitempty"`
	Properties *EndpointPatchProperties `json:"properties,omitempty"`
}

// EndpointPatchProperties go beyond Azure, where a PATCH has none.
type EndpointPatchProperties struct {
	Description   *string  `json:"description,omitempty"`
	Properties    *Strings `json:"properties,omitempty"`
	Traffic       *Shares  `json:"traffic,omitempty"`
	MirrorTraffic *Shares  `json:"mirrorTraffic,omitempty"`
}

var authModes = map[sluice.AuthMode]string{
	sluice.AuthKey: "Key", sluice.AuthAMLToken: "AMLToken", sluice.AuthAADToken: "AADToken",
}

// EndpointFrom gives the wire form. The scoring URI is the caller's to add.
func EndpointFrom(s Scope, e *sluice.Endpoint) OnlineEndpoint {
	out := OnlineEndpoint{
		ID: s.EndpointID(e.Name), Name: e.Name, Type: Provider + "/workspaces/onlineEndpoints",
		Location: Location, Kind: "Managed", Tags: e.Tags, SystemData: systemData(&e.Meta),
		Identity: identityFrom(e.Identity),
		Properties: EndpointProperties{
			AuthMode: authModes[e.AuthMode], Description: e.Description,
			Properties: maps.Clone(e.Properties), Compute: e.Compute,
			Traffic: Shares(e.Traffic), MirrorTraffic: Shares(e.MirrorTraffic),
			PublicNetworkAccess: capital(orElse(e.PublicNetworkAccess, "enabled")),
			ProvisioningState:   string(e.State), ProvisioningError: causeDetail(e.Cause),
		},
	}
	if out.Properties.Properties == nil {
		out.Properties.Properties = Strings{}
	}
	return out
}

// Domain gives the endpoint that the wire form describes, the read-only parts
// included; who takes it as a request ignores those. Keys are not part of it.
func (w OnlineEndpoint) Domain() (*sluice.Endpoint, error) {
	e := &sluice.Endpoint{
		Meta: sluice.Meta{Name: w.Name, Description: w.Properties.Description, Tags: w.Tags,
			Properties: domainProperties(w.Properties.Properties)},
		Compute: w.Properties.Compute,
		State:   sluice.State(w.Properties.ProvisioningState), Cause: w.Properties.ProvisioningError.cause(),
	}
	w.SystemData.domain(&e.Meta)
	auth, err := enum("authMode", w.Properties.AuthMode, "Key", "AMLToken", "AADToken")
	if err != nil {
		return nil, err
	}
	for mode, name := range authModes {
		if name == auth {
			e.AuthMode = mode
		}
	}
	access, err := enum("publicNetworkAccess", w.Properties.PublicNetworkAccess, "enabled", "disabled")
	if err != nil {
		return nil, err
	}
	e.PublicNetworkAccess = access
	if w.Properties.Traffic != nil {
		e.Traffic = sluice.NormalTraffic(w.Properties.Traffic)
	}
	if w.Properties.MirrorTraffic != nil {
		e.MirrorTraffic = sluice.NormalTraffic(w.Properties.MirrorTraffic)
	}
	e.Identity, err = w.Identity.Domain()
	return e, err
}

// Domain gives the identity: nil for None. Saying nothing means system-assigned.
func (i *Identity) Domain() (*sluice.Identity, error) {
	if i == nil {
		return &sluice.Identity{Type: "system_assigned"}, nil
	}
	kind, err := enum("identity.type", i.Type, "SystemAssigned", "None", "UserAssigned", "SystemAssigned,UserAssigned")
	if err != nil {
		return nil, err
	}
	switch kind {
	case "None":
		return nil, nil
	case "SystemAssigned":
		return &sluice.Identity{Type: "system_assigned"}, nil
	}
	return &sluice.Identity{Type: "user_assigned",
		UserAssigned: slices.Sorted(maps.Keys(i.UserAssignedIdentities))}, nil
}

func identityFrom(i *sluice.Identity) *Identity {
	if i == nil {
		return &Identity{Type: "None"}
	}
	if i.Type == "user_assigned" {
		out := &Identity{Type: "UserAssigned", UserAssignedIdentities: map[string]struct{}{}}
		for _, id := range i.UserAssigned {
			out.UserAssignedIdentities[id] = struct{}{}
		}
		return out
	}
	return &Identity{Type: "SystemAssigned"}
}

// domainProperties leaves out what only the server may say.
func domainProperties(in Strings) map[string]string {
	out := map[string]string{}
	for k, v := range in {
		if k != PropertyOperation && k != PropertyNotBuilt {
			out[k] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
