package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/parent"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/serve"
	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/home"
)

// lifecycleCommands are those that start, stop and are the processes.
func lifecycleCommands(version string) []*cobra.Command {
	return []*cobra.Command{upCommand(version), downCommand(), serverCommand(version), gatewayCommand(version)}
}

type upOptions struct {
	detach        bool
	apiListen     string
	gatewayListen string
	strict        bool
	version       string
}

func upCommand(version string) *cobra.Command {
	o := upOptions{version: version}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start Sluice on this machine",
		Long: `Start the API and the gateway on this machine, and everything that should run.

What should run is kept in $SLUICE_HOME: after "sluice down", or a crash, "sluice up"
brings it back. When a server or gateway is running already it is taken over, sockets
included, without a request being refused.`,
		Example: `  sluice up                                  stay in the foreground; Ctrl-C stops everything
  sluice up --detach                         go to the background; nothing to do when all is up
  sluice up --strict-capacity                refuse instance types larger than this machine
  sluice up --detach --api-listen localhost:7444 --gateway-listen localhost:8444`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	cmd.Flags().BoolVarP(&o.detach, "detach", "d", false, "go to the background once everything is up")
	cmd.Flags().StringVar(&o.apiListen, "api-listen", "", "`host:port` of the API (default localhost:7443)")
	cmd.Flags().StringVar(&o.gatewayListen, "gateway-listen", "", "`host:port` of the endpoints (default localhost:8443)")
	cmd.Flags().BoolVar(&o.strict, "strict-capacity", false, "refuse instance types larger than this machine (default: host them with what is there)")
	return cmd
}

func (o upOptions) run(cmd *cobra.Command) error {
	dir, err := home.Find()
	if err != nil {
		return err
	}
	if err := dir.Make(); err != nil {
		return err
	}
	settings, err := dir.Load()
	if err != nil {
		return err
	}
	if o.apiListen != "" {
		settings.API.Listen = o.apiListen
	}
	if o.gatewayListen != "" {
		settings.Gateway.Listen = o.gatewayListen
	}
	settings.Engine.StrictCapacity = settings.Engine.StrictCapacity || o.strict
	if err := settings.Validate(); err != nil {
		return sluice.Errorf(sluice.CodeInvalid, "%w", err)
	}
	if parent.Running(dir) {
		state, ok := parent.Current(dir)
		if !ok && os.Getenv(notifyVar) == "" {
			// One that was started in the background leaves the waiting to
			// who started it.
			state, ok = awaitOther(cmd.Context(), dir)
		}
		switch {
		case ok:
			o.already(cmd.ErrOrStderr(), state)
			return nil
		case parent.Running(dir):
			return sluice.Errorf(sluice.CodeBusy, "sluice is just starting or stopping in %s", dir).
				WithHint("try again in a moment; see %s", filepath.Join(dir.Logs(), "parent.log"))
		}
	}
	if o.detach {
		return o.background(cmd, dir, settings)
	}
	return o.foreground(cmd, dir, settings)
}

func (o upOptions) foreground(cmd *cobra.Command, dir home.Dir, settings home.Config) error {
	program, _, err := programs()
	if err != nil {
		return err
	}
	closeOnExec()
	notify := notifier()
	ending := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if notify == nil && !signal.Ignored(syscall.SIGHUP) {
		ending = append(ending, syscall.SIGHUP) // the terminal was closed
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), ending...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	var warned sync.WaitGroup
	defer warned.Wait()
	err = parent.Run(ctx, parent.Config{
		Home: dir, Settings: settings, Program: program, Version: o.version, Logger: logger(cmd.ErrOrStderr(), settings),
		Ready: func(s parent.State) {
			if notify != nil {
				notify(upNotice{State: s})
				return
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "Sluice is up. Ctrl-C stops everything.")
			printState(cmd.ErrOrStderr(), s)
			warned.Go(func() { printWarnings(ctx, cmd.ErrOrStderr(), dir, settings) })
		},
	})
	err = diskCause(dir, err)
	if notify != nil && err != nil {
		notify(upNotice{Error: err.Error(), Cause: causeOf(err)})
	}
	if notify == nil && err == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "Sluice is down.")
	}
	return err
}

