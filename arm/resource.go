package arm

import (
	"time"

	"github.com/sluice-ml/sluice"
)

// SystemData says who made a resource and who changed it last, and when.
type SystemData struct {
	CreatedAt          time.Time `json:"createdAt,omitzero"`
	CreatedBy          string    `json:"createdBy,omitempty"`
	CreatedByType      string    `json:"createdByType,omitempty"`
	LastModifiedAt     time.Time `json:"lastModifiedAt,omitzero"`
	LastModifiedBy     string    `json:"lastModifiedBy,omitempty"`
	LastModifiedByType string    `json:"lastModifiedByType,omitempty"`
}

func systemData(m *sluice.Meta) *SystemData {
	return &SystemData{
		CreatedAt: m.Created.At.UTC(), CreatedBy: m.Created.By, CreatedByType: "User",
		LastModifiedAt: m.Modified.At.UTC(), LastModifiedBy: m.Modified.By, LastModifiedByType: "User",
	}
}

func (d *SystemData) domain(m *sluice.Meta) {
	if d != nil {
		m.Created = sluice.Stamp{At: d.CreatedAt, By: d.CreatedBy}
		m.Modified = sluice.Stamp{At: d.LastModifiedAt, By: d.LastModifiedBy}
	}
}

// SKU carries the number of instances of a deployment, as its capacity.
type SKU struct {
	Name     string `json:"name,omitempty"`
	Tier     string `json:"tier,omitempty"`
	Size     string `json:"size,omitempty"`
	Family   string `json:"family,omitempty"`
	Capacity *Int   `json:"capacity,omitempty"`
}

// Identity is a managed identity: Type is None, SystemAssigned, UserAssigned
// or "SystemAssigned,UserAssigned".
type Identity struct {
	Type                   string              `json:"type"`
	PrincipalID            string              `json:"principalId,omitempty"`
	TenantID               string              `json:"tenantId,omitempty"`
	UserAssignedIdentities map[string]struct{} `json:"userAssignedIdentities,omitempty"`
}

// List is one page of a collection. NextLink is absolute; "" ends the list.
type List[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// Workspace is a tenant.
type Workspace struct {
	ID         string              `json:"id"`
	Name       string              `json:"name"`
	Type       string              `json:"type"`
	Location   string              `json:"location"`
	Kind       string              `json:"kind"`
	Tags       Strings             `json:"tags"`
	Identity   *Identity           `json:"identity,omitempty"`
	SystemData *SystemData         `json:"systemData"`
	Properties WorkspaceProperties `json:"properties"`
}

// WorkspaceProperties are what clients read of a workspace.
type WorkspaceProperties struct {
	WorkspaceID         string `json:"workspaceId"`
	FriendlyName        string `json:"friendlyName"`
	Description         string `json:"description"`
	PublicNetworkAccess string `json:"publicNetworkAccess"`
	ProvisioningState   string `json:"provisioningState"`
}

// WorkspaceFrom gives the wire form.
func WorkspaceFrom(s Scope, w *sluice.Workspace) Workspace {
	return Workspace{
		ID: s.WorkspaceID(), Name: w.Name, Type: Provider + "/workspaces",
		Location: Location, Kind: "Default", Tags: w.Tags, SystemData: systemData(&w.Meta),
		Properties: WorkspaceProperties{
			WorkspaceID: w.UID, FriendlyName: w.Name, Description: w.Description,
			PublicNetworkAccess: "Enabled", ProvisioningState: string(sluice.StateSucceeded),
		},
	}
}
