// Package probe asks an address whether what answers there is live or ready,
// in the same way whichever engine runs it.
//
// A [Prober] asks one question and gives the answer as it came; it keeps no
// memory of what it asked. A [State] is that memory: a plain value, moved on by
// [State.Next] from one answer to the next, which says when to ask again and
// what the answers so far amount to.
//
//	state := probe.Begin(instance.Started)
//	for state.Verdict == probe.Waiting {
//		wait until state.Due(settings)
//		answer := prober.Check(ctx, address, probe.Question{Path: "/", Timeout: settings.Timeout})
//		state = state.Next(answer, time.Now(), settings)
//	}
//
// A Prober may be used by any number of goroutines. A State is a value and
// belongs to whoever holds it.
//
// What answers is not trusted: heads and bodies are read up to a bound,
// redirects are not followed, no proxy is asked.
package probe

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// MaxBody bounds Answer.Body, in bytes, where the question does not.
const MaxBody = 1024

// DefaultTimeout bounds a question that names no bound of its own.
const DefaultTimeout = 2 * time.Second

const (
	maxHead    = 16 << 10
	unixSuffix = ".unix"
)

// Question is what to ask of an address.
type Question struct {
	Path    string        // "/" when empty
	Timeout time.Duration // from dialling to the end of the body; DefaultTimeout when 0
	// Known, when not empty, is what was answered before. What is asked may wait
	// until it would answer otherwise, for whole seconds up to Wait, a second when
	// 0; most answer at once. Timeout must be longer.
	Known string
	Wait  time.Duration
	// MaxBody bounds the answer's body; MaxBody when 0.
	MaxBody int64
}

// Answer is what came back.
type Answer struct {
	Status int           // of the HTTP answer, 0 where none came
	Body   []byte        // its first bytes, up to the bound
	Err    error         // why no answer came
	Took   time.Duration // from asking to knowing
}

// OK reports whether the answer says yes: any status from 200 to 399.
func (a Answer) OK() bool { return a.Err == nil && a.Status >= 200 && a.Status < 400 }

// String says what the answer was, in a few words for a person.
func (a Answer) String() string {
	if a.Err != nil {
		return "gave no answer: " + a.Err.Error()
	}
	return fmt.Sprintf("answered %d %s", a.Status, http.StatusText(a.Status))
}

// Options adjust a Prober. The zero value serves.
type Options struct {
	UserAgent string // "sluice-probe" when empty
}

// Prober asks questions over HTTP. Every question has a connection of its own,
// so that an answer also says that the address still accepts one.
type Prober struct {
	client    *http.Client
	userAgent string
}

// New makes a Prober. It holds nothing that must be closed.
func New(o Options) *Prober {
	if o.UserAgent == "" {
		o.UserAgent = "sluice-probe"
	}
	return &Prober{userAgent: o.UserAgent, client: &http.Client{
		Transport: &http.Transport{
			DialContext:            dial,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHead,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Check asks the address ("unix:///path/of/socket" or "http://host:port")
// and returns when it has answered, when the question has timed out, or when
// ctx is done, whichever is first.
func (p *Prober) Check(ctx context.Context, address string, q Question) Answer {
	began := time.Now()
	if q.Timeout <= 0 {
		q.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	status, body, err := p.ask(ctx, address, q)
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("nothing within %s: %w", q.Timeout, context.DeadlineExceeded)
	}
	return Answer{Status: status, Body: body, Err: err, Took: time.Since(began)}
}

func (p *Prober) ask(ctx context.Context, address string, q Question) (int, []byte, error) {
	target, err := resolve(address, q.Path)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return 0, nil, fmt.Errorf("asking %s: %w", address, err)
	}
	req.Header.Set("User-Agent", p.userAgent)
	if wait := cmp.Or(q.Wait, time.Second); q.Known != "" && q.Timeout > wait { // by RFC 7240 and RFC 9110
		req.Header.Set("Prefer", fmt.Sprintf("wait=%d", int(wait.Seconds())))
		req.Header.Set("If-None-Match", `"`+q.Known+`"`)
	}
	if strings.HasSuffix(target.Host, unixSuffix) {
		req.Host = "localhost"
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("asking %s: %w", address, plain(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, cmp.Or(q.MaxBody, MaxBody)))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer of %s: %w", address, err)
	}
	return resp.StatusCode, body, nil
}

// resolve turns an address and a path into what is asked. A socket's path
// becomes the host, in hexadecimal: the transport may hand a connection that
// one request dialled to another with the same host, so two sockets must never
// share one.
func resolve(address, path string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("address %q is not a URL", address)
	}
	want, err := url.Parse("/" + strings.TrimPrefix(path, "/"))
	if err != nil || want.Host != "" {
		return nil, fmt.Errorf("path %q cannot be asked", path)
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		want.Scheme, want.Host = "http", hex.EncodeToString([]byte(u.Path))+unixSuffix
	case u.Scheme == "http" && u.Host != "" && !strings.HasSuffix(u.Hostname(), unixSuffix):
		want.Scheme, want.Host = "http", u.Host
	default:
		return nil, fmt.Errorf("address %q is neither unix:///path nor http://host:port", address)
	}
	return want, nil
}

func dial(ctx context.Context, network, hostPort string) (net.Conn, error) {
	var d net.Dialer
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	encoded, isUnix := strings.CutSuffix(host, unixSuffix)
	if !isUnix {
		return d.DialContext(ctx, network, hostPort)
	}
	path, err := hex.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	return d.DialContext(ctx, "unix", string(path))
}

// plain takes off the wrapping that would show the encoded host.
func plain(err error) error {
	if u, ok := err.(*url.Error); ok {
		return u.Err
	}
	return err
}
