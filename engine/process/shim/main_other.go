//go:build !unix

package shim

import (
	"fmt"
	"os"
)

// Main is the shim program; there is none on this system.
func Main([]string) int {
	fmt.Fprintln(os.Stderr, "sluice shim:", errUnsupported)
	return 1
}
