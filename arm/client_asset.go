package arm

import (
	"context"
	"net/http"
	"net/url"

	"github.com/sluice-ml/sluice"
)

// ListView says which assets a list shows.
type ListView string

// The views. Anonymous assets are in none of them.
const (
	ActiveOnly   ListView = "ActiveOnly"
	ArchivedOnly ListView = "ArchivedOnly"
	ListAll      ListView = "All"
)

func (c *Client) assetPath(kind sluice.Kind, name, version string) string {
	return c.scope.AssetID(kind, url.PathEscape(name), url.PathEscape(version))
}

// Containers lists the assets of a kind: model, code or environment.
func (c *Client) Containers(ctx context.Context, kind sluice.Kind, view ListView) ([]Container, error) {
	return all[Container](ctx, c, c.at(c.scope.WorkspaceID()+"/"+Collection(kind), "listViewType", string(view)))
}

// Container reads what all versions of an asset share, with its latest and
// next version.
func (c *Client) Container(ctx context.Context, kind sluice.Kind, name string) (Container, error) {
	return get[Container](ctx, c, c.assetPath(kind, name, ""))
}

// NextVersion gives the version that a new version of the asset should have:
// "1" when there is no such asset yet.
func (c *Client) NextVersion(ctx context.Context, kind sluice.Kind, name string) (string, error) {
	container, err := c.Container(ctx, kind, name)
	if sluice.ErrorCode(err) == sluice.CodeNotFound {
		return "1", nil
	}
	return orElse(container.Properties.NextVersion, "1"), err
}

// ArchiveContainer hides an asset with all its versions from lists, or shows
// it again.
func (c *Client) ArchiveContainer(ctx context.Context, kind sluice.Kind, name string, archived bool) (Container, error) {
	container, err := c.Container(ctx, kind, name)
	if err != nil {
		return container, err
	}
	container.Properties.IsArchived = archived
	return put[Container](ctx, c, c.assetPath(kind, name, ""), container)
}

// Models lists the versions of a model.
func (c *Client) Models(ctx context.Context, name string, view ListView) ([]ModelVersion, error) {
	return all[ModelVersion](ctx, c, c.at(c.assetPath(sluice.KindModel, name, "")+"/versions", "listViewType", string(view)))
}

// Model reads one version of a model.
func (c *Client) Model(ctx context.Context, name, version string) (ModelVersion, error) {
	return get[ModelVersion](ctx, c, c.assetPath(sluice.KindModel, name, version))
}

// PutModel registers a version of a model. The same content again gives what
// is there; other content is an error, because versions are immutable.
func (c *Client) PutModel(ctx context.Context, name, version string, m ModelVersion) (ModelVersion, error) {
	return put[ModelVersion](ctx, c, c.assetPath(sluice.KindModel, name, version), m)
}

// ArchiveModel hides one version from lists, or shows it again.
func (c *Client) ArchiveModel(ctx context.Context, name, version string, archived bool) (ModelVersion, error) {
	m, err := c.Model(ctx, name, version)
	if err != nil {
		return m, err
	}
	m.Properties.IsArchived = archived
	return c.PutModel(ctx, name, version, m)
}

// Environments lists the versions of an environment.
func (c *Client) Environments(ctx context.Context, name string, view ListView) ([]EnvironmentVersion, error) {
	return all[EnvironmentVersion](ctx, c, c.at(c.assetPath(sluice.KindEnvironment, name, "")+"/versions", "listViewType", string(view)))
}

// Environment reads one version of an environment.
func (c *Client) Environment(ctx context.Context, name, version string) (EnvironmentVersion, error) {
	return get[EnvironmentVersion](ctx, c, c.assetPath(sluice.KindEnvironment, name, version))
}

// PutEnvironment registers a version of an environment, as [Client.PutModel] does.
func (c *Client) PutEnvironment(ctx context.Context, name, version string, e EnvironmentVersion) (EnvironmentVersion, error) {
	return put[EnvironmentVersion](ctx, c, c.assetPath(sluice.KindEnvironment, name, version), e)
}

// ArchiveEnvironment hides one version from lists, or shows it again.
func (c *Client) ArchiveEnvironment(ctx context.Context, name, version string, archived bool) (EnvironmentVersion, error) {
	e, err := c.Environment(ctx, name, version)
	if err != nil {
		return e, err
	}
	e.Properties.IsArchived = archived
	return c.PutEnvironment(ctx, name, version, e)
}

// PutCode registers a version of a code asset, as [Client.PutModel] does.
func (c *Client) PutCode(ctx context.Context, name, version string, v CodeVersion) (CodeVersion, error) {
	return put[CodeVersion](ctx, c, c.assetPath(sluice.KindCode, name, version), v)
}

// StartPendingUpload asks where to upload an asset's content to. The URL is
// good for an hour and is itself the right to use it: keep it out of logs.
func (c *Client) StartPendingUpload(ctx context.Context, kind sluice.Kind, name, version string) (pendingURL string, err error) {
	var p PendingUpload
	_, err = c.send(ctx, request{method: http.MethodPost, body: PendingUploadRequest{PendingUploadType: "TemporaryBlobReference"},
		url: c.at(c.assetPath(kind, name, version) + "/startPendingUpload")}, &p)
	return p.BlobReferenceForConsumption.Credential.SASURI, err
}

func put[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	var out T
	_, err := c.send(ctx, request{method: http.MethodPut, url: c.at(path), body: body}, &out)
	return out, err
}