// upNotice is what a parent in the background says to whoever started it.
type upNotice struct {
	State parent.State  `json:"state"`
	Error string        `json:"error,omitempty"`
	Cause *sluice.Cause `json:"cause,omitempty"`
}

// notifyVar tells a parent that descriptor 3 is a pipe to who started it.
const notifyVar = "SLUICE_NOTIFY"

func notifier() func(upNotice) {
	if os.Getenv(notifyVar) == "" {
		return nil
	}
	os.Unsetenv(notifyVar)
	pipe := os.NewFile(3, "notify")
	syscall.CloseOnExec(3)
	return func(n upNotice) {
		line, err := json.Marshal(n)
		if err != nil {
			return
		}
		pipe.Write(append(line, '\n'))
		pipe.Close()
	}
}

func causeOf(err error) *sluice.Cause {
	if cause, ok := errors.AsType[*sluice.Cause](err); ok {
		return cause
	}
	if e, ok := errors.AsType[*sluice.Error](err); ok {
		return e.Cause
	}
	return nil
}

// upTime bounds how long `up --detach` waits.
const upTime = 60 * time.Second

// background starts a parent that outlives us and waits until all is up.
func (o upOptions) background(cmd *cobra.Command, dir home.Dir, settings home.Config) error {
	program, _, err := programs()
	if err != nil {
		return err
	}
	logPath := filepath.Join(dir.Logs(), "parent.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return diskCause(dir, fmt.Errorf("opening the parent's log: %w", err))
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	args := []string{"up"}
	if o.apiListen != "" {
		args = append(args, "--api-listen", o.apiListen)
	}
	if o.gatewayListen != "" {
		args = append(args, "--gateway-listen", o.gatewayListen)
	}
	if o.strict {
		args = append(args, "--strict-capacity")
	}
	closeOnExec()
	child := exec.Command(program, args...)
	child.Env = append(os.Environ(), "SLUICE_HOME="+string(dir), notifyVar+"=1")
	child.Dir = "/"
	child.Stdout, child.Stderr = log, log
	child.ExtraFiles = []*os.File{write}
	parent.Detach(child)
	err = child.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("starting in the background: %w", err)
	}
	notice, err := awaitNotice(cmd.Context(), read)
	if (err != nil || notice.Error != "") && parent.Running(dir) {
		// Another `sluice up` was faster: what it starts will do.
		if state, ok := awaitOther(cmd.Context(), dir); ok {
			o.already(cmd.ErrOrStderr(), state)
			return nil
		}
	}
	if err != nil {
		return sluice.Errorf(sluice.CodeInternal, "sluice did not come up: %w", err).WithHint("its log is %s", logPath)
	}
	switch {
	case notice.Cause != nil:
		return notice.Cause
	case notice.Error != "":
		return sluice.Errorf(sluice.CodeInternal, "%s", notice.Error).WithHint("its log is %s", logPath)
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "Sluice is up.")
	printState(cmd.ErrOrStderr(), notice.State)
	printWarnings(cmd.Context(), cmd.ErrOrStderr(), dir, settings)
	return nil
}

// awaitOther waits until a parent that somebody else started has all up. It
// gives false when that one ends instead.
func awaitOther(ctx context.Context, dir home.Dir) (parent.State, bool) {
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	for parent.Running(dir) {
		if state, ok := parent.Current(dir); ok {
			return state, true
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return parent.State{}, false
		}
	}
	return parent.State{}, false
}

