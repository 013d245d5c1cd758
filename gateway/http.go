package gateway

// This is the only file that knows an HTTP library; a test keeps it so.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/identity/verify"
)

const (
	maxHead    = 64 << 10        // bytes of a request's head; the library lets 4 KiB more pass
	grace      = time.Second     // for reads and writes that a deadline has ended
	linger     = time.Second / 4 // for the rest of a body that is not wanted
	dialWithin = 2 * time.Second // an instance that does not accept by then has refused
	idleConn   = 30 * time.Second

	// maxAnswerHead is more than maxHead: a scoring server sends back fields
	// that it was sent, and a caller must not make an instance look broken by
	// long ones.
	maxAnswerHead = maxHead + 16<<10
)

// Serve takes requests from l until ctx is done, over TLS unless config is
// nil. Then it takes no new ones, lets the running ones end for at most
// Config.Drain, and returns nil. It closes l. It also keeps the copy of the
// routes on disk, so it is called once.
func (g *Gateway) Serve(ctx context.Context, l net.Listener, config *tls.Config) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := &http.Server{
		Handler:           g.Handler(),
		TLSConfig:         config,
		ReadHeaderTimeout: g.config.HeaderTime,
		IdleTimeout:       g.config.IdleAfter,
		WriteTimeout:      sluice.MaxRequestTimeout + g.config.HeaderTime + 30*time.Second,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          slog.NewLogLogger(g.config.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	var keeping sync.WaitGroup
	keepCtx, stopKeeping := context.WithCancel(base)
	keeping.Go(func() { g.kept.run(keepCtx) })
	defer keeping.Wait()
	defer stopKeeping()

	served := make(chan error, 1)
	go func() {
		if config != nil {
			served <- server.ServeTLS(l, "", "")
		} else {
			served <- server.Serve(l)
		}
	}()
	select {
	case err := <-served:
		server.Close()
		return fmt.Errorf("serving endpoints: %w", err)
	case <-ctx.Done():
	}
	g.draining.Store(true)
	drain, cancel := context.WithTimeout(base, g.config.Drain)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		g.config.Logger.Warn("stopping with requests still running", "error", err)
		server.Close()
	}
	<-served
	context.AfterFunc(drain, cut)
	g.upgrades.Wait()
	return nil
}

// Handler serves endpoints and the gateway's own paths.
func (g *Gateway) Handler() http.Handler { return http.HandlerFunc(g.serveHTTP) }

func (g *Gateway) serveHTTP(w http.ResponseWriter, r *http.Request) {
	head := Head{Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Length: r.ContentLength, Fields: r.Header}
	where, found := locate(head.Host, head.Path, g.config.Domain)
	if !found && g.serveOwn(w, r, head) {
		return
	}
	c := &call{id: newID(), clientID: clientID(head.Fields), began: time.Now(), peer: r.RemoteAddr,
		method: r.Method, place: where, status: statusInternal}
	defer g.end(w, r, c)

	ids := []string{c.id}
	h := w.Header()
	h[fieldRequestID], h[fieldMSRequestID] = ids, ids
	if c.clientID != "" {
		h[fieldClientID] = []string{c.clientID}
	}
	refused := refuseUnknown()
	if found {
		refused = g.serveEndpoint(w, r, head, c)
	}
	if refused != nil {
		g.refuse(w, r, c, refused)
	}
}

