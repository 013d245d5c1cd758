//go:build !linux && !darwin

package shim

import "errors"

// errUnsupported says that this package's work is done on Linux and macOS only.
var errUnsupported = errors.New("processes are run on Linux and macOS only")

// BootID names this run of the machine; here it is unknown.
func BootID() string { return "" }

// StartTime says when a process started; here it is unknown.
func StartTime(int) (uint64, error) { return 0, errUnsupported }

// WithVariable lists processes by their environment; here none are found.
func WithVariable(string, string) []int { return nil }
