package arm

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/sluice-ml/sluice"
)

// A PutOption narrows what a PUT may do.
type PutOption func(http.Header)

// IfAbsent makes a PUT fail with CodeExists when the resource is there already.
func IfAbsent(h http.Header) { h.Set("If-None-Match", "*") }

// HeaderWarning carries one warning about an accepted request. It may repeat.
const HeaderWarning = "X-Sluice-Warning"

// Workspace reads the client's workspace.
func (c *Client) Workspace(ctx context.Context) (Workspace, error) {
	return get[Workspace](ctx, c, c.scope.WorkspaceID())
}

// InstanceTypes gives the table of instance types that the server knows.
func (c *Client) InstanceTypes(ctx context.Context) ([]sluice.InstanceType, error) {
	type size struct {
		Name     string  `json:"name"`
		VCPUs    float64 `json:"vCPUs"`
		GPUs     int     `json:"gpus"`
		MemoryGB float64 `json:"memoryGB"`
	}
	answer, err := get[struct {
		Value []size `json:"value"`
	}](ctx, c, "/subscriptions/"+url.PathEscape(c.scope.Subscription)+"/providers/"+Provider+"/locations/"+Location+"/vmSizes")
	if err != nil {
		return nil, err
	}
	var types []sluice.InstanceType
	for _, s := range answer.Value {
		types = append(types, sluice.InstanceType{Name: s.Name, CPU: s.VCPUs, Memory: s.MemoryGB, GPU: s.GPUs})
	}
	return types, nil
}

// Endpoints lists all endpoints.
func (c *Client) Endpoints(ctx context.Context) ([]OnlineEndpoint, error) {
	return all[OnlineEndpoint](ctx, c, c.at(c.scope.WorkspaceID()+"/onlineEndpoints"))
}

// Endpoint reads one endpoint.
func (c *Client) Endpoint(ctx context.Context, name string) (OnlineEndpoint, error) {
	return get[OnlineEndpoint](ctx, c, c.scope.EndpointID(url.PathEscape(name)))
}

// PutEndpoint creates an endpoint or replaces its settings. Keys and traffic
// that are not said stay as they are.
func (c *Client) PutEndpoint(ctx context.Context, name string, e OnlineEndpoint, options ...PutOption) (OnlineEndpoint, *Poller, error) {
	var out OnlineEndpoint
	_, poller, err := c.change(ctx, http.MethodPut, c.scope.EndpointID(url.PathEscape(name)), e, &out, options)
	return out, poller, err
}

// PatchEndpoint changes what the patch names.
func (c *Client) PatchEndpoint(ctx context.Context, name string, p EndpointPatch) (OnlineEndpoint, *Poller, error) {
	var out OnlineEndpoint
	_, poller, err := c.change(ctx, http.MethodPatch, c.scope.EndpointID(url.PathEscape(name)), p, &out, nil)
	return out, poller, err
}

// DeleteEndpoint deletes an endpoint with its deployments. When there is none,
// the error's code is CodeNotFound.
func (c *Client) DeleteEndpoint(ctx context.Context, name string) (*Poller, error) {
	return c.delete(ctx, c.scope.EndpointID(url.PathEscape(name)), "endpoint", name)
}

// Keys reads the endpoint's keys.
func (c *Client) Keys(ctx context.Context, endpoint string) (EndpointAuthKeys, error) {
	var keys EndpointAuthKeys
	_, err := c.send(ctx, request{method: http.MethodPost,
		url: c.at(c.scope.EndpointID(url.PathEscape(endpoint)) + "/listKeys")}, &keys)
	return keys, err
}

// RegenerateKeys makes a new key; keyType is "primary" or "secondary".
func (c *Client) RegenerateKeys(ctx context.Context, endpoint, keyType string) error {
	_, err := c.send(ctx, request{method: http.MethodPost, body: RegenerateKeysRequest{KeyType: keyType},
		url: c.at(c.scope.EndpointID(url.PathEscape(endpoint)) + "/regenerateKeys")}, nil)
	return err
}

// Deployments lists an endpoint's deployments.
func (c *Client) Deployments(ctx context.Context, endpoint string) ([]OnlineDeployment, error) {
	return all[OnlineDeployment](ctx, c, c.at(c.scope.EndpointID(url.PathEscape(endpoint))+"/deployments"))
}

// Deployment reads one deployment.
func (c *Client) Deployment(ctx context.Context, endpoint, name string) (OnlineDeployment, error) {
	return get[OnlineDeployment](ctx, c, c.scope.DeploymentID(url.PathEscape(endpoint), url.PathEscape(name)))
}

// PutDeployment creates a deployment or replaces its settings. The result's
// Warnings are what the server accepted but does not do yet.
func (c *Client) PutDeployment(ctx context.Context, endpoint, name string, d OnlineDeployment, options ...PutOption) (OnlineDeployment, *Poller, error) {
	var out OnlineDeployment
	resp, poller, err := c.change(ctx, http.MethodPut,
		c.scope.DeploymentID(url.PathEscape(endpoint), url.PathEscape(name)), d, &out, options)
	if resp != nil {
		out.Warnings = slices.Clone(resp.Header.Values(HeaderWarning))
	}
	return out, poller, err
}

// DeleteDeployment deletes a deployment. When there is none, the error's code
// is CodeNotFound.
func (c *Client) DeleteDeployment(ctx context.Context, endpoint, name string) (*Poller, error) {
	return c.delete(ctx, c.scope.DeploymentID(url.PathEscape(endpoint), url.PathEscape(name)), "deployment", name)
}

// DeploymentLogs reads the last lines of a log of one instance. Container is
// "inference-server" or "storage-initializer"; tail 0 means the server's default.
func (c *Client) DeploymentLogs(ctx context.Context, endpoint, name, container string, tail int) (string, error) {
	ask := LogsRequest{ContainerType: container}
	if tail != 0 {
		ask.Tail = integer(tail)
	}
	var logs Logs
	_, err := c.send(ctx, request{method: http.MethodPost, body: ask,
		url: c.at(c.scope.DeploymentID(url.PathEscape(endpoint), url.PathEscape(name)) + "/getLogs")}, &logs)
	return logs.Content, err
}

// Status reads what the server says of itself.
func (c *Client) Status(ctx context.Context, out any) error {
	_, err := c.send(ctx, request{method: http.MethodGet, url: c.at("/sluice/status")}, out)
	return err
}

// change sends a PUT or PATCH and gives the poller of the operation it began.
func (c *Client) change(ctx context.Context, method, path string, body, out any, options []PutOption) (*http.Response, *Poller, error) {
	h := http.Header{}
	for _, o := range options {
		o(h)
	}
	resp, err := c.send(ctx, request{method: method, url: c.at(path), body: body, header: h}, out)
	if err != nil {
		return nil, nil, err
	}
	return resp, c.pollerOf(resp), nil
}

func (c *Client) delete(ctx context.Context, path, what, name string) (*Poller, error) {
	resp, err := c.send(ctx, request{method: http.MethodDelete, url: c.at(path)}, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusNoContent {
		return nil, sluice.Errorf(sluice.CodeNotFound, "there is no %s %s", what, name)
	}
	return c.pollerOf(resp), nil
}
