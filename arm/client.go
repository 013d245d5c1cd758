package arm

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// maxAnswer bounds one answer of the server, in bytes.
const maxAnswer = 64 << 20

// Options say which server to speak to, and as whom.
type Options struct {
	BaseURL    string         // e.g. https://localhost:7443
	Credential string         // bearer token
	CAFile     string         // PEM file of the roots to trust; "" for RootCAs
	RootCAs    *x509.CertPool // nil for the system's

	SubscriptionID string // label; "" for [DefaultSubscription]
	ResourceGroup  string // label; "" for [DefaultResourceGroup]
	Workspace      string // "" for the default one
	UserAgent      string // e.g. sluice/0.2
}

// Client speaks to one workspace of a Sluice server. It may be used by any
// number of goroutines at once.
type Client struct {
	base      *url.URL
	scope     Scope
	token     string
	userAgent string
	http      *http.Client
}

// NewClient makes a client. It reads the CA file and connects to nothing.
func NewClient(o Options) (*Client, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, sluice.Errorf(sluice.CodeInvalid, "%q is not the address of a server: write for example https://localhost:7443", o.BaseURL)
	}
	roots := o.RootCAs
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the certificate authority: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, sluice.Errorf(sluice.CodeInvalid, "%s holds no certificate", o.CAFile)
		}
	}
	return &Client{
		base: base, token: o.Credential, userAgent: orElse(o.UserAgent, "sluice"),
		scope: Scope{Subscription: orElse(o.SubscriptionID, DefaultSubscription),
			ResourceGroup: orElse(o.ResourceGroup, DefaultResourceGroup),
			Workspace:     orElse(o.Workspace, sluice.DefaultWorkspace)},
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout: 10 * time.Second,
				MaxIdleConnsPerHost: uploadWorkers,
				IdleConnTimeout:     30 * time.Second,
				ForceAttemptHTTP2:   true,
				// A connection that was cut is noticed, not waited for.
				HTTP2: &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 20 * time.Second},
			},
			// A redirect would carry the credential to a place nobody chose.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Scope gives what the client's ids begin with.
func (c *Client) Scope() Scope { return c.scope }

// HTTP gives the HTTP client below, which trusts the same roots. It adds no
// credential.
func (c *Client) HTTP() *http.Client { return c.http }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one request. Exactly one of body and stream is used, if any.
type request struct {
	method string
	url    *url.URL
	body   any // sent as JSON
	stream io.Reader
	size   int64 // bytes in stream
	header http.Header
	// open leaves the credential out: the URL is signed, or the route is open.
	open bool
}

// at gives the URL of a resource by its path below the server, with the
// api-version.
func (c *Client) at(path string, query ...string) *url.URL {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	q := url.Values{"api-version": {APIVersion}}
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			q.Set(query[i], query[i+1])
		}
	}
	u.RawQuery = q.Encode()
	return &u
}

// here gives an absolute URL that the server named, on the server that the
// client knows: the two may spell its address differently, and the credential
// must not go elsewhere.
func (c *Client) here(absolute string) (*url.URL, error) {
	u, err := url.Parse(absolute)
	if err != nil || u.Path == "" {
		return nil, sluice.Errorf(sluice.CodeInternal, "the server gave an address that cannot be used: %.200q", absolute)
	}
	u.Scheme, u.Host, u.User = c.base.Scheme, c.base.Host, nil
	return u, nil
}

// send makes the request and reads a JSON answer into out, which may be nil.
// The answer's body is closed. Any status from 400 on is an error.
func (c *Client) send(ctx context.Context, r request, out any) (*http.Response, error) {
	req, err := c.build(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return resp, answeredError(resp)
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection can be used again
		return resp, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return resp, c.unreachable(ctx, err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return resp, nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return resp, sluice.Errorf(sluice.CodeInternal, "reading the server's answer to %s %s: %w", r.method, r.url.Path, err)
	}
	return resp, nil
}

func (c *Client) build(ctx context.Context, r request) (*http.Request, error) {
	body := r.stream
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), body)
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	if r.stream != nil {
		req.ContentLength = r.size
		if r.size == 0 {
			req.Body = http.NoBody
		}
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	for k, v := range r.header {
		req.Header[k] = v
	}
	if !r.open && c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

// unreachable explains why no answer came.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	address := c.base.Scheme + "://" + c.base.Host
	cause := &sluice.Cause{Code: sluice.CauseServerDown,
		Message: fmt.Sprintf("the server at %s does not answer: %v", address, err),
		Hint:    "start it with `sluice up`, or see `sluice status`"}
	if host := c.base.Hostname(); host != "localhost" && !net.ParseIP(host).IsLoopback() {
		cause.Hint = "see that the address is right and that the server runs there"
	}
	if untrusted(err) {
		cause.Message = fmt.Sprintf("the server at %s shows a certificate that is not trusted: %v", address, err)
		cause.Hint = "trust its certificate authority: set SLUICE_CA to its ca.pem"
	}
	return &sluice.Error{Code: sluice.CodeUnavailable, Message: cause.Message, Hint: cause.Hint, Cause: cause, Err: err}
}

func untrusted(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	return verification || unknown || name
}

// answeredError gives the error that the server stated.
func answeredError(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var body ErrorBody
	if err == nil && json.Unmarshal(b, &body) == nil && (body.Error.Code != "" || body.Error.Message != "") {
		return body.Error.Domain(resp.StatusCode)
	}
	d := ErrorDetail{Message: fmt.Sprintf("the server answered %s to %s %s", resp.Status, resp.Request.Method, resp.Request.URL.Path)}
	return d.Domain(resp.StatusCode)
}

// all reads every page of a collection.
func all[T any](ctx context.Context, c *Client, first *url.URL) ([]T, error) {
	items := []T{}
	for next := first; next != nil; {
		var page List[T]
		if _, err := c.send(ctx, request{method: http.MethodGet, url: next}, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Value...)
		if page.NextLink == "" {
			break
		}
		link, err := c.here(page.NextLink)
		if err != nil {
			return nil, err
		}
		next = link
	}
	return items, nil
}

// get reads one resource.
func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var out T
	_, err := c.send(ctx, request{method: http.MethodGet, url: c.at(path)}, &out)
	return out, err
}
