// Package arm is the REST interface as data: the resources, operations and
// errors of Azure Resource Manager as Azure Machine Learning's clients send and
// expect them, and a client that speaks them to a Sluice server.
//
// The wire types ([OnlineEndpoint], [OnlineDeployment], [ModelVersion], …) are
// ours. What goes out is in canonical case; what comes in may be in any case,
// may carry fields nobody knows, and may have numbers as strings. Conversions
// to and from the domain are pure: [EndpointFrom] and [OnlineEndpoint.Domain],
// [DeploymentFrom] and [OnlineDeployment.Domain], and so on. A [Scope] turns
// names into the full ids that clients parse.
//
// A [Client] makes one HTTPS request per method and may be used by any number
// of goroutines at once; a [Poller] by one at a time. Every error that the
// server explains comes back as the *sluice.Error it was there, with its code,
// hint and cause.
package arm
