package gateway

import (
	"strings"

	"github.com/sluice-ml/sluice"
)

// place is where a request is addressed to.
type place struct {
	key
	rest string // the path below the endpoint's base, "/" at least
}

// key names an endpoint; both parts are in lower case.
type key struct{ workspace, endpoint string }

func keyOf(workspace, endpoint string) key {
	return key{strings.ToLower(workspace), strings.ToLower(endpoint)}
}

// locate reads the endpoint from the request's host or path. The domain is in
// lower case, or "" for none. Only names that are spelled out are understood:
// a percent sign, a dot or an empty segment in their place leads nowhere.
func locate(host, path, domain string) (place, bool) {
	if name, ok := nameInHost(host, domain); ok {
		if path == "" {
			path = "/"
		}
		return place{keyOf(sluice.DefaultWorkspace, name), path}, path[0] == '/'
	}
	workspace := sluice.DefaultWorkspace
	if after, ok := strings.CutPrefix(path, "/w/"); ok {
		i := strings.IndexByte(after, '/')
		if i < 0 || !isWorkspace(after[:i]) {
			return place{}, false
		}
		workspace, path = after[:i], after[i:]
	}
	after, ok := strings.CutPrefix(path, "/endpoints/")
	if !ok {
		return place{}, false
	}
	name, rest := after, "/"
	if i := strings.IndexByte(after, '/'); i >= 0 {
		name, rest = after[:i], after[i:]
	}
	if !isEndpoint(name) {
		return place{}, false
	}
	return place{keyOf(workspace, name), rest}, true
}

// nameInHost gives NAME of the host NAME.DOMAIN, whatever its case and port.
func nameInHost(host, domain string) (string, bool) {
	if domain == "" {
		return "", false
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	i := len(host) - len(domain) - 1
	if i < 1 || host[i] != '.' || !strings.EqualFold(host[i+1:], domain) {
		return "", false
	}
	return host[:i], isEndpoint(host[:i])
}

// isEndpoint reports whether s could be the name of an endpoint.
func isEndpoint(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if !isTraceByte(s[i]) || s[i] == '_' {
			return false
		}
	}
	return true
}

// isWorkspace reports whether s could be the name of a workspace.
func isWorkspace(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		if !isTraceByte(s[i]) && s[i] != '.' {
			return false
		}
	}
	return true
}

// hasDotSegment reports whether a segment of the path is "." or "..", with
// dots and slashes in any spelling that something behind us might undo.
func hasDotSegment(path string) bool {
	dots, others := 0, 0
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) {
			if d := unhex(path[i+1])<<4 | unhex(path[i+2]); d < 0x80 {
				c = byte(d)
				i += 2
			}
		}
		switch c {
		case '/', '\\':
			if others == 0 && (dots == 1 || dots == 2) {
				return true
			}
			dots, others = 0, 0
		case '.':
			dots++
		default:
			others++
		}
	}
	return others == 0 && (dots == 1 || dots == 2)
}

// unhex gives the value of a hexadecimal digit, a large number for any other.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return 1 << 16
}
