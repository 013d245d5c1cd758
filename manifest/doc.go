// Package manifest owns the YAML people write: endpoints, deployments, models
// and environments as the files that `create -f` and `update -f` take.
//
// [ReadEndpoint], [ReadDeployment], [ReadModel] and [ReadEnvironment] turn an
// [Input] (a file, what the command line sets on top of it, and for an update
// the current object underneath) into domain values with all defaults filled
// in. What is wrong is told all at once, as [Causes]: each with file, line,
// column, what was expected and the nearest right spelling. What is accepted
// but has no effect yet comes back as [Warning]s.
//
// The other way, [EndpointDoc], [DeploymentDoc], [ModelDoc] and
// [EnvironmentDoc] give a domain value as the ordered document that `show`
// prints. Whatever `show -o yaml` prints, `create -f` accepts.
//
// The text is hostile until proven otherwise: size, depth, number of tokens
// and the expansion of aliases are bounded before memory is spent on them.
//
// Everything here reads files at most; nothing is kept between calls and all
// functions may be called from any number of goroutines.
package manifest
