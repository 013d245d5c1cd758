package scoring

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// This is the only file that knows net/http, so that the HTTP layer can be
// replaced under the server.

// front is the HTTP layer: it turns requests into heads, and replies into
// responses.
type front struct {
	server  *http.Server
	open    sync.Map     // net.Conn to *caller
	callers atomic.Int64 // connections that carried more than questions about health
}

// caller is what is known of one connection.
type caller struct{ scores atomic.Bool }

type callerKey struct{}

const (
	headerTime    = 30 * time.Second // for a request's head to arrive
	idleTime      = 10 * time.Minute // longer than any gateway keeps a connection
	maxHeadBytes  = 256 << 10
	maxDrainBytes = 256 << 10 // of an unread body, to keep the connection
)

func newFront(s *Server) *front {
	f := &front{}
	handler := func(rw http.ResponseWriter, r *http.Request) {
		f.note(r)
		writeReply(rw, r, s.answer(r.Context(), headOf(r), r.Body))
	}
	f.server = &http.Server{
		Handler:           http.HandlerFunc(handler),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeadBytes,
		ErrorLog:          nil,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			c := &caller{}
			f.open.Store(conn, c)
			return context.WithValue(ctx, callerKey{}, c)
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state != http.StateClosed && state != http.StateHijacked {
				return
			}
			if c, known := f.open.LoadAndDelete(conn); known && c.(*caller).scores.Load() {
				f.callers.Add(-1)
			}
		},
	}
	return f
}

// note counts the connection of a request that is for a worker.
func (f *front) note(r *http.Request) {
	c, known := r.Context().Value(callerKey{}).(*caller)
	if known && !c.scores.Load() && !asksHealth(routeOf(r.URL.Path)) {
		c.scores.Store(true)
		f.callers.Add(1)
	}
}

// serve accepts on all listeners until one fails or close is called.
func (f *front) serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		_ = f.server.Close() // connections only; there is nothing to lose any more
	})
	defer stop()
	if err := f.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func headOf(r *http.Request) Head {
	return Head{
		Method: r.Method,
		Path:   r.URL.Path,
		Query:  r.URL.RawQuery,
		Length: r.ContentLength,
		Get: func(name string) (string, bool) {
			values := r.Header[name]
			if len(values) == 1 {
				return values[0], true
			}
			return strings.Join(values, ","), len(values) > 0
		},
		Inside:  inside(r),
		Headers: func() []byte { return encodeHeaders(r) },
		Whole:   func() []byte { return encodeWhole(r) },
	}
}

// encodeWhole gives what is known of a request beside its headers.
func encodeWhole(r *http.Request) []byte {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = "" // a Unix socket has none
	}
	return []byte(strings.Join([]string{r.Method, r.URL.EscapedPath(), r.Proto, host}, "\x00"))
}

// inside reports whether a request comes from whoever keeps the instance: by the
// Unix socket, which is theirs alone, and not by the gateway, which gives each
// request that it passes on an id.
func inside(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix" && len(r.Header["X-Request-Id"]) == 0
}

// encodeHeaders gives the headers as a worker gets them. Names with an
// underscore are left out, as the original's HTTP layer does: they would be
// taken for others.
func encodeHeaders(r *http.Request) []byte {
	out := make([]byte, 0, 512)
	add := func(name, value string) {
		if len(out) > 0 {
			out = append(out, 0)
		}
		out = append(append(append(out, name...), 0), value...)
	}
	add("Host", r.Host)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		if !strings.Contains(name, "_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		add(name, strings.Join(r.Header[name], ","))
	}
	if len(r.TransferEncoding) > 0 {
		add("Transfer-Encoding", strings.Join(r.TransferEncoding, ","))
	}
	return out
}

func writeReply(rw http.ResponseWriter, r *http.Request, reply Reply) {
	if reply.Done != nil {
		defer reply.Done()
	}
	if reply.File != nil {
		defer reply.File.Close()
	}
	if reply.Stream != nil {
		defer reply.Stream.leave()
	}
	if reply.Silent {
		panic(http.ErrAbortHandler) // ends the connection without a word
	}
	h := rw.Header()
	for _, f := range reply.Fields {
		h[f.Name] = append(h[f.Name], f.Value)
	}
	if reply.Type != "" {
		h["Content-Type"] = []string{reply.Type}
		h["Content-Length"] = []string{strconv.FormatInt(reply.length(), 10)}
	} else {
		ownHeaders(h, r, &reply)
	}
	if reply.Close {
		h["Connection"] = []string{"close"}
	}
	rw.WriteHeader(reply.Status)
	if r.Method == http.MethodHead {
		return
	}
	// Errors of writing are those of a client that is gone.
	if reply.Stream != nil {
		writeStream(rw, reply)
		return
	}
	if reply.File != nil {
		_, _ = io.Copy(rw, io.LimitReader(reply.File, reply.Length))
		return
	}
	_, _ = rw.Write(reply.Body)
}

// ownHeaders settles the headers that net/http would settle in its own way
// where a script has set them, or left them out.
func ownHeaders(h http.Header, r *http.Request, reply *Reply) {
	for _, name := range []string{"Content-Type", "Content-Length", "Date"} {
		var values []string
		for _, f := range reply.Fields {
			if strings.EqualFold(f.Name, name) {
				delete(h, f.Name)
				values = append(values, f.Value)
			}
		}
		if len(values) > 0 {
			h[name] = values
		}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or it would be guessed
	}
	switch {
	case reply.Status == http.StatusNoContent || reply.Status == http.StatusNotModified:
		delete(h, "Content-Length")
	case reply.Stream == nil && r.Method != http.MethodHead:
		h["Content-Length"] = []string{strconv.FormatInt(reply.length(), 10)}
	case len(h["Content-Length"]) > 1:
		h["Content-Length"] = h["Content-Length"][:1]
	}
}

// writeStream sends each piece as soon as it is there. A stream that breaks
// breaks the connection, so that the client does not take it for whole.
func writeStream(rw http.ResponseWriter, reply Reply) {
	control := http.NewResponseController(rw)
	for data, more := reply.First, true; more; data, more = <-reply.Stream.chunks {
		if _, err := rw.Write(data); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
	}
	if reply.Stream.err != nil {
		panic(http.ErrAbortHandler)
	}
}
