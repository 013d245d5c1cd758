package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// route binds a method and a path to what answers it. Literal segments of the
// path match in any case; "{name}" matches one segment.
type route struct {
	method   string
	segments []string
	handle   func(*server, http.ResponseWriter, *request) error
	// open routes need no credential: health, and the signed ones.
	open bool
	// signed routes are authorised by the signature in their URL.
	signed bool
	// plain routes are not ARM's and need no api-version.
	plain bool
}

const (
	inWorkspace   = "/subscriptions/{sub}/resourceGroups/{rg}/providers/" + arm.Provider + "/workspaces/{ws}"
	endpointPath  = inWorkspace + "/onlineEndpoints/{endpoint}"
	deployPath    = endpointPath + "/deployments/{deployment}"
	opStatusName  = "mfeOperationsStatus"
	opResultName  = "mfeOperationResults"
	uploadPath    = "/artifacts/{ws}/{upload}"
	providerPath  = "/subscriptions/{sub}/providers/{provider}"
	locationsPath = "/subscriptions/{sub}/providers/" + arm.Provider + "/locations/{location}"
)

// routes gives the whole interface.
func routes() []route {
	var all []route
	add := func(method, path string, handle func(*server, http.ResponseWriter, *request) error) {
		all = append(all, route{method: method, segments: strings.Split(path, "/")[1:], handle: handle})
	}
	add("GET", inWorkspace, (*server).getWorkspace)
	add("POST", inWorkspace+"/prune", (*server).prune)
	add("GET", inWorkspace+"/"+opStatusName+"/{operation}", (*server).getOperation)
	add("GET", inWorkspace+"/"+opResultName+"/{operation}", (*server).getOperationResult)
	add("GET", "/subscriptions/{sub}/resourceGroups/{rg}/providers/"+arm.Provider+"/workspaces", (*server).listWorkspaces)
	add("GET", "/subscriptions/{sub}/providers/"+arm.Provider+"/workspaces", (*server).listWorkspaces)

	add("GET", inWorkspace+"/onlineEndpoints", (*server).listEndpoints)
	add("GET", endpointPath, (*server).getEndpoint)
	add("PUT", endpointPath, (*server).putEndpoint)
	add("PATCH", endpointPath, (*server).patchEndpoint)
	add("DELETE", endpointPath, (*server).deleteEndpoint)
	add("POST", endpointPath+"/listKeys", (*server).listKeys)
	add("POST", endpointPath+"/regenerateKeys", (*server).regenerateKeys)
	add("POST", endpointPath+"/token", (*server).getToken)
	add("GET", endpointPath+"/history", (*server).endpointHistory)

	add("GET", endpointPath+"/deployments", (*server).listDeployments)
	add("GET", deployPath, (*server).getDeployment)
	add("PUT", deployPath, (*server).putDeployment)
	add("PATCH", deployPath, (*server).patchDeployment)
	add("DELETE", deployPath, (*server).deleteDeployment)
	add("POST", deployPath+"/getLogs", (*server).getLogs)
	add("GET", deployPath+"/skus", (*server).listSKUs)
	add("GET", deployPath+"/history", (*server).deploymentHistory)
	add("GET", deployPath+"/events", (*server).deploymentEvents)
	add("GET", deployPath+"/instances", (*server).listInstances)
	add("GET", deployPath+"/logs", (*server).streamLogs)

	for _, kind := range assetKinds() {
		of := func(f func(*server, assetKind, http.ResponseWriter, *request) error) func(*server, http.ResponseWriter, *request) error {
			return func(s *server, w http.ResponseWriter, r *request) error { return f(s, kind, w, r) }
		}
		collection := inWorkspace + "/" + arm.Collection(kind.kind)
		add("GET", collection, of((*server).listContainers))
		add("GET", collection+"/{name}", of((*server).getContainer))
		add("PUT", collection+"/{name}", of((*server).putContainer))
		add("DELETE", collection+"/{name}", of((*server).deleteContainer))
		add("GET", collection+"/{name}/versions", of((*server).listVersions))
		add("GET", collection+"/{name}/versions/{version}", of((*server).getVersion))
		add("PUT", collection+"/{name}/versions/{version}", of((*server).putVersion))
		add("DELETE", collection+"/{name}/versions/{version}", of((*server).deleteVersion))
		add("POST", collection+"/{name}/versions/{version}/startPendingUpload", of((*server).startPendingUpload))
	}
	add("GET", "/providers/"+arm.Provider+"/operations", (*server).listProviderOperations)
	add("GET", providerPath, (*server).getProvider)
	add("POST", providerPath+"/register", (*server).getProvider)
	add("GET", locationsPath+"/vmSizes", (*server).listVMSizes)

	plain := func(open bool, method, path string, handle func(*server, http.ResponseWriter, *request) error) {
		add(method, path, handle)
		all[len(all)-1].plain, all[len(all)-1].open = true, open
	}
	plain(true, "GET", "/healthz", (*server).healthz)
	plain(true, "GET", "/readyz", (*server).readyz)
	plain(false, "GET", "/sluice/status", (*server).getStatus)
	signed := func(method, path string, handle func(*server, http.ResponseWriter, *request) error) {
		plain(true, method, uploadPath+path, handle)
		all[len(all)-1].signed = true
	}
	signed("POST", "/missing", (*server).uploadMissing)
	signed("PUT", "/blobs/{digest}", (*server).uploadBlob)
	signed("PUT", "/blobs/{digest}/parts/{part}", (*server).uploadPart)
	signed("POST", "/blobs/{digest}/join", (*server).uploadJoin)
	signed("POST", "/commit", (*server).uploadCommit)
	return all
}

