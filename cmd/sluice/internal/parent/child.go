package parent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/handover"
	"github.com/sluice-ml/sluice/home"
)

// child is one of the two processes, as the parent keeps it.
type child struct {
	*parent
	name    string
	control string   // path of the socket it offers itself on
	socket  *os.File // what it serves on

	// adopted is used by one goroutine at a time: keep, then end.
	adopted *handover.Adopted
}

const (
	// comeUp is how long a child may take until it offers itself.
	comeUp = 30 * time.Second
	// goDown is how long it may take to stop, requests under way and instances
	// included.
	goDown = sluice.MaxRequestTimeout + 30*time.Second

	firstPause = 50 * time.Millisecond
	longPause  = 5 * time.Second
	// steady is how long a child must have run to be started again at once.
	steady = 2 * time.Second
)

// open adopts the child if it runs, and opens its socket if not.
func (c *child) open(address string) error {
	a, err := adopt(c.control)
	if err == nil {
		c.Logger.Info("adopted", "child", c.name, "pid", a.PID)
		c.adopted, c.socket = a, a.Socket
		return nil
	}
	if !errors.Is(err, handover.ErrAbsent) {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return listenError(c.name, address, err)
	}
	defer l.Close()
	c.socket, err = l.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("keeping the socket of the %s: %w", c.name, err)
	}
	return nil
}

// adopt takes over the child that offers itself at the path. One that is ending
// is waited for: it holds what the next one needs.
func adopt(path string) (*handover.Adopted, error) {
	deadline := time.Now().Add(goDown)
	for {
		a, err := handover.Adopt(path)
		if !errors.Is(err, handover.ErrEnding) || time.Now().After(deadline) {
			return a, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// keep has the child running until the context is done.
func (c *child) keep(ctx context.Context) {
	wait := firstPause
	for {
		began := time.Now()
		if c.adopted == nil {
			if err := c.start(ctx); err != nil && ctx.Err() == nil {
				c.Logger.Error("starting", "child", c.name, "err", err)
				c.giveUp(err)
			}
		}
		if c.adopted != nil {
			c.serving(c.adopted)
			select {
			case <-c.adopted.Gone():
			case <-ctx.Done():
				return
			}
			c.Logger.Warn("ended", "child", c.name, "pid", c.adopted.PID)
			c.lost()
		}
		if time.Since(began) > steady {
			wait = firstPause
		}
		// It is started again at once; only one that keeps dying is made to
		// wait.
		select {
		case <-time.After(wait - firstPause):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, longPause)
	}
}

// start runs the child on its socket and waits until it serves.
func (c *child) start(ctx context.Context) error {
	log, err := c.logFile(c.name)
	if err != nil {
		return err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	cmd := exec.Command(c.Program, c.name)
	cmd.Env = append(os.Environ(), handover.InheritEnv(), "SLUICE_HOME="+string(c.Home),
		home.EnvAPIListen+"="+c.Settings.API.Listen, home.EnvGatewayListen+"="+c.Settings.Gateway.Listen)
	if c.Settings.Engine.StrictCapacity {
		cmd.Env = append(cmd.Env, home.EnvStrictCapacity+"=1")
	}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{c.socket}
	Detach(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.Now().Add(comeUp)
	for {
		a, err := handover.Adopt(c.control)
		if err == nil && a.PID == cmd.Process.Pid {
			c.adopted = a
			return nil
		}
		if err == nil {
			a.Close()
		}
		select {
		case err := <-ended:
			return whyEnded(c.name, err, log.Name(), info.Size())
		case <-ctx.Done():
			cmd.Process.Kill()
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			return fmt.Errorf("it did not serve within %s (its log is %s)", comeUp, log.Name())
		}
	}
}

// lost forgets a child that has ended, but keeps its socket.
func (c *child) lost() {
	if c.socket == c.adopted.Socket {
		// Adopted from another parent: the copy of the socket came with it.
		c.adopted.Release()
	} else {
		c.adopted.Close()
	}
	c.adopted = nil
}

// end stops the child and what it runs, by force when it takes too long.
func (c *child) end() error {
	if c.adopted == nil {
		return nil
	}
	if err := c.adopted.Stop(true); err != nil {
		c.Logger.Warn("asking to stop", "child", c.name, "err", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), goDown)
	defer cancel()
	if ended(ctx, c.adopted) == nil {
		return nil
	}
	p, err := os.FindProcess(c.adopted.PID)
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil {
		return fmt.Errorf("stopping the %s by force: %w", c.name, err)
	}
	return fmt.Errorf("the %s did not stop within %s and was ended by force", c.name, goDown)
}
