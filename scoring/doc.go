// Package scoring is the scoring server: the program that stands next to a
// model and calls the user's script for every request.
//
// Go owns sockets, HTTP, ids, limits, deadlines, health and the access log;
// Python owns nothing but the user's code. Each worker is an interpreter
// that runs the modules in the folder python, which are part of this package
// and are sent to it when it starts. They speak frames (package frame) over an
// inherited socket:
//
//	http.go ─▶ serve.go ─▶ Pool ─▶ worker ─▶ python/sluice_worker.py ─▶ run()
//	 Head       route,      queue,   frames,
//	            ids         choice   deadline
//
// A script takes the body as text, fields of it (inference-schema), or the whole
// request (@rawhttp); it may answer with a response of its own, also in pieces.
// Which it is the workers tell when they are ready, and only then is more sent
// to them than the body. What scripts import of the original is in the folder
// python/provided, for environments that lack it; so is a stand-in for Flask.
//
// What a client sees is what azureml-inference-server-http of ContractVersion
// answers, status, headers and text; the differences are listed with their
// reasons in the *contract_test.go files. Beyond it: GET / says 503 until every worker is
// ready; GET /v2/health/live answers at once whatever the workers do and names
// the phase, and to whoever keeps the instance all of [Live]: where a slow start
// stands and why requests fail; an answer to a request that was never begun
// carries "x-sluice-not-started: true".
//
// Use it through [Main], or: [ParseFlags], [Resolve], [New], [Server.Run].
//
// # Promises
//
// run() is called for one request at a time in each worker. A worker that dies
// loses only the request it was running: that one gets 500; what was finished
// is delivered, what was not begun is given to another worker, and nothing is
// run twice. A run() over its limit is answered at the limit, then interrupted,
// then killed with its process; the limit does not count an answer in pieces.
// Such an answer is cut short if its script fails or its worker dies, and ends
// its script's generator when the client leaves. The heartbeat of the original, WORKER_TIMEOUT,
// has no counterpart, because a busy worker is not taken for a dead one.
//
// Everything exported may be used from any goroutine unless it says otherwise.
package scoring