// notBuiltYet are collections that official clients know and Sluice will have.
var notBuiltYet = []string{"batchEndpoints", "computes", "components", "connections", "data", "datastores",
	"featuresets", "jobs", "marketplaceSubscriptions", "onlineDeploymentTemplates", "schedules", "serverlessEndpoints"}

// match finds the route for a path. vars are the segments that names stand
// for; allowed are the methods there are when the method is not one of them.
func match(routes []route, method string, path []string) (found *route, vars map[string]string, allowed []string) {
	for i := range routes {
		r := &routes[i]
		v, ok := matchSegments(r.segments, path)
		switch {
		case !ok:
		case r.method == method:
			return r, v, nil
		default:
			allowed = append(allowed, r.method)
		}
	}
	return nil, nil, allowed
}

func matchSegments(pattern, path []string) (map[string]string, bool) {
	if len(pattern) != len(path) {
		return nil, false
	}
	for i, p := range pattern {
		if p[0] != '{' && !strings.EqualFold(p, path[i]) {
			return nil, false
		}
	}
	vars := map[string]string{}
	for i, p := range pattern {
		if p[0] == '{' {
			vars[p[1:len(p)-1]] = path[i]
		}
	}
	return vars, true
}

// splitPath gives the decoded segments of a path, nil when it is none of ours.
func splitPath(u *url.URL) []string {
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	if len(parts) > 20 {
		return nil
	}
	for i, p := range parts {
		decoded, err := url.PathUnescape(p)
		if err != nil || decoded == "" || decoded == "." || decoded == ".." || strings.ContainsAny(decoded, "/\x00") {
			return nil
		}
		parts[i] = decoded
	}
	return parts
}

// noRoute explains that a path is not there.
func noRoute(path []string) error {
	const workspaceSegments = 8
	if len(path) > workspaceSegments && strings.EqualFold(path[workspaceSegments-2], "workspaces") {
		i := slices.IndexFunc(notBuiltYet, func(s string) bool { return strings.EqualFold(s, path[workspaceSegments]) })
		if i >= 0 {
			return sluice.Errorf(sluice.CodeNotBuilt, "%s is not built yet", notBuiltYet[i])
		}
	}
	return sluice.Errorf(sluice.CodeNotFound, "there is nothing at this path")
}