// awaitNotice reads the one line the parent says. The end of the pipe without
// one means that it died.
func awaitNotice(ctx context.Context, pipe *os.File) (upNotice, error) {
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { pipe.SetReadDeadline(time.Unix(1, 0)) })()
	line, err := bufio.NewReader(pipe).ReadBytes('\n')
	switch {
	case ctx.Err() != nil:
		return upNotice{}, fmt.Errorf("nothing was heard of it for %s", upTime)
	case errors.Is(err, io.EOF):
		return upNotice{}, errors.New("it ended while starting")
	case err != nil:
		return upNotice{}, err
	}
	var n upNotice
	return n, json.Unmarshal(line, &n)
}

// already says what runs, and when that is not what was called.
func (o upOptions) already(w io.Writer, s parent.State) {
	fmt.Fprintln(w, "Sluice is up already.")
	printState(w, s)
	if s.Version != o.version {
		fmt.Fprintf(w, "sluice: warning: version %s runs, and this is %s\n  hint: `sluice down && sluice up --detach` changes to this one\n", s.Version, o.version)
	}
}

func printState(w io.Writer, s parent.State) {
	fmt.Fprintf(w, "  API        %s\n  endpoints  %s/endpoints/NAME\n", s.APIAddress, s.GatewayAddress)
}

// printWarnings says what is worth knowing about the way Sluice runs here.
func printWarnings(ctx context.Context, w io.Writer, dir home.Dir, settings home.Config) {
	for name, address := range map[string]string{"API": settings.API.Listen, "endpoints": settings.Gateway.Listen} {
		if !home.Loopback(address) {
			fmt.Fprintf(w, "  note       the %s can be reached from other machines: it listens on %s\n", name, address)
		}
	}
	now, err := askLocal(ctx, dir)
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintf(w, "  note       the server has not said how instances are kept apart: %v\n", err)
		}
		return
	}
	for _, weaker := range now.Weaker {
		fmt.Fprintf(w, "  note       %s\n", weaker)
	}
	if warning := diskWarning(now.Disk); warning != "" {
		fmt.Fprintf(w, "  warning    %s\n", clean(warning))
	}
}

// programs gives the paths of sluice, which is this, and of sluice-runner
// beside it.
func programs() (self, runner string, err error) {
	self, err = os.Executable()
	if err != nil {
		return "", "", fmt.Errorf("finding this program: %w", err)
	}
	if resolved, err := filepath.EvalSymlinks(self); err == nil {
		self = resolved
	}
	runner = filepath.Join(filepath.Dir(self), "sluice-runner")
	if _, err := os.Stat(runner); err != nil {
		return "", "", sluice.Errorf(sluice.CodeNotFound, "sluice-runner is not beside %s", self).
			WithHint("`make build` makes both; keep them in one folder")
	}
	return self, runner, nil
}

func logger(w io.Writer, settings home.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(settings.Log.Level)); err != nil {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

func serverCommand(version string) *cobra.Command {
	return processCommand("server", "Run the API and the reconciler (started by sluice up)", version, serve.Server)
}

func gatewayCommand(version string) *cobra.Command {
	return processCommand("gateway", "Run the gateway (started by sluice up)", version, serve.Gateway)
}

// processCommand is one of the parent's two children. Both may also be run by
// hand; they then open their sockets themselves.
func processCommand(name, short, version string, run func(context.Context, serve.Config) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := home.Find()
			if err != nil {
				return err
			}
			if err := dir.Make(); err != nil {
				return err
			}
			settings, err := dir.Load()
			if err != nil {
				return err
			}
			_, runner, err := programs()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return diskCause(dir, run(ctx, serve.Config{Home: dir, Settings: settings, Version: version, Runner: runner,
				Logger: logger(cmd.ErrOrStderr(), settings).With("process", name)}))
		},
	}
}

// diskCause gives err, or the cause when it says that the disk refuses to write
// and has none yet: of a lock or a socket that could not be made.
func diskCause(dir home.Dir, err error) error {
	if causeOf(err) != nil {
		return err
	}
	return disk.Explain("a lock or a socket", string(dir), err)
}
