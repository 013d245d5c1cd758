//go:build !unix

package handover

import (
	"context"
	"errors"
	"os"
)

var errUnsupported = errors.New("running the server is not supported on this system: use WSL2 or Linux")

// Offer is not supported here.
func Offer(context.Context, string, Child) error { return errUnsupported }

// Adopted is never made here.
type Adopted struct {
	Name    string
	PID     int
	Version string
	Socket  *os.File
}

// Adopt is not supported here.
func Adopt(string) (*Adopted, error) { return nil, errUnsupported }

// Gone is never called here.
func (a *Adopted) Gone() <-chan struct{} { return nil }

// Stop is never called here.
func (a *Adopted) Stop(bool) error { return errUnsupported }

// Release is never called here.
func (a *Adopted) Release() {}

// Close is never called here.
func (a *Adopted) Close() {}
