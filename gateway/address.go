package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"
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

// notBegun reports whether the instance cannot have begun the request: there
// was no connection, or the kept one had ended before anything was sent on it.
//
// An instance that takes requests whole has not begun one of which it left
// something unread. On a Unix socket its end tells: it is a reset when there was
// something, as when nobody had accepted the connection yet, and else an end of
// file. What could not be written any more was not read either.
func notBegun(err error, whole bool) bool {
	var refused *refusedError
	return errors.As(err, &refused) || strings.Contains(err.Error(), "server closed idle connection") ||
		whole && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

// takenWhole reports whether a scoring server reads all of a request before it
// begins it. Methods that need no body may be answered without a look at it.
func takenWhole(method string, body payload) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS":
		return body.whole == nil && body.stream == nil
	}
	return true
}
