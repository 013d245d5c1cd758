package environment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	stdhash "hash"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// sdist is a package as source, where an index has it.
type sdist struct {
	name    string // normalised
	release release
	at      *url.URL // may hold a password
	file    string   // its name
	digest  string   // "sha256:…"; "" when the index tells none
}

// Bounds on what an index may answer.
const (
	maxIndexPage = 64 << 20
	maxSdist     = 1 << 30
)

// fetcher asks the package indexes itself, because whichever tool fetches a
// source also runs code of it.
type fetcher struct {
	places places
	client *http.Client
}

// sources gives what the places have of a package as source that a requirement
// and a Python accept. None is no error.
func (f *fetcher) sources(ctx context.Context, requirement string, python Version) ([]sdist, error) {
	name := requirementName(requirement)
	var all []sdist
	for _, index := range f.places.indexes {
		at, err := url.Parse(strings.TrimRight(index, "/") + "/" + name + "/")
		if err != nil {
			return nil, fmt.Errorf("reading the index's address: %s", redactURL(err.Error()))
		}
		found, err := f.page(ctx, at)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	for _, link := range f.places.links {
		found, err := f.linked(ctx, link)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	m := requirementForm.FindStringSubmatch(requirement)
	var fit []sdist
	for _, s := range all {
		if s.name == name && m != nil && satisfies(s.release, m[3]) {
			fit = append(fit, s)
		}
	}
	return fit, nil
}

// linked gives the sources in one of the places with links: a folder, or a
// page.
func (f *fetcher) linked(ctx context.Context, link string) ([]sdist, error) {
	if strings.HasPrefix(link, "http:") || strings.HasPrefix(link, "https:") {
		at, err := url.Parse(link)
		if err != nil {
			return nil, fmt.Errorf("reading the address of links: %s", redactURL(err.Error()))
		}
		return f.page(ctx, at)
	}
	entries, err := os.ReadDir(strings.TrimPrefix(link, "file://"))
	if err != nil {
		return nil, nil // nothing to pip either
	}
	var found []sdist
	for _, e := range entries {
		if s, ok := readSdistName(e.Name()); ok {
			s.at = &url.URL{Scheme: "file", Path: filepath.Join(strings.TrimPrefix(link, "file://"), e.Name())}
			found = append(found, s)
		}
	}
	return found, nil
}

// page reads one page of an index. A package it does not have is an empty one.
func (f *fetcher) page(ctx context.Context, at *url.URL) ([]sdist, error) {
	resp, err := f.get(ctx, at, "text/html")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &sluice.Cause{Code: sluice.CauseIndex, Message: fmt.Sprintf("the package index %s answered %s", redactURL(at.String()), resp.Status),
			Hint: "check index-url and its password in pip.conf or netrc on the server"}
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxIndexPage))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", redactURL(at.String()), err)
	}
	base := resp.Request.URL
	base.User = at.User // files stand beside the page
	return readPage(base, text), nil
}

var (
	anchor   = regexp.MustCompile(`(?is)<a\s([^>]*)>`)
	hrefAttr = regexp.MustCompile(`(?is)(?:^|\s)href\s*=\s*(?:"([^"]*)"|'([^']*)')`)
	yanked   = regexp.MustCompile(`(?i)(?:^|\s)data-yanked(?:\s|=|$)`)
)

// readPage reads the links that an index's page consists of.
func readPage(base *url.URL, text []byte) []sdist {
	var found []sdist
	for _, a := range anchor.FindAllSubmatch(text, maxIndexFiles) {
		m := hrefAttr.FindSubmatch(a[1])
		if m == nil || yanked.Match(a[1]) {
			continue
		}
		address, fragment, _ := strings.Cut(html.UnescapeString(string(m[1])+string(m[2])), "#")
		digest, _ := strings.CutPrefix(fragment, "sha256=")
		if s, ok := readSdist(base, address, path.Base(address), digest); ok {
			found = append(found, s)
		}
	}
	return found
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

func readSdist(base *url.URL, address, file, digest string) (sdist, bool) {
	if plain, err := url.PathUnescape(file); err == nil {
		file = plain
	}
	s, ok := readSdistName(file)
	if !ok {
		return s, false
	}
	at, err := base.Parse(address)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" {
		return s, false
	}
	if at.User == nil && at.Host == base.Host {
		at.User = base.User
	}
	s.at = at
	if hexDigest.MatchString(digest) {
		s.digest = "sha256:" + digest
	}
	return s, true
}

