package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// The bounds of request bodies, in bytes.
const (
	maxJSON = 4 << 20
	maxTree = 64 << 20
)

// request is a request on its way through the handler.
type request struct {
	*http.Request
	vars  map[string]string
	query url.Values
	actor sluice.Actor
	scope arm.Scope
	id    string
	// public is the address under which the client can reach this server.
	public string
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := &request{Request: hr, id: uuid.NewString(), public: s.publicURL(hr)}
	rec := &recorder{ResponseWriter: w}
	started := time.Now()
	s.commonHeaders(rec, r)
	err := s.serve(rec, r)
	if err != nil && !rec.wrote {
		s.writeError(rec, r, err)
	}
	if err != nil && rec.status < 500 && rec.status != 0 {
		s.logRefusal(r, rec.status, err)
		return
	}
	s.Logger.Debug("request", "id", r.id, "method", r.Method, "path", shorten(r.URL.Path),
		"status", rec.status, "by", r.actor.Name, "took", time.Since(started).String())
}

// serve finds the route and runs it. A panic becomes an error.
func (s *server) serve(w http.ResponseWriter, r *request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	s.hurry(w, r)
	path := splitPath(r.URL)
	route, vars, allowed := match(s.routes, r.Method, path)
	if route == nil || !route.open {
		if err := s.authenticate(r); err != nil {
			return err
		}
		s.trust(w, r)
	}
	if route == nil {
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return errMethod{r.Method}
		}
		return noRoute(path)
	}
	r.vars = vars
	if r.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return sluice.Errorf(sluice.CodeInvalid, "the query of the address is malformed")
	}
	if !route.plain && r.param("api-version") == "" {
		return errVersion{}
	}
	if route.signed {
		if err := s.checkSignature(r); err != nil {
			return err
		}
		s.trust(w, r)
	}
	if err := s.enterWorkspace(r); err != nil {
		return err
	}
	return route.handle(s, w, r)
}

func (s *server) authenticate(r *request) error {
	actor, err := s.Authenticate(r.Request)
	if err != nil {
		return err
	}
	if actor.From == "" {
		actor.From = r.RemoteAddr
	}
	if actor.Client == "" {
		actor.Client = r.UserAgent()
	}
	r.actor = actor
	return nil
}

// enterWorkspace makes sure that the workspace in the path exists, and takes
// its name as it was first written.
func (s *server) enterWorkspace(r *request) error {
	name, ok := r.vars["ws"]
	r.scope = arm.Scope{Subscription: r.vars["sub"], ResourceGroup: r.vars["rg"], Workspace: name}
	if !ok {
		return nil
	}
	ws, err := get[*sluice.Workspace](r.Context(), s, sluice.Key{Workspace: name, Kind: sluice.KindWorkspace, Name: name})
	if err != nil {
		return err
	}
	r.scope.Workspace = ws.Name
	return nil
}

