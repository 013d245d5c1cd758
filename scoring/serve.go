package scoring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice/scoring/frame"
)

// answer answers one request: route, ids, admission, body, worker. It returns
// when the answer is known or the client is gone (the context is done).
func (s *Server) answer(ctx context.Context, h Head, in io.Reader) Reply {
	// Whoever waits for it to be ready asks all the time: that must not keep a
	// server that was told to leave.
	if !asksHealth(routeOf(h.Path)) {
		s.inFlight.Add(1)
	}
	r := s.route(ctx, h, in)
	if !asksHealth(routeOf(h.Path)) {
		r.Done = s.left
	}
	r.Close = r.Close || s.draining.Load()
	return r
}

func (s *Server) route(ctx context.Context, h Head, in io.Reader) Reply {
	began := time.Now()
	kind := routeOf(h.Path)
	if kind.ofMLflow() && !s.settings.MLflow {
		kind = routeUnknown
	}
	if early, done := s.refuse(kind, h.Method); done {
		return early
	}
	if asksHealth(kind) {
		s.hold(ctx, h)
	}
	if kind == routeLive || kind == routeReady {
		return s.health(kind, h.Inside)
	}
	id, refusal, deprecated := idsOf(h)
	if deprecated {
		s.log.Printf('W', "x-ms-request-id header has been deprecated and will be removed from future versions of the server."+
			" Please use x-ms-client-request-id.")
	}
	var r Reply
	pid := s.pid
	switch {
	case refusal != "":
		r = message(431, refusal)
		kind = routeUnknown // the access log has no line for it
	case kind == routeRoot:
		r = s.root(h.Method)
	case kind == routePing || kind == routeVersion:
		r = s.mlflowHealth(kind)
	case kind == routeSwagger:
		r = s.describe(ctx, h)
	case s.settings.MLflow:
		r, pid = s.mlflowScore(ctx, kind, h, in, id.request)
	default:
		r, pid = s.score(ctx, h, in, id.request, nil)
	}
	s.sign(&r, h, id)
	logged := kind == routeScore || kind == routeInvocations || kind == routeSwagger && h.Method != "OPTIONS"
	if logged && !r.Silent && !s.settings.NoAccessLog {
		s.log.Access(pid, h.Method, h.Path, h.Query, r.Status, time.Since(began), r.length())
	}
	return r
}

// length is that of the body; -1 when it comes in pieces.
func (r *Reply) length() int64 {
	if r.Stream != nil {
		return -1
	}
	if r.File != nil {
		return r.Length
	}
	return int64(len(r.Body))
}

// refuse answers what has no route; such answers carry no ids.
func (s *Server) refuse(kind routeKind, method string) (Reply, bool) {
	allowed := false
	switch kind {
	case routeUnknown:
		return message(404, textNotFound), true
	case routeInvocations:
		allowed = method == "POST"
	case routeScore:
		allowed = method == "GET" || method == "POST" || method == "OPTIONS" || method == "HEAD"
	case routeRoot, routeSwagger:
		allowed = method == "GET" || method == "HEAD" || method == "OPTIONS"
	default:
		allowed = method == "GET" || method == "HEAD"
	}
	if !allowed {
		return message(405, textMethod), true
	}
	return Reply{}, false
}

// readOptions answers OPTIONS of a route that can only be read.
func readOptions() Reply {
	return Reply{Status: 200, Type: typeHTML, Fields: []Field{{"Allow", "HEAD, GET, OPTIONS"}}}
}

// describe answers with a description of the service.
func (s *Server) describe(ctx context.Context, h Head) Reply {
	if h.Method == "OPTIONS" {
		return readOptions()
	}
	t := s.pool.Takes(ctx)
	if t == nil {
		return Reply{Silent: true}
	}
	return swagger(t, h.Query)
}

func (s *Server) root(method string) Reply {
	if method == "OPTIONS" {
		return readOptions()
	}
	if phase, _ := s.pool.Phase(); phase != PhaseReady {
		return Reply{Status: 503, Type: typeHTML, Body: []byte("Not ready: " + string(phase))}
	}
	return Reply{Status: 200, Type: typeHTML, Body: []byte("Healthy")}
}

// longestHold bounds how long a question about health may ask to be held.
const longestHold = 10 * time.Second

// hold waits with an answer about health for as long as it would be the one the
// client has: "Prefer: wait=1" and "If-None-Match: "import"" are answered when the
// import is over, or after a second; with the version of an earlier answer, when
// anything that is told has changed. Nobody then has to ask again and again.
func (s *Server) hold(ctx context.Context, h Head) {
	prefer, _ := h.Get("Prefer")
	text, asks := strings.CutPrefix(prefer, "wait=")
	seconds, err := strconv.Atoi(text)
	if !asks || err != nil || seconds <= 0 {
		return
	}
	known, _ := h.Get("If-None-Match")
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(seconds)*time.Second, longestHold))
	defer cancel()
	go func() {
		select {
		case <-s.drain:
			cancel()
		case <-ctx.Done():
		}
	}()
	s.pool.Await(ctx, strings.Trim(known, `"`))
}

// health answers the two questions that need no worker.
func (s *Server) health(kind routeKind, inside bool) Reply {
	if kind == routeLive && inside {
		return s.live()
	}
	phase, since := s.pool.Phase()
	seconds := int(time.Since(since).Seconds())
	if kind == routeLive {
		return Reply{Status: 200, Type: typeJSON,
			Body: fmt.Appendf(nil, `{"live":true,"phase":%q,"seconds":%d}`, phase, seconds)}
	}
	r := Reply{Status: 200, Type: typeJSON, Body: fmt.Appendf(nil, `{"live":true,"ready":%t,"phase":%q,"seconds":%d}`,
		phase == PhaseReady, phase, seconds)}
	if phase != PhaseReady {
		r.Status = 503
	}
	return r
}

