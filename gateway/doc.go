// Package gateway is the data plane: it takes requests to endpoints from
// strangers and hands them to instances. It never asks anybody: all it needs
// is in its routes, which it is given and also keeps on its own disk.
//
//	g, err := gateway.New(gateway.Config{ID: "local", RoutesDir: dir, MaxBody: 100 << 20, …})
//	go feed.Follow(ctx, feed.Follower{Snapshot: g.Reset, Update: g.Apply, Load: g.Load, Wake: g.Waiting(), …})
//	err = g.Serve(ctx, listener, tlsConfig)
//
// # One request
//
// Each request is served on its own goroutine by stages that are plain
// functions over the endpoint's routes and a [Head]:
//
//	locate        route.go    which endpoint, and what is below its base
//	authenticate  auth.go     the key, by digest
//	choose        choose.go   the deployment: by header, else by weight
//	admit         admit.go    at most 2 × max_concurrent × instances, or 429
//	acquire       acquire.go  an instance; waits for one where that can help
//	forward       http.go     the request to it, the answer back, as they come
//	finish        observe.go  release, count, log
//
// Nothing on the way takes a lock or reads a store while there are free
// instances: the table of endpoints and the routes of each are immutable
// values behind atomic pointers, and counters belong to deployments and
// instances, so they survive every change of routes.
//
// # What is served
//
// /endpoints/NAME/… and /w/WORKSPACE/endpoints/NAME/…, and with a domain set
// every path on the host NAME.DOMAIN. Below the base method, path, query,
// headers, body and trailers are passed on as they are, but for hop-by-hop
// headers, Authorization and azureml-model-deployment; paths with dot segments,
// in any spelling, are refused. On any other host and path the gateway itself
// answers: /healthz (200 while it runs), /readyz (200 while it has routes and
// takes requests) and /metrics (text counters; only with the admin credential,
// because what user code runs on this machine is a stranger too).
//
// # Codes
//
// 401, 404, 408, 413, 424, 429 and 500 as Azure's, in JSON
// {"error":{"code","message"}}; a 408, 424 or 429 names the setting to change
// or, in the header x-sluice-hint, the command that shows why. What the model
// answers with 2xx is passed on; any other answer becomes 424 with the model's
// body and its own code in ms-azureml-model-error-statuscode.
//
// A request is sent to another instance only when the first cannot have begun
// it: the connection was refused, or the answer is marked x-sluice-not-started.
//
// All methods may be called from any number of goroutines.
package gateway
