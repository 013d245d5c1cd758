// Command sluice serves models behind managed endpoints and is the tool that
// tells it to: `sluice up` starts everything on this machine, the other
// commands speak to a server's REST interface and to nothing else.
//
// main parses nothing itself: [run] builds the program from its arguments and
// says how it ended. One file holds one group of commands; how arguments are
// read, results printed and progress shown is in internal/args,
// internal/output and internal/progress.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set when a release is built.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the program in good order, the second at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
}

// run carries out one command and gives the exit code. The context ends when
// the user wants the program to end.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) (string, bool)) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, lookup: env}
	defer p.close()
	return p.explain(ctx, p.execute(ctx, args))
}