// live tells all that is known, without a worker.
func (s *Server) live() Reply {
	known := s.pool.Live()
	text, err := plainJSON(known)
	if err != nil {
		return message(500, textInternal) // nothing in it cannot be encoded
	}
	return Reply{Status: 200, Type: typeJSON, Body: text, Fields: []Field{{"ETag", `"` + known.Version + `"`}}}
}

// sign adds the headers that every answer of a route has.
func (s *Server) sign(r *Reply, h Head, id ids) {
	add := func(name, value string) {
		if value != "" {
			r.Fields = append(r.Fields, Field{name, value})
		}
	}
	set := func(name, value string) {
		if value != "" && r.Type == "" { // the script may have named it
			r.drop(name)
		}
		add(name, value)
	}
	add("x-ms-server-version", s.settings.Version)
	set("x-request-id", id.request)
	set("x-ms-request-id", id.legacy)
	set("x-ms-client-request-id", id.client)
	if trace, ok := h.Get("Traceid"); ok {
		r.Fields = append(r.Fields, Field{"TraceId", trace})
	}
	if s.settings.CrossOrigin != nil && !r.has("Access-Control-Allow-Origin") {
		r.Fields = append(r.Fields, s.settings.CrossOrigin.fields(h)...)
	}
}

// score has run() called and says which process did it. A worker with a model
// of MLflow is told how it is called.
func (s *Server) score(ctx context.Context, h Head, in io.Reader, id string, how []byte) (Reply, int) {
	t := s.pool.takes.Load()
	if t == nil && s.settings.MLflow {
		t = modelTakes
	}
	if h.Method == "OPTIONS" || h.Method == "HEAD" {
		// Only scripts that take the whole request take these.
		if t == nil {
			t = s.pool.Takes(ctx)
		}
		if t == nil {
			return Reply{Silent: true}, s.pid
		}
		if t.Kind != kindRaw {
			return notForRun(h.Method), s.pid
		}
	}
	if s.inFlight.Load() > int64(s.settings.Queue+slots*s.settings.Workers) {
		return notStarted("The server has too many requests."), s.pid
	}
	c := &call{get: h.Method == "GET", request: id, headers: how, done: make(chan result, 1)}
	if c.get || t == nil || t.Whole {
		c.query = h.Query
	}
	if !c.get || t == nil || t.Whole {
		b, err := s.pool.shelf.read(in, h.Length, s.settings.MaxBody)
		if err != nil {
			return bodyRefused(err), s.pid
		}
		c.body = b
	}
	c.describe(h, t)
	if err := s.pool.Submit(c); err != nil {
		c.body.release()
		return notStarted("The server has no worker that can take the request."), s.pid
	}
	select {
	case r := <-c.done:
		reply := s.scored(ctx, r)
		if r.head != nil && reply.Status != 0 && !s.settings.NoAccessLog {
			s.log.Record('I', r.pid, "azmlinfsrv", "run() output is HTTP Response")
		}
		if r.pid == 0 {
			r.pid = s.pid
		}
		return reply, r.pid
	case <-ctx.Done():
		s.pool.Abandon(c)
		select {
		case r := <-c.done: // it came at the same moment
			r.discard()
		default:
		}
		return Reply{Silent: true}, s.pid
	}
}

// describe adds what a script takes beside the body; all of it when that is not
// known yet.
func (c *call) describe(h Head, t *takes) {
	if t == nil || t.Headers || t.Whole {
		c.headers = h.Headers()
	}
	if t == nil || t.Whole {
		c.whole = h.Whole()
	}
	if t == nil || t.Kind == kindSchema {
		kind, _ := h.Get("Content-Type")
		c.json = isJSON(kind)
	}
}

// notForRun answers a method for which run() is not called.
func notForRun(method string) Reply {
	if method == "OPTIONS" {
		return Reply{Status: 200, Type: typeHTML, Fields: []Field{{fieldFailed, "False"}}}
	}
	return message(405, textHead)
}

// bodyRefused is for a body that was not read to its end: the connection cannot
// be used again.
func bodyRefused(err error) Reply {
	r := message(400, "The request body could not be read.")
	switch {
	case errors.Is(err, errTooLarge):
		r = message(413, textTooLarge)
	case errors.Is(err, errNoMemory):
		r = notStarted("The server has no memory left for request bodies.")
	}
	r.Close = true
	return r
}

// scored turns what a worker answered into what the client gets.
func (s *Server) scored(ctx context.Context, r result) Reply {
	switch {
	case errors.Is(r.err, errNotStarted):
		return notStarted("The server has no worker that can take the request.")
	case r.err != nil:
		return failed(textScript)
	}
	switch r.outcome {
	case frame.OK:
		if r.head != nil {
			return headed(ctx, r)
		}
		return Reply{Status: 200, Type: typeJSON, Body: r.body, File: r.file, Length: r.length, Fields: []Field{
			{fieldFailed, "False"}, {"x-ms-run-fn-exec-ms", milliseconds(r.ran)}}}
	case frame.BadInput:
		return refusedInput(r)
	case frame.NotJSON:
		return Reply{Status: 415, Type: typeJSON, Body: r.body, File: r.file, Length: r.length, Fields: []Field{{fieldFailed, "False"}}}
	case frame.Internal:
		return message(500, textInternal)
	case frame.TimedOut:
		return failed(fmt.Sprintf("Scoring timeout after %d ms", s.settings.Timeout.Milliseconds()))
	case frame.Canceled:
		// Only what was abandoned is canceled, and then nobody listens.
		return Reply{Silent: true}
	}
	return failed(textScript)
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64)
}
