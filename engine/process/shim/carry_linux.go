package shim

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// carry takes what comes to a socket of the machine to a port of the network
// that a process has for itself, until this program ends. A port at which nobody
// listens refuses, as it would without us in between.
func carry(socket *os.File, pid, port int) error {
	l, err := net.FileListener(socket)
	if err != nil {
		return fmt.Errorf("carrying connections to port %d: %w", port, err)
	}
	network, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return errors.Join(fmt.Errorf("carrying connections to port %d: %w", port, err), l.Close())
	}
	d := &dialer{port: port, ask: make(chan struct{}), got: make(chan dialed)}
	entered := make(chan error)
	go d.serve(network, entered)
	if err := <-entered; err != nil {
		return errors.Join(fmt.Errorf("carrying connections to port %d: %w", port, err), l.Close())
	}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return // the program ends
			}
			to, err := d.dial()
			if err != nil {
				from.Close() // as good as refused: nothing was read
				continue
			}
			go join(from, to)
		}
	}()
	return nil
}

// dialer makes connections in another network, from one thread that lives
// there.
type dialer struct {
	port int
	ask  chan struct{}
	got  chan dialed
}

type dialed struct {
	conn net.Conn
	err  error
}

func (d *dialer) dial() (net.Conn, error) {
	d.ask <- struct{}{}
	got := <-d.got
	return got.conn, got.err
}

func (d *dialer) serve(network *os.File, entered chan<- error) {
	runtime.LockOSThread() // for good: the thread belongs to the other network now
	err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
	network.Close()
	entered <- err
	if err != nil {
		return
	}
	for range d.ask {
		conn, err := d.connect()
		d.got <- dialed{conn, err}
	}
}

// connect connects to loopback, which answers at once.
func (d *dialer) connect() (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "port")
	defer f.Close()
	// One whose queue is full must not hold up the others for long.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: d.port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// join copies both ways until both have ended, passing on the end of each.
func join(a, b net.Conn) {
	done := make(chan struct{})
	one := func(to, from net.Conn) {
		io.Copy(to, from) // an error ends the direction, as the end does
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
		done <- struct{}{}
	}
	go one(a, b)
	go one(b, a)
	<-done
	<-done
	a.Close()
	b.Close()
}
