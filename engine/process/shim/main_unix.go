//go:build unix

package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/confine"
)

// ReadyVar names the environment variable with the number of a descriptor that
// the shim closes once the command runs or could not be started.
const ReadyVar = "SLUICE_SHIM_READY"

// ForceSignal makes the shim kill the command and all it started.
const ForceSignal = syscall.SIGUSR1

// Exit codes of the shim itself, when it ran nothing.
const (
	exitUsage  = 2
	exitLocked = 3 // another shim has this instance
	exitBroken = 4
)

// Main is the shim program. args is what follows its name: one instance
// directory. It gives the exit code, which nobody needs: what matters is in the
// state file.
func Main(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: sluice-runner shim <instance directory>")
		return exitUsage
	}
	// One small loop: neither threads nor garbage should cost memory here.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	code, err := run(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "sluice shim:", err)
	}
	return code
}

func run(dir string) (int, error) {
	// From here on no signal ends the shim before the command has. None may
	// be ignored instead, because the command would inherit that.
	s := &shim{dir: dir, signals: make(chan os.Signal, 16), children: make(chan os.Signal, 1)}
	signal.Notify(s.signals, syscall.SIGTERM, ForceSignal, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	signal.Notify(s.children, syscall.SIGCHLD)
	ready := readyFile()
	defer ready.Close()

	unlock, err := lock(filepath.Join(dir, LockFile))
	if err != nil {
		return exitLocked, err
	}
	defer unlock()
	if old, err := ReadState(dir); old != nil || err != nil {
		return exitLocked, errors.Join(errors.New("this instance has been run already"), err)
	}
	spec, err := readSpec(dir)
	if err != nil {
		return exitBroken, err
	}
	s.spec = spec
	syscall.Setsid() // fails where the engine has done so
	s.alone = spec.Confine != nil && spec.Confine.SharedUser && confine.KeepSignals() == nil
	if err := adoptOrphans(); err != nil {
		return exitBroken, err
	}
	output, err := s.start()
	if err != nil {
		s.state.Ended, s.state.Error = time.Now(), err.Error()
		s.state.Exit = &engine.Exit{Code: exitCodeOf(err)}
		if saved := s.save(); saved != nil {
			return exitBroken, errors.Join(err, saved) // the engine reads it as our last words
		}
		return 0, nil
	}
	saved := s.save()
	ready.Close()
	saved = s.watch(saved)
	s.finish(output)
	return 0, errors.Join(saved, s.saveForSure())
}

// shim watches one command. All of it belongs to the one goroutine of run.
type shim struct {
	dir      string
	spec     Spec
	state    State
	signals  chan os.Signal
	children chan os.Signal
	pid      int                // of the command, as this process knows it
	status   syscall.WaitStatus // of the command, once it has ended
	ended    bool
	alone    bool   // signals of ours reach what we started and nobody else
	why      string // we ended it, for its log
}

// first reports whether this process is the first of its process namespace:
// nothing in there outlives it.
func (s *shim) first() bool { return os.Getpid() == 1 }

// output copies what the command prints until nobody can print any more.
type output struct {
	from *os.File
	to   *rotated
	done chan struct{}
}

// start starts the command and the copying of its output.
func (s *shim) start() (*output, error) {
	s.state.Boot = BootID()
	s.state.Shim = identify(selfPID())
	if s.spec.Scratch != nil {
		if err := mountScratch(*s.spec.Scratch); err != nil {
			return nil, err
		}
	}
	socket, err := s.listen()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer to.Close()
	if s.spec.Confine != nil {
		c := *s.spec.Confine
		c.Command, c.Env, c.Dir = s.spec.Command, environ(s.spec.Env), s.spec.Dir
		handed := socket
		if s.spec.Port != 0 {
			handed = nil
		}
		s.pid, err = confine.Start(c, to, handed)
	} else {
		s.pid, err = s.startFreely(to)
	}
	if err != nil {
		from.Close()
		return nil, err
	}
	s.state.Command = identify(outerPID(s.pid))
	s.state.Started = time.Now()
	if s.spec.Port != 0 {
		if err := carry(socket, s.state.Command.PID, s.spec.Port); err != nil {
			from.Close()
			s.killAll()
			return nil, err
		}
	}
	o := &output{from: from, to: newRotated(filepath.Join(s.dir, LogDir), logBytes, logFiles), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		io.CopyBuffer(o.to, struct{ io.Reader }{o.from}, make([]byte, 32<<10))
		o.to.Close()
	}()
	return o, nil
}

func identify(pid int) Process {
	p := Process{PID: pid}
	p.Start, _ = StartTime(pid) // 0 is nobody's
	return p
}

// listen opens the socket that the command is to be handed, nil for none. It
// is there before the command is: who calls early waits and is not refused. Our
// own copy is closed once the command runs, so that a dead command refuses.
func (s *shim) listen() (*os.File, error) {
	if s.spec.Listen == "" {
		return nil, nil
	}
	old := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.spec.Listen, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listening for the command: %w", err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("listening for the command: %w", err)
	}
	return f, nil
}

