package environment

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// places is where packages come from as this machine and the spec say it, for
// asking without a tool. Addresses may hold passwords.
type places struct {
	indexes []string // "" stands for the tool's own default
	links   []string
	trusted []string // hosts whose certificate is not checked
	proxy   httpproxy.Config
	roots   []string // files with certificates
	client  string   // file with a client certificate and its key
	logins  string   // a file like ~/.netrc
}

// readPlaces reads them from the same settings that the tools are handed.
func readPlaces(env map[string]string, pipValue func(string) string) places {
	p := places{
		trusted: strings.Fields(pipValue("TRUSTED_HOST") + " " + env["UV_INSECURE_HOST"]),
		links:   strings.FieldsFunc(pipValue("FIND_LINKS")+" "+env["UV_FIND_LINKS"], func(r rune) bool { return r == ' ' || r == ',' || r == '\n' }),
		client:  firstOf(pipValue("CLIENT_CERT"), env["SSL_CLIENT_CERT"]),
		logins:  firstOf(env["NETRC"], filepath.Join(env["HOME"], ".netrc")),
		proxy: httpproxy.Config{
			HTTPProxy:  firstOf(env["http_proxy"], env["HTTP_PROXY"], env["all_proxy"], env["ALL_PROXY"], pipValue("PROXY")),
			HTTPSProxy: firstOf(env["https_proxy"], env["HTTPS_PROXY"], env["all_proxy"], env["ALL_PROXY"], pipValue("PROXY")),
			NoProxy:    firstOf(env["no_proxy"], env["NO_PROXY"]),
		},
	}
	for _, file := range []string{env["SSL_CERT_FILE"], pipValue("CERT"), env["REQUESTS_CA_BUNDLE"], env["CURL_CA_BUNDLE"]} {
		if file != "" && !slices.Contains(p.roots, file) {
			p.roots = append(p.roots, file)
		}
	}
	if no := pipValue("NO_INDEX"); no == "" || no == "0" || no == "false" {
		p.indexes = []string{withLogin(firstOf(pipValue("INDEX_URL"), env["UV_DEFAULT_INDEX"], env["UV_INDEX_URL"]), env)}
		for _, more := range strings.Fields(firstOf(pipValue("EXTRA_INDEX_URL"), env["UV_INDEX"], env["UV_EXTRA_INDEX_URL"])) {
			p.indexes = append(p.indexes, withLogin(more, env))
		}
	}
	return p
}

// withLogin puts the user and password that uv keeps for a named index into
// its address.
func withLogin(index string, env map[string]string) string {
	name, _, _ := strings.Cut(index, "=")
	address := withoutName(index)
	if address == index {
		return address
	}
	name = strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
	u, err := url.Parse(address)
	if user, password := env["UV_INDEX_"+name+"_USERNAME"], env["UV_INDEX_"+name+"_PASSWORD"]; err == nil && u.User == nil && user+password != "" {
		u.User = url.UserPassword(user, password)
		return u.String()
	}
	return address
}

// with gives the places for a plan's own options.
func (p places) with(options []string) places {
	p.indexes, p.links, p.trusted = slices.Clone(p.indexes), slices.Clone(p.links), slices.Clone(p.trusted)
	for _, o := range options {
		switch name, value, _ := strings.Cut(o, " "); name {
		case "--index-url":
			p.indexes = append([]string{value}, p.indexes[min(1, len(p.indexes)):]...)
		case "--extra-index-url":
			p.indexes = append(p.indexes, value)
		case "--find-links":
			p.links = append(p.links, value)
		case "--trusted-host":
			p.trusted = append(p.trusted, value)
		case "--no-index":
			p.indexes = nil
		}
	}
	return p
}

// httpClient gives what asks them.
func (p places) httpClient() (*http.Client, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, file := range p.roots {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading certificates: %w", err)
		}
		roots.AppendCertsFromPEM(text)
	}
	conf := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if p.client != "" {
		pair, err := tls.LoadX509KeyPair(p.client, p.client)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	proxy := p.proxy.ProxyFunc()
	transport := &http.Transport{
		Proxy:           func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		TLSClientConfig: conf, ResponseHeaderTimeout: fetchTimeout, DisableKeepAlives: true,
	}
	if len(p.trusted) == 0 {
		return &http.Client{Transport: transport}, nil
	}
	lax := transport.Clone()
	lax.TLSClientConfig.InsecureSkipVerify = true // the operator named the host
	return &http.Client{Transport: trusting{p.trusted, lax, transport}}, nil
}

// trusting does not check the certificates of some hosts.
type trusting struct {
	hosts        []string
	lax, careful http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t trusting) RoundTrip(r *http.Request) (*http.Response, error) {
	if slices.Contains(t.hosts, r.URL.Host) || slices.Contains(t.hosts, r.URL.Hostname()) {
		return t.lax.RoundTrip(r)
	}
	return t.careful.RoundTrip(r)
}

// netrc gives the login that the file has for a host.
func (p places) netrc(host string) (user, password string, ok bool) {
	f, err := os.Open(p.logins)
	if err != nil {
		return "", "", false
	}
	defer f.Close()
	words := bufio.NewScanner(f)
	words.Split(bufio.ScanWords)
	next := func() string {
		words.Scan()
		return words.Text()
	}
	in := false
	for words.Scan() {
		switch words.Text() {
		case "machine":
			if in {
				return user, password, true
			}
			in = next() == host
		case "default":
			if in {
				return user, password, true
			}
			in = true
		case "login":
			if v := next(); in {
				user = v
			}
		case "password":
			if v := next(); in {
				password = v
			}
		}
	}
	return user, password, in
}

var indexOption = regexp.MustCompile(`(?s)\(default\s+(https?://[^\s)]+)\)|(?m)^--index-url (\S+)$`)

// defaultIndex asks the tool which index it uses when none is named.
func (r *request) defaultIndex(ctx context.Context, j *job) (string, error) {
	said, err := r.b.backend.settings(ctx, j)
	if err != nil {
		return "", err
	}
	m := indexOption.FindStringSubmatch(said)
	if m == nil {
		return "", fmt.Errorf("asking %s for its package index: it does not say", r.b.backend.name())
	}
	return m[1] + m[2], nil
}

// fetcher gives what fetches sources for a job.
func (r *request) fetcher(ctx context.Context, j *job) (*fetcher, error) {
	p := r.settings.places
	p.indexes = slices.Clone(p.indexes)
	for i, index := range p.indexes {
		if index != "" {
			continue
		}
		address, err := r.defaultIndex(ctx, j)
		if err != nil {
			return nil, err
		}
		p.indexes[i] = address
	}
	client, err := p.httpClient()
	return &fetcher{p, client}, err
}
