//go:build !linux

package confine

import (
	"fmt"
	"os"
)

// Start starts a confined command; here it cannot.
func Start(Spec, *os.File, *os.File) (int, error) { return 0, ErrUnsupported }

// Main is the program that becomes a confined command; there is none here.
func Main() int {
	fmt.Fprintln(os.Stderr, "sluice confine:", ErrUnsupported)
	return 1
}

// KeepSignals has the signals of this process reach its own only; here it
// cannot.
func KeepSignals() error { return ErrUnsupported }
