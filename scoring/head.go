package scoring

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf16"

	"github.com/google/uuid"
)

// Head is what is known of a request before its body: all that routing, ids and
// refusals are decided from, whatever HTTP layer is in front.
type Head struct {
	Method string
	Path   string // decoded
	Query  string // as sent
	Length int64  // of the body; -1 when not told
	// Get gives a header, repeated ones joined with commas; false when absent.
	Get func(name string) (string, bool)
	// Inside says that whoever keeps the instance asks, and no client of the
	// endpoint: only they are told what scripts raise and where they stand.
	Inside bool
	// Headers gives all of them as a worker gets them: name, value, separated
	// by zero bytes. It is called only when the script asks for them.
	Headers func() []byte
	// Whole gives, in the same way, method, path as sent, version of HTTP and
	// the client's address.
	Whole func() []byte
}

// Reply is an answer.
type Reply struct {
	Status int
	Type   string // "" when the fields say it
	Fields []Field
	Body   []byte
	File   *os.File // instead of Body; whoever writes the reply closes it
	Length int64
	// Stream is instead of Body, after First. Whoever writes the reply calls its
	// leave, whatever happens.
	Stream *stream
	First  []byte
	Done   func() // called when it is written; nil for nothing to call
	Close  bool   // the connection ends after it
	Silent bool   // nobody is there to hear it
}

// Field is one header of a reply, spelled as it is sent.
type Field struct{ Name, Value string }

const (
	typeJSON = "application/json"
	typeHTML = "text/html; charset=utf-8"

	maxID = 100 // characters

	textScript   = "An unexpected error occurred in scoring script. Check the logs for more info."
	textInternal = "An unexpected internal error occurred. Check the logs for more info."
	textNotFound = "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again."
	textMethod   = "The method is not allowed for the requested URL."
	textHead     = "Method not allowed"
	textTooLarge = "The data value transmitted exceeds the capacity limit."
	textRequest  = "x-request-id must not exceed 100 characters"
	textClient   = "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters"
)

const (
	fieldFailed     = "x-ms-run-function-failed"
	fieldNotStarted = "x-sluice-not-started"
)

// routeKind is what a request is for.
type routeKind int

const (
	routeScore routeKind = iota
	routeRoot
	routeSwagger
	routeLive
	routeReady
	routeInvocations // MLflow's, as the two below
	routePing
	routeVersion
	routeUnknown
)

func routeOf(path string) routeKind {
	// The original's HTTP layer takes any number of slashes in front for one.
	if strings.HasPrefix(path, "//") {
		path = "/" + strings.TrimLeft(path, "/")
	}
	switch path {
	case "/score":
		return routeScore
	case "/":
		return routeRoot
	case "/swagger.json":
		return routeSwagger
	case "/v2/health/live":
		return routeLive
	case "/v2/health/ready":
		return routeReady
	case "/invocations":
		return routeInvocations
	case "/ping", "/health":
		return routePing
	case "/version":
		return routeVersion
	}
	return routeUnknown
}

// asksHealth reports whether a route needs no worker.
func asksHealth(kind routeKind) bool {
	return kind == routeRoot || kind == routeLive || kind == routeReady || kind == routePing || kind == routeVersion
}

// ids are the three identifiers of a request; an empty one is not sent back.
type ids struct {
	request, legacy, client string
}

// idsOf reads the identifiers. With a refusal, those that are still valid come
// along. deprecated says that the caller used the old name for the client's id.
func idsOf(h Head) (id ids, refusal string, deprecated bool) {
	request, ok := h.Get("X-Request-Id")
	if !ok {
		request = uuid.NewString()
	}
	if len(request) > maxID {
		return ids{}, textRequest, false
	}
	legacy, _ := h.Get("X-Ms-Request-Id")
	client, _ := h.Get("X-Ms-Client-Request-Id")
	deprecated = legacy != ""
	switch {
	case deprecated && client == "":
		client = legacy
	case !deprecated && client != "":
		legacy = client
	case !deprecated:
		legacy = request
	}
	if len(legacy) > maxID || len(client) > maxID {
		return ids{request: request}, textClient, deprecated
	}
	return ids{request: request, legacy: legacy, client: client}, "", deprecated
}

// message makes an error reply, whose JSON has the single key "message".
func message(status int, text string) Reply {
	return Reply{Status: status, Type: typeJSON, Body: messageJSON(text),
		Fields: []Field{{fieldFailed, "False"}}}
}

// failed makes an error reply for what run() did.
func failed(text string) Reply {
	return Reply{Status: 500, Type: typeJSON, Body: messageJSON(text),
		Fields: []Field{{fieldFailed, "True"}}}
}

// messageJSON encodes as Python's json does.
func messageJSON(text string) []byte {
	return append(appendPython([]byte(`{"message": `), text), '}')
}

// appendPython appends a string as Python's json writes it: all ASCII.
func appendPython(b []byte, text string) []byte {
	b = append(b, '"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= '~' || r == 0x7f:
			b = append(b, byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}

// notStarted makes the reply for a request that nothing was begun for, so that
// it may be sent elsewhere.
func notStarted(why string) Reply {
	r := message(503, why)
	r.Fields = append(r.Fields, Field{fieldNotStarted, "true"})
	return r
}
