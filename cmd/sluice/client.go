package main

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/parent"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/identity"
)

// The environment variables that name a server elsewhere. The credential and
// the certificate authority of this machine are for the server on it: with
// SLUICE_API set, only SLUICE_TOKEN is sent.
const (
	envAPI   = "SLUICE_API"
	envToken = "SLUICE_TOKEN"
	envCA    = "SLUICE_CA"
)

// connect gives the client of the API, made on first use. It connects to
// nothing yet.
func (p *program) connect() (*arm.Client, error) {
	if p.client != nil {
		return p.client, nil
	}
	o, err := p.server()
	if err != nil {
		return nil, err
	}
	o.SubscriptionID, o.ResourceGroup, o.Workspace = p.flags.subscription, p.flags.resourceGroup, p.flags.workspace
	o.UserAgent = "sluice/" + version
	c, err := arm.NewClient(o)
	if err != nil {
		return nil, err
	}
	if p.flags.verbose || p.flags.debug {
		p.note("the API is at %s", o.BaseURL)
	}
	if p.flags.debug {
		c.HTTP().Transport = &tracer{next: c.HTTP().Transport, say: p.note}
	}
	p.client, p.address = c, o.BaseURL
	return c, nil
}

// moved gives a client for where the server is now: one that was started again
// may listen elsewhere. It is the one given where that is still so.
func (p *program) moved(c *arm.Client) *arm.Client {
	if o, err := p.server(); err != nil || o.BaseURL == p.address {
		return c
	}
	p.client = nil
	fresh, err := p.connect()
	if err != nil {
		p.client = c
		return c
	}
	c.Close()
	return fresh
}

// server finds the API: where the environment says, else where the parent on
// this machine wrote that it is, else where the settings put it.
func (p *program) server() (arm.Options, error) {
	if address := p.env(envAPI); address != "" {
		if err := checkAddress(address); err != nil {
			return arm.Options{}, err
		}
		return arm.Options{BaseURL: address, Credential: p.env(envToken), CAFile: p.env(envCA)}, nil
	}
	dir, err := p.home()
	if err != nil {
		return arm.Options{}, err
	}
	o := arm.Options{CAFile: p.env(envCA), Credential: p.env(envToken)}
	if o.BaseURL, err = localAPI(dir); err != nil {
		return o, err
	}
	if o.CAFile == "" {
		if _, err := os.Stat(dir.CA()); err == nil {
			o.CAFile = dir.CA()
		}
	}
	if o.Credential == "" {
		if o.Credential, err = readCredential(dir); err != nil {
			return o, err
		}
	}
	return o, nil
}

// checkAddress refuses to send a credential in the clear.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return sluice.Errorf(sluice.CodeInvalid, "%s=%s is not the address of a server", envAPI, address).
			WithHint("for example %s=https://localhost:7443", envAPI)
	}
	if u.Scheme == "http" && !home.Loopback(u.Host) && !home.Loopback(u.Host+":80") {
		return sluice.Errorf(sluice.CodeInvalid, "%s=%s would send the credential unencrypted", envAPI, address).
			WithHint("use https://")
	}
	return nil
}

// home gives the state directory.
func (p *program) home() (home.Dir, error) {
	if d := p.env("SLUICE_HOME"); d != "" {
		abs, err := filepath.Abs(d)
		return home.Dir(abs), err
	}
	return home.Find()
}

func localAPI(dir home.Dir) (string, error) {
	if state, err := parent.ReadState(dir); err == nil && state.APIAddress != "" {
		return state.APIAddress, nil
	}
	settings, err := dir.Load()
	if err != nil {
		return "", err
	}
	return home.URL(settings.API.Listen), nil
}

// readCredential gives "" where there is none: then the server was never
// started here, and that is what the user will be told.
func readCredential(dir home.Dir) (string, error) {
	credential, err := identity.ReadCredential(dir.Credential())
	switch {
	case sluice.ErrorCode(err) == sluice.CodeNotFound:
		return "", nil
	case errors.Is(err, fs.ErrPermission):
		return "", sluice.Errorf(sluice.CodeUnauthorized, "the credential in %s may not be read by this user", dir.Credential()).
			WithHint("run the command as the user who ran `sluice up`, or set %s", envToken)
	}
	return credential.Token, err
}

// tracer tells of every request, without its query: that may hold a signature.
type tracer struct {
	next http.RoundTripper
	say  func(format string, a ...any)
}

// RoundTrip implements [http.RoundTripper].
func (t *tracer) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	resp, err := t.next.RoundTrip(r)
	took := time.Since(start).Round(time.Millisecond)
	if err != nil {
		t.say("debug: %s %s%s: %v (%s)", r.Method, r.URL.Host, r.URL.Path, err, took)
		return resp, err
	}
	t.say("debug: %s %s%s: %s (%s, request %s)", r.Method, r.URL.Host, r.URL.Path, resp.Status, took,
		resp.Header.Get("x-ms-request-id"))
	return resp, nil
}