// readSdistName reads the name of a file that may be a package as source. In
// older ones the package's name may hold hyphens.
func readSdistName(file string) (sdist, bool) {
	stem, ok := strings.CutSuffix(file, ".tar.gz")
	if !ok {
		if stem, ok = strings.CutSuffix(file, ".zip"); !ok {
			return sdist{}, false
		}
	}
	i := strings.LastIndexByte(stem, '-')
	if i <= 0 || file != path.Base(file) {
		return sdist{}, false
	}
	name := normalName(stem[:i])
	r, ok := parseRelease(stem[i+1:])
	return sdist{name: name, release: r, file: file}, ok && requirementName(name) == name
}

// fetch brings a source into dir and gives its path and digest.
func (f *fetcher) fetch(ctx context.Context, s sdist, dir string) (file, digest string, err error) {
	var in io.ReadCloser
	if s.at.Scheme == "file" {
		in, err = os.Open(s.at.Path)
	} else {
		var resp *http.Response
		if resp, err = f.get(ctx, s.at, "*/*"); err == nil {
			in = resp.Body
			if resp.StatusCode != http.StatusOK {
				err = &sluice.Cause{Code: sluice.CauseIndex, Message: fmt.Sprintf("fetching %s: the index answered %s", redactURL(s.at.String()), resp.Status),
					Hint: "check index-url and its password in pip.conf or netrc on the server"}
			}
		}
	}
	if in != nil {
		defer in.Close()
	}
	if err != nil {
		return "", "", err
	}
	file = filepath.Join(dir, s.file)
	sum := sha256.New()
	if err := writeBounded(file, in, sum, maxSdist); err != nil {
		return "", "", fmt.Errorf("fetching %s: %w", s.file, err)
	}
	digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	if s.digest != "" && digest != s.digest {
		return "", "", &sluice.Cause{Code: sluice.CauseBuildFailed, Message: fmt.Sprintf("what the index serves as %s is not what it says it is", s.file),
			Hint: "try again later, or choose another version"}
	}
	return file, digest, nil
}

func writeBounded(file string, in io.Reader, sum stdhash.Hash, most int64) error {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(in, most+1))
	if err == nil && n > most {
		err = fmt.Errorf("it is over %d MiB", most>>20)
	}
	return errors.Join(err, out.Close())
}

// get asks for a page, with the password that its address or ~/.netrc has.
func (f *fetcher) get(ctx context.Context, at *url.URL, accept string) (*http.Response, error) {
	shown := redactURL(at.String())
	plain := *at
	plain.User = nil
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, plain.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %s", shown, redactURL(err.Error()))
	}
	req.Header.Set("Accept", accept)
	if at.User != nil {
		password, _ := at.User.Password()
		req.SetBasicAuth(at.User.Username(), password)
	} else if user, password, ok := f.places.netrc(at.Hostname()); ok {
		req.SetBasicAuth(user, password)
	}
	resp, err := f.client.Do(req)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, &sluice.Cause{Code: sluice.CauseIndex, Message: fmt.Sprintf("the package index %s cannot be used: %s", shown, redactURL(errors.Unwrap(err).Error())),
			Hint: "check index-url, proxy and certificates in pip.conf, or PIP_INDEX_URL, HTTPS_PROXY and SSL_CERT_FILE in the server's environment"}
	}
	return resp, nil
}

// fetchTimeout bounds how long an index may take to begin an answer.
const fetchTimeout = time.Minute