// startFreely starts a command that is not confined. It makes its own socket.
func (s *shim) startFreely(to *os.File) (int, error) {
	path, err := confine.LookPath(s.spec.Command[0], s.spec.Env["PATH"], s.spec.Dir)
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(path, s.spec.Command, &syscall.ProcAttr{
		Dir: s.spec.Dir, Env: environ(s.spec.Env),
		Files: []uintptr{null.Fd(), to.Fd(), to.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("starting %s in %s: %w", path, s.spec.Dir, err)
	}
	return pid, nil
}

// saveAgain is when a state that could not be written is written again.
const saveAgain = time.Second

// watch passes signals on until the command has ended. saved says whether its
// start is written down: if not, that is tried again, and what came of it given
// back.
func (s *shim) watch(saved error) error {
	memory := s.watchMemory()
	tick := time.NewTicker(memory.every())
	defer tick.Stop()
	for {
		if s.reap(); s.ended {
			break
		}
		var again <-chan time.Time
		if saved != nil {
			again = time.After(saveAgain)
		}
		select {
		case <-again:
			saved = s.save()
		case <-s.children:
		case <-tick.C:
			if memory.look() {
				s.killAll()
			}
		case sig := <-s.signals:
			switch sig {
			case syscall.SIGTERM:
				syscall.Kill(s.pid, syscall.SIGTERM)
			case ForceSignal:
				s.state.Forced = true
				s.killAll()
			}
		}
	}
	s.state.Exit, s.why = exitOf(s.status), memory.note()
	memory.judge(s.state.Exit, s.status.Signaled() && s.status.Signal() == syscall.SIGKILL && !s.state.Forced)
	return saved
}

// reap collects every child that has ended, and reports whether one is left.
func (s *shim) reap() (left bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // ECHILD
			return false
		case pid == 0:
			return true
		case pid == s.pid && !s.ended:
			s.status, s.ended = status, true
		}
	}
}

// killAll kills everything the command started, itself included, and returns
// when nothing is left. Orphans come to us, so killing what is there again and
// again finds all. It is patient with a process that is deep in the kernel.
func (s *shim) killAll() {
	wait := time.Millisecond
	for {
		s.killOnce()
		if !s.reap() {
			return
		}
		select {
		case <-s.children:
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		}
	}
}

func (s *shim) killOnce() {
	if s.first() || s.alone { // all at once: what forks meanwhile is hit too
		syscall.Kill(-1, syscall.SIGKILL)
		return
	}
	if g := s.spec.Group; g != nil { // likewise, as far as it is in there still
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		g.Kill(ctx)
		cancel()
	}
	if !s.ended { // a group's ID may be another's once its leader was reaped
		syscall.Kill(-s.pid, syscall.SIGKILL)
	}
	for _, pid := range descendants(os.Getpid()) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// finish cleans up behind a command that has ended and records how it did.
func (s *shim) finish(o *output) {
	if !tracksOrphans { // its group is the best we know; the ID was free for no time at all
		syscall.Kill(-s.pid, syscall.SIGKILL)
	}
	s.killAll()
	select {
	case <-o.done:
	case <-time.After(2 * time.Second): // somebody who is no child of ours holds the pipe
		o.from.Close()
		<-o.done
	}
	if s.why != "" {
		fmt.Fprintf(o.to, "[sluice: %s]\n", s.why)
		o.to.Close()
	}
	s.state.Exit.Message = terminationMessage(s.spec.Termination)
	s.state.Ended = time.Now()
}

func (s *shim) save() error { return WriteJSON(filepath.Join(s.dir, StateFile), s.state) }

// saveForSure writes the last state and does not give up at once: a full disk
// is often emptied, and an exit that was not written down is lost. If the
// instance's directory is gone, nobody is left to tell.
func (s *shim) saveForSure() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for {
		err := s.save()
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("recording the end: %w", err)
		}
	}
}

func environ(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// readyFile gives the descriptor that the engine waits on. It must not reach
// the command.
func readyFile() *os.File {
	fd, err := strconv.Atoi(os.Getenv(ReadyVar))
	if err != nil || fd < 3 {
		return nil
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready")
}
