//go:build unix

package handover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Offer answers adopters at the path until the context is done. It replaces a
// socket that a dead process left there.
func Offer(ctx context.Context, path string, c Child) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clearing the way for %s: %w", path, err)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("offering the %s for adoption: %w", c.Name, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("making %s private: %w", path, err)
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	var once sync.Once
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accepting an adopter: %w", err)
		}
		group.Go(func() {
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			defer conn.Close()
			attend(conn.(*net.UnixConn), c, &once)
		})
	}
}

// attend serves one adopter until it goes away.
func attend(conn *net.UnixConn, c Child, once *sync.Once) {
	line, err := json.Marshal(hello{Name: c.Name, PID: os.Getpid(), Version: c.Version})
	if err != nil {
		return
	}
	tcp, ok := c.Listener.(*net.TCPListener)
	if !ok {
		return
	}
	if err := send(conn, append(line, '\n'), tcp); err != nil {
		return
	}
	scanner := bufio.NewScanner(conn)
	for scanner.Scan() {
		var r stop
		if json.Unmarshal(scanner.Bytes(), &r) == nil && r.Stop {
			once.Do(func() { c.Stop(r.All) })
		}
	}
}

// send writes the line with the listener's descriptor beside it. It uses the
// descriptor in place: os.File.Fd would switch the socket, which both ends
// share, to blocking mode.
func send(conn *net.UnixConn, line []byte, l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		_, _, sent = conn.WriteMsgUnix(line, syscall.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sent)
}

// Adopted is a running child as its adopter sees it.
type Adopted struct {
	Name    string
	PID     int
	Version string
	// Socket is a copy of the child's listening socket.
	Socket *os.File

	conn *net.UnixConn
	gone chan struct{}
}

// Adopt connects to the child that offers itself at the path. The error is
// [ErrAbsent] when there is none, and [ErrEnding] when it ends just now.
func Adopt(path string) (*Adopted, error) {
	c, err := net.DialTimeout("unix", path, 2*time.Second)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, ErrAbsent
		}
		return nil, fmt.Errorf("adopting at %s: %w", path, err)
	}
	conn := c.(*net.UnixConn)
	a, err := greet(conn)
	if err != nil {
		conn.Close()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = ErrEnding
		}
		return nil, fmt.Errorf("adopting at %s: %w", path, err)
	}
	go func() {
		// The child never writes again: this ends with it.
		io.Copy(io.Discard, conn)
		close(a.gone)
	}()
	return a, nil
}

func greet(conn *net.UnixConn) (*Adopted, error) {
	conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	defer conn.SetReadDeadline(time.Time{})
	line, rights := make([]byte, 4096), make([]byte, syscall.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(line, rights)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	var h hello
	if err := json.Unmarshal(line[:n], &h); err != nil {
		return nil, fmt.Errorf("reading its greeting: %w", err)
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:oobn])
	if err != nil || len(messages) == 0 {
		return nil, errors.New("it did not hand over its socket")
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil, errors.New("it did not hand over its socket")
	}
	syscall.CloseOnExec(fds[0])
	return &Adopted{Name: h.Name, PID: h.PID, Version: h.Version, conn: conn,
		Socket: os.NewFile(uintptr(fds[0]), h.Name), gone: make(chan struct{})}, nil
}

// Gone is closed when the child has ended.
func (a *Adopted) Gone() <-chan struct{} { return a.gone }

// Stop asks the child to end, and with all whatever it keeps running too. A
// child that has ended already is not an error.
func (a *Adopted) Stop(all bool) error {
	line, err := json.Marshal(stop{Stop: true, All: all})
	if err != nil {
		return err
	}
	_, err = a.conn.Write(append(line, '\n'))
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil // it has ended meanwhile
	}
	return err
}

// Release lets go of the child, which goes on, and keeps the copy of its
// socket.
func (a *Adopted) Release() {
	a.conn.Close()
	<-a.gone
}

// Close lets go of the child, which goes on, and of the copy of its socket.
func (a *Adopted) Close() {
	a.Release()
	a.Socket.Close()
}
