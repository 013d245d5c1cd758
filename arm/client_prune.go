package arm

import (
	"context"
	"net/http"

	"github.com/sluice-ml/sluice"
)

// Prune removes from the server's disk what nothing needs, or says what it
// would remove.
func (c *Client) Prune(ctx context.Context, dryRun bool) (sluice.Pruned, error) {
	var out sluice.Pruned
	_, err := c.send(ctx, request{method: http.MethodPost, body: PruneRequest{DryRun: dryRun},
		url: c.at(c.scope.WorkspaceID() + "/prune")}, &out)
	return out, err
}
