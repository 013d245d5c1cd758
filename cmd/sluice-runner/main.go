// Command sluice-runner is what goes next to a model: the scoring server and
// the shim under which engines start processes. It is kept small; which packages
// it may never grow by, and why, is in main_test.go.
//
// Called as azmlinfsrv it is the scoring server, flag for flag.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-ml/sluice/engine/process/confine"
	"github.com/sluice-ml/sluice/engine/process/shim"
	"github.com/sluice-ml/sluice/scoring"
)

// version is set when a release is built.
var version = "dev"

const usage = `usage: sluice-runner <command> [arguments]

commands:
  scoring   serve a scoring script over HTTP (--help for its flags)
  shim      start a process and keep the truth about it (engines call this)
  version   show the version
`

func main() {
	os.Exit(run(filepath.Base(os.Args[0]), os.Args[1:]))
}

func run(name string, args []string) int {
	if name == "azmlinfsrv" {
		return scoring.Main(args, true)
	}
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	switch args[0] {
	case "scoring":
		return scoring.Main(args[1:], false)
	case "shim":
		return shim.Main(args[1:])
	case confine.Command: // the shim calls this
		return confine.Main()
	case "version", "--version":
		fmt.Println("sluice-runner", version)
		return 0
	case "help", "-h", "--help":
		fmt.Print(usage)
		return 0
	}
	fmt.Fprintf(os.Stderr, "sluice-runner: unknown command %q\n\n%s", args[0], usage)
	return 2
}