// end counts and logs the request however it ended. A panic that is not our
// own cut of the connection is a fault of ours.
func (g *Gateway) end(w http.ResponseWriter, r *http.Request, c *call) {
	fault := recover()
	if fault != nil && fault != http.ErrAbortHandler {
		g.config.Logger.Error("serving a request panicked", "requestId", c.id, "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
		c.status, c.reason = statusInternal, "panic"
	}
	g.finish(c)
	if fault != nil {
		panic(http.ErrAbortHandler)
	}
}

func (g *Gateway) serveEndpoint(w http.ResponseWriter, r *http.Request, head Head, c *call) *refusal {
	if hasDotSegment(c.place.rest) {
		return refusePath()
	}
	e, p := g.find(c.place.key)
	if p == nil {
		return refuseUnknown()
	}
	if refused := authenticate(head.Fields, &p.routes); refused != nil {
		return refused
	}
	t, refused := choose(head.Fields, p, rand.IntN)
	if refused != nil {
		return refused
	}
	c.deployment, c.tally = t.Name, t.tally
	w.Header()[fieldDeployment] = []string{t.Name}
	return g.forward(w, r, head, c, e, t)
}

// forward sends the request to an instance, and to another while none can have
// begun it, until the deadline.
func (g *Gateway) forward(w http.ResponseWriter, r *http.Request, head Head, c *call, e *endpoint, t *target) *refusal {
	ctx, cancel := context.WithDeadline(r.Context(), c.began.Add(t.Timeout))
	defer cancel()
	body, refused := g.receive(w, r, head, c, t)
	if refused != nil {
		return refused
	}
	if body.stream != nil {
		// A read that waits for the caller would keep the request alive.
		control := http.NewResponseController(w)
		defer context.AfterFunc(ctx, func() {
			body.stream.interrupt(func() { _ = control.SetReadDeadline(time.Now()) })
		})()
		defer body.stream.over()
	}
	tally := t.tally
	if !tally.admit(t.limit) {
		return refuseBusy(&t.plan.routes, t)
	}
	defer tally.leave()

	out := outgoing(ctx, r, c)
	for {
		b, newest, refused := g.acquire(ctx, e, t)
		if refused != nil {
			return refused
		}
		t = newest
		c.instance = b.id
		c.attempts++
		if ended, refused := g.try(w, r, c, t, b, out, body); ended {
			return refused
		}
		out = another(out)
	}
}

// receive takes a short body whole, so that a slow caller holds no place in
// the deployment and the request can be tried again; a longer one, or one of
// unknown length, is streamed.
func (g *Gateway) receive(w http.ResponseWriter, r *http.Request, head Head, c *call, t *target) (payload, *refusal) {
	if head.Length == 0 || r.Body == http.NoBody {
		return payload{}, nil
	}
	if head.Length > g.config.MaxBody {
		return payload{}, refuseLarge(g.config.MaxBody)
	}
	// Nothing that the caller fails to send may hold us beyond the deadline.
	// Once the body is here no read may end by it: the library watches the
	// connection with one, and takes its failure for the caller's leaving, in
	// later requests on the connection too.
	control := http.NewResponseController(w)
	deadline := c.began.Add(t.Timeout)
	if head.Length < 0 || head.Length > maxKeep {
		_ = control.EnableFullDuplex() // HTTP/2 always is
		_ = control.SetReadDeadline(deadline.Add(grace))
		return payload{stream: &stream{from: r.Body, left: g.config.MaxBody}}, nil
	}
	_ = control.SetReadDeadline(deadline)
	whole := make([]byte, head.Length)
	n, err := io.ReadFull(r.Body, whole)
	_ = control.SetReadDeadline(time.Time{})
	c.received = int64(n)
	switch {
	case err == nil:
		return payload{whole: whole}, nil
	case isTimeout(err):
		return payload{}, refuseLate(&t.plan.routes, t, "the request's body did not arrive")
	}
	c.detail = err.Error()
	return payload{}, errClientGone
}

// outgoing makes the request for the instance. It reuses the header of r.
func outgoing(ctx context.Context, r *http.Request, c *call) *http.Request {
	forwardFields(r.Header, c, r.ProtoMajor == 1)
	out := r.WithContext(ctx)
	out.URL = &url.URL{Scheme: "http", RawPath: c.place.rest, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	var err error
	if out.URL.Path, err = url.PathUnescape(c.place.rest); err != nil {
		out.URL.Path, out.URL.RawPath = c.place.rest, "" // not to be had: the server has parsed it
	}
	out.RequestURI, out.Close, out.TransferEncoding = "", false, nil
	return out
}

// another gives a copy of out for another try: the first may still be held by
// the library.
func another(out *http.Request) *http.Request {
	out = out.WithContext(out.Context())
	to := *out.URL
	out.URL = &to
	return out
}

// try sends the request to one instance and the answer back. It reports false
// when the request was not begun there and may be tried elsewhere.
func (g *Gateway) try(w http.ResponseWriter, r *http.Request, c *call, t *target, b *backend, out *http.Request, body payload) (ended bool, _ *refusal) {
	defer g.release(b, t)
	up := b.up.Load()
	out.URL.Host = up.host
	out.Body = body.open()
	out.GetBody = nil
	if body.whole != nil {
		out.GetBody = func() (io.ReadCloser, error) { return body.open(), nil }
	}
	began := time.Now()
	answer, err := up.transport.RoundTrip(out)
	if body.stream != nil {
		c.received = body.stream.count.Load()
	}
	if err != nil {
		return g.failed(c, t, b, out, body, err)
	}
	defer answer.Body.Close()
	if answer.Header.Get(fieldNotStarted) == "true" && answer.StatusCode >= 400 {
		b.setAside(time.Now())
		c.model = answer.StatusCode
		if body.again() {
			return false, nil
		}
		return true, refuseUnstarted(&t.plan.routes, t)
	}
	b.succeed()
	g.relay(w, r, c, t, out, answer, time.Since(began))
	return true, nil
}

// failed decides what the failure of a try means.
func (g *Gateway) failed(c *call, t *target, b *backend, out *http.Request, body payload, err error) (ended bool, _ *refusal) {
	c.detail = err.Error()
	if body.stream != nil {
		switch body.stream.state.Load() {
		case streamLarge:
			return true, refuseLarge(g.config.MaxBody)
		case streamFailed:
			if out.Context().Err() == nil {
				return true, errClientGone
			}
		}
	}
	// What came first counts: the end of the deadline also ends r's context,
	// by the read that it interrupts.
	switch out.Context().Err() {
	case context.DeadlineExceeded:
		return true, refuseLate(&t.plan.routes, t, "the model did not answer")
	case context.Canceled:
		return true, errClientGone
	}
	b.setAside(time.Now())
	if notBegun(err, b.up.Load().scoring && takenWhole(c.method, body)) && body.again() {
		return false, nil
	}
	return true, refuseLost(&t.plan.routes, t, b.id)
}

// relay passes the instance's answer on as it comes.
func (g *Gateway) relay(w http.ResponseWriter, r *http.Request, c *call, t *target, out *http.Request, answer *http.Response, took time.Duration) {
	c.model = answer.StatusCode
	if answer.StatusCode == http.StatusSwitchingProtocols {
		g.upgrade(w, r, c, t, out, answer)
		return
	}
	h := w.Header()
	status := answerFields(h, answer.Header, c, t, answer.StatusCode, took)
	c.status = status
	streaming := answer.ContentLength < 0
	if streaming || answer.ContentLength > maxKeep {
		_ = http.NewResponseController(w).SetWriteDeadline(c.began.Add(t.Timeout + grace))
	}
	announced := len(answer.Trailer)
	for name := range answer.Trailer {
		h.Add("Trailer", name)
	}
	w.WriteHeader(status)
	flush := w.(http.Flusher).Flush
	if streaming {
		flush() // the head must not wait for the first chunk
	}
	fromModel, err := copyBody(w, flush, answer.Body, answer.ContentLength, &c.sent)
	if err != nil {
		g.cut(out, c, fromModel, err)
	}
	for name, values := range answer.Trailer {
		if len(answer.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

// cut ends a request whose answer had begun: the connection is broken, so that
// the caller cannot take the part for the whole.
func (g *Gateway) cut(out *http.Request, c *call, fromModel bool, err error) {
	c.detail = err.Error()
	switch {
	case out.Context().Err() == context.DeadlineExceeded:
		c.reason = "timeout"
	case fromModel && out.Context().Err() == nil:
		c.reason = "instance_lost"
	default:
		c.status, c.reason = statusClientGone, errClientGone.reason
	}
	panic(http.ErrAbortHandler)
}

// upgrade joins the two connections until one ends, or the deadline comes.
func (g *Gateway) upgrade(w http.ResponseWriter, r *http.Request, c *call, t *target, out *http.Request, answer *http.Response) {
	want, got := out.Header.Get("Upgrade"), upgradeOf(answer.Header)
	model, ok := answer.Body.(io.ReadWriteCloser)
	if !ok || want == "" || !strings.EqualFold(want, got) {
		c.detail = fmt.Sprintf("asked for an upgrade to %.40q, got %.40q", want, got)
		g.refuse(w, r, c, refuseLost(&t.plan.routes, t, c.instance))
		return
	}
	g.upgrades.Add(1)
	defer g.upgrades.Done()
	h := w.Header()
	answerFields(h, answer.Header, c, t, statusOK, 0)
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{got}
	caller, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		c.detail = err.Error()
		g.refuse(w, r, c, refuseInternal())
		return
	}
	defer caller.Close()
	_ = caller.SetDeadline(time.Time{})
	c.status = http.StatusSwitchingProtocols
	both := context.AfterFunc(out.Context(), func() { caller.Close(); model.Close() })
	defer both()
	fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\n")
	if err := errors.Join(h.Write(buffered), endHead(buffered)); err != nil {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		c.sent, _ = io.Copy(caller, model)
		caller.Close()
	}()
	c.received, _ = io.Copy(model, buffered)
	model.Close()
	<-back
}

// refuse answers for the gateway itself.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, c *call, why *refusal) {
	c.status, c.reason = why.status, why.reason
	if why.status == statusClientGone {
		panic(http.ErrAbortHandler) // nobody is left to answer
	}
	h := w.Header()
	text := why.body()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	if why.hint != "" {
		h[fieldHint] = []string{why.hint}
	}
	switch why.status {
	case statusUnauthorized:
		h["Www-Authenticate"] = []string{`Bearer realm="sluice"`}
	case statusTooMany:
		h["Retry-After"] = []string{"1"}
	case statusFailedDependency:
		h[fieldModelReason] = []string{why.reason}
	}
	if c.received != r.ContentLength {
		leaveBody(w, r)
	}
	w.WriteHeader(why.status)
	n, _ := w.Write(text)
	c.sent = int64(n)
}

// leaveBody is for a request whose body, or the rest of it, is not wanted:
// without this the server would read it before it answers, for as long as the
// caller likes.
func leaveBody(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		w.Header()["Connection"] = []string{"close"}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(linger))
	}
}

// serveOwn answers what is asked of the gateway itself, if it is.
func (g *Gateway) serveOwn(w http.ResponseWriter, r *http.Request, head Head) bool {
	if head.Method != http.MethodGet && head.Method != http.MethodHead {
		return false
	}
	status, text := http.StatusOK, "ok\n"
	switch head.Path {
	case "/healthz":
	case "/readyz":
		if !g.started.Load() {
			status, text = statusUnavailable, "no routes yet\n"
		} else if g.draining.Load() {
			status, text = statusUnavailable, "stopping\n"
		}
	case "/metrics":
		values := head.Fields.Values(fieldAuthorization)
		token, ok := "", false
		if len(values) == 1 {
			token, ok = verify.Bearer(values[0])
		}
		if !ok || !verify.Key(token, g.config.AdminDigest) {
			w.Header()["Www-Authenticate"] = []string{`Bearer realm="sluice"`}
			status, text = statusUnauthorized, "metrics need the admin credential\n"
			break
		}
		text = g.metrics()
	default:
		return false
	}
	leaveBody(w, r)
	w.Header()["Content-Type"] = []string{"text/plain; version=0.0.4; charset=utf-8"}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
	return true
}

// upstream is the way to one address of an instance.
type upstream struct {
	address   string
	host      string
	scoring   bool // a scoring server: it takes a request whole before it begins it
	transport *http.Transport
}

// newUpstream makes the way to unix:///path or http://host:port.
func newUpstream(address string) (*upstream, error) {
	network, to, err := dialable(address)
	if err != nil {
		return nil, err
	}
	u := &upstream{address: address, host: "instance", scoring: network == "unix"}
	if network == "tcp" {
		u.host = to
	}
	dialer := &net.Dialer{Timeout: dialWithin}
	u.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, to)
			if err != nil {
				return nil, &refusedError{err}
			}
			return conn, nil
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        idleConn,
		MaxResponseHeaderBytes: maxAnswerHead,
	}
	return u, nil
}

// close lets go of kept connections; requests that run go on.
func (u *upstream) close() { u.transport.CloseIdleConnections() }
