// Package handover lets a process that serves on a socket outlive the one that
// started it.
//
// A child offers itself on a Unix socket with [Offer]. Whoever connects with
// [Adopt] learns its process ID, gets a copy of its listening socket, can ask
// it to stop, and is told when it is gone. So a parent that was killed can be
// replaced without a connection being refused: the new parent adopts the
// children of the old one, sockets included, and if a child dies it starts
// another on the same socket.
//
// The wire is one JSON line each way per request, the listening socket
// travelling with the first answer as ancillary data. The socket's folder must
// be private: whoever can connect is trusted.
package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// Child is what a process offers.
type Child struct {
	Name     string       // "server", "gateway"
	Version  string       // of the program
	Listener net.Listener // what it serves on: a *net.TCPListener
	// Stop is called, once at most, when an adopter asks for it. All says that
	// whatever this child keeps running is to end too.
	Stop func(all bool)
}

// hello is the first line a child sends.
type hello struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
}

// stop is the one request there is.
type stop struct {
	Stop bool `json:"stop"`
	All  bool `json:"all"`
}

// ErrAbsent says that nobody offers itself there.
var ErrAbsent = errors.New("no process to adopt")

// ErrEnding says that the process there is about to end: it has let go of its
// socket already.
var ErrEnding = errors.New("the process is ending")

// Inherited gives the listener that a parent passed as file descriptor 3, nil
// when there is none.
func Inherited() (net.Listener, error) {
	if os.Getenv(inheritVar) == "" {
		return nil, nil
	}
	os.Unsetenv(inheritVar)
	f := os.NewFile(3, "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("using the inherited socket: %w", err)
	}
	return l, nil
}

// inheritVar tells a child that descriptor 3 is its listener.
const inheritVar = "SLUICE_INHERITED_LISTENER"

// InheritEnv is what a parent adds to the environment of a child that finds
// its listener as descriptor 3, the first of exec.Cmd's ExtraFiles.
func InheritEnv() string { return inheritVar + "=1" }
