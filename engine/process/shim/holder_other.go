//go:build !unix

package shim

// ReadyVar names the environment variable with the descriptor to close.
const ReadyVar = "SLUICE_SHIM_READY"

// Holder gives the process ID of the living shim of an instance directory.
func Holder(string) (int, error) { return 0, errUnsupported }