// param gives a query parameter by its name in any case.
func (r *request) param(name string) string {
	if v := r.query.Get(name); v != "" {
		return v
	}
	for k, v := range r.query {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

func (r *request) decode(v any) error { return arm.Decode(r.Body, maxJSON, v) }

// publicURL gives the address under which the client can reach this server.
// An address that only this machine has is no use to a client that came by
// another name, through a tunnel for example.
func (s *server) publicURL(r *http.Request) string {
	configured := strings.TrimSuffix(s.public.String(), "/")
	host := s.public.Hostname()
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return configured
	}
	asked, err := url.Parse(s.public.Scheme + "://" + r.Host)
	if err != nil || r.Host == "" || asked.Host != r.Host || strings.ContainsAny(r.Host, "\"'<> ") {
		return configured
	}
	return asked.String()
}

func (s *server) commonHeaders(w http.ResponseWriter, r *request) {
	h := w.Header()
	h.Set("x-ms-request-id", r.id)
	correlation := r.Header.Get("x-ms-correlation-request-id")
	if correlation == "" || len(correlation) > 128 {
		correlation = r.id
	}
	h.Set("x-ms-correlation-request-id", correlation)
	if client := r.Header.Get("x-ms-client-request-id"); client != "" && len(client) <= 128 {
		h.Set("x-ms-client-request-id", client)
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *recorder) WriteHeader(status int) {
	w.status, w.wrote = status, true
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b) // a client that went away needs no answer
	return nil
}

type errMethod struct{ method string }

func (e errMethod) Error() string { return "method " + e.method + " is not allowed here" }

type errVersion struct{}

func (errVersion) Error() string {
	return "the api-version query parameter (?api-version=) is required for all requests"
}

// writeError is where every error becomes an answer.
func (s *server) writeError(w http.ResponseWriter, r *request, err error) {
	status, detail := arm.ErrorFrom(err)
	if e, ok := errors.AsType[errMethod](err); ok {
		status, detail = http.StatusMethodNotAllowed, arm.ErrorDetail{Code: "MethodNotAllowed", Message: e.Error()}
	}
	if e, ok := errors.AsType[errVersion](err); ok {
		status, detail = http.StatusBadRequest, arm.ErrorDetail{Code: "MissingApiVersionParameter", Message: e.Error()}
	}
	if status == http.StatusInternalServerError {
		if r.Context().Err() != nil {
			// The client is gone, or the server is stopping: nobody's fault.
			s.Logger.Debug("request abandoned", "id", r.id, "method", r.Method, "path", shorten(r.URL.Path), "error", err.Error())
			status, detail = http.StatusServiceUnavailable, arm.ErrorDetail{Code: "ServiceUnavailable", Message: "the server is stopping"}
		} else {
			s.Logger.Error("request failed", "id", r.id, "method", r.Method, "path", shorten(r.URL.Path), "by", r.actor.Name, "error", err.Error())
			detail.Message = "internal error (request " + r.id + ")"
			detail.Details = []arm.ErrorDetail{{Code: "Hint", Message: "the server's log has the details under this request id"}}
		}
	}
	w.Header().Set("x-ms-error-code", detail.Code)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if answer(w, status, arm.ErrorBody{Error: detail}) != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// get reads a resource of a known type.
func get[T sluice.Resource](ctx context.Context, s *server, key sluice.Key) (T, error) {
	var none T
	res, err := s.Store.Get(ctx, key)
	if err != nil {
		return none, whatThereIs(err, key)
	}
	typed, ok := res.(T)
	if !ok {
		return none, fmt.Errorf("reading %s: the store gave a %T", key, res)
	}
	return typed, nil
}

// whatThereIs adds to an error about something that does not exist the command
// that lists what does.
func whatThereIs(err error, key sluice.Key) error {
	var e *sluice.Error
	if !errors.As(err, &e) || e.Code != sluice.CodeNotFound || e.Hint != "" {
		return err
	}
	with := *e
	switch endpoint, _, _ := strings.Cut(key.Name, "/"); key.Kind {
	case sluice.KindEndpoint:
		with.Hint = "`sluice online-endpoint list` shows those that do"
	case sluice.KindDeployment:
		with.Hint = "`sluice online-deployment list -e " + endpoint + "` shows those that do"
	case sluice.KindModel, sluice.KindEnvironment:
		with.Hint = "`sluice " + string(key.Kind) + " list` shows those that do"
	}
	return &with
}

// find reads a resource that may not be there: then ok is false.
func find[T sluice.Resource](ctx context.Context, s *server, key sluice.Key) (res T, ok bool, err error) {
	res, err = get[T](ctx, s, key)
	if sluice.ErrorCode(err) == sluice.CodeNotFound {
		return res, false, nil
	}
	return res, err == nil, err
}

// listAll reads every resource that a query selects.
func listAll[T sluice.Resource](ctx context.Context, s *server, q sluice.Query) ([]T, error) {
	page, err := s.Store.List(ctx, q)
	if err != nil {
		return nil, err
	}
	out := make([]T, 0, len(page.Items))
	for _, item := range page.Items {
		if typed, ok := item.(T); ok {
			out = append(out, typed)
		}
	}
	return out, nil
}

// attempts is how often a decision is made again because somebody else wrote
// first: the reconciler does often, while much changes.
const attempts = 20

// decide runs f, and runs it again when what it decided on has changed since,
// after a pause that grows so that those who are in each other's way drift apart.
func decide(f func() error) error {
	var err error
	for n := range attempts {
		err = f()
		if code := sluice.ErrorCode(err); code != sluice.CodeStale {
			return err
		}
		time.Sleep(rand.N(min(time.Millisecond<<n, 50*time.Millisecond)))
	}
	return err
}
