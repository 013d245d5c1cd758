package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// dialable reads the address of an instance: unix:///PATH or http://HOST:PORT.
func dialable(address string) (network, to string, _ error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return "", "", err
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return "unix", u.Path, nil
	case u.Scheme == "http" && u.Hostname() != "" && u.Port() != "" && strings.Trim(u.Path, "/") == "":
		return "tcp", u.Host, nil
	}
	return "", "", fmt.Errorf("%q is neither unix:///PATH nor http://HOST:PORT", address)
}

// refusedError says that no connection came about.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// notBegun reports whether the instance cannot have seen the request: there
// was no connection, or the kept one had ended before anything was sent on it.
func notBegun(err error) bool {
	var refused *refusedError
	return errors.As(err, &refused) || strings.Contains(err.Error(), "server closed idle connection")
}
