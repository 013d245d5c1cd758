package scoring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-ml/sluice"
)

// The exit codes.
const (
	exitDone       = 0
	exitUsage      = 1
	exitLoadFailed = 3 // the script cannot be served, or a setting is wrong
)

// Main is the program: "sluice-runner scoring", or "azmlinfsrv" (strict), which
// wants its entry script as a flag. It returns the exit code.
func Main(args []string, strict bool) int {
	f, err := ParseFlags(args)
	if err != nil {
		fmt.Fprint(os.Stderr, Usage, "\n", "error: ", err, hintOf(err), "\n")
		return exitUsage
	}
	if f.Help {
		fmt.Print(Usage)
		return exitDone
	}
	if f.PythonPath {
		return printPythonPath()
	}
	f.Strict = strict
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: finding working directory:", err)
		return exitUsage
	}
	settings, err := Resolve(f, os.Environ(), dir)
	if err != nil {
		return refused(err, os.Stderr, os.Getenv("SLUICE_TERMINATION_FILE"))
	}
	return run(settings, os.Stdout)
}

func printPythonPath() int {
	cache, err := os.UserCacheDir()
	if err == nil {
		cache, err = pythonPath(cache)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return exitUsage
	}
	fmt.Println(cache)
	return exitDone
}

// refused reports settings that cannot be used.
func refused(err error, out io.Writer, termination string) int {
	var e *sluice.Error
	if !errors.As(err, &e) {
		fmt.Fprintln(out, "error:", err)
		return exitUsage
	}
	if e.Target != "" {
		fmt.Fprintln(out, configurationError(e.Target, e.Message))
		return giveCause(&sluice.Cause{Code: sluice.CauseBadValue, Hint: e.Hint,
			Message: fmt.Sprintf("environment variable %s: %s", e.Target, e.Message)}, out, termination)
	}
	fmt.Fprint(out, "error: ", e.Message, hintOf(e), "\n")
	return exitUsage
}

func hintOf(err error) string {
	var e *sluice.Error
	if errors.As(err, &e) && e.Hint != "" {
		return " (" + e.Hint + ")"
	}
	return ""
}

// run builds the server and stays until its end. The log is written last of
// all, so that it tells of everything.
func run(s Settings, out io.Writer) int {
	listeners, err := listen(s)
	if err != nil {
		return giveCause(causeFrom(err), out, s.Termination)
	}
	log := NewLog(out, os.Getpid())
	logging, stopLog := context.WithCancel(context.Background())
	written := make(chan error, 1)
	go func() { written <- log.Run(logging) }()
	for _, line := range banner(s) {
		log.Plain(line)
	}

	err = serve(s, log, listeners)
	if err != nil {
		cause := causeFrom(err)
		log.Printf('E', "The server ends: %s", cause.Error())
		if cause.Hint != "" {
			log.Printf('E', "Hint: %s", cause.Hint)
		}
	}
	stopLog()
	if logErr := <-written; logErr != nil && err == nil {
		fmt.Fprintln(os.Stderr, "error:", logErr)
	}
	if err == nil {
		return exitDone
	}
	return giveCause(causeFrom(err), io.Discard, s.Termination)
}

// serve runs the server under the signals: the first SIGTERM or SIGINT drains,
// the second ends it at once.
func serve(s Settings, log *Log, listeners []net.Listener) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	server := New(s, log, os.Getpid())
	log.Printf('I', "Listening at: %s (%d)", listeners[0].Addr(), os.Getpid())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, listeners) }()
	for n := 0; ; n++ {
		select {
		case err := <-done:
			return err
		case got := <-signals:
			if n == 0 {
				log.Printf('I', "Handling signal: %s; leaving when idle", got)
				server.Drain()
			} else {
				cancel()
			}
		}
	}
}

func causeFrom(err error) *sluice.Cause {
	var cause *sluice.Cause
	if errors.As(err, &cause) {
		return cause
	}
	return &sluice.Cause{Code: sluice.CauseInternal, Message: err.Error()}
}

// giveCause writes the cause to out and where the engine looks for it.
func giveCause(cause *sluice.Cause, out io.Writer, termination string) int {
	fmt.Fprintln(out, "error:", cause.Error()+hintText(cause))
	if termination != "" {
		if err := writeTermination(termination, cause); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
	}
	return exitLoadFailed
}

func hintText(c *sluice.Cause) string {
	if c.Hint == "" {
		return ""
	}
	return " (" + c.Hint + ")"
}
