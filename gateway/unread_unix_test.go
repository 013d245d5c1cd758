//go:build unix

package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// An instance that ends with a request of which it has read nothing, or whose
// connection it had not even accepted, has not begun it.
func TestUnreadRequestGoesElsewhere(t *testing.T) {
	for name, end := range map[string]func(l net.Listener){
		"accepted, not read": func(l net.Listener) {
			if conn, err := l.Accept(); err == nil {
				waitReadable(t, conn.(*net.UnixConn))
				conn.Close()
			}
			l.Close()
		},
		"not accepted": func(l net.Listener) {
			waitReadable(t, l.(*net.UnixListener))
			l.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			dying := &instance{id: "dying", socket: filepath.Join(shortDir(t), "s")}
			l, err := net.Listen("unix", dying.socket)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { defer close(ended); end(l) }()
			r := newRig(t, Config{}, iris(1, dying))
			answered := make(chan answer, 1)
			go func() { answered <- r.post("asked once") }()
			<-ended
			alive := start(t, "alive", echo)
			r.Apply(iris(2, alive))
			if a := <-answered; a.status != 200 || a.body != "asked once" || alive.calls.Load() != 1 {
				t.Errorf("got %d %s, after %d calls", a.status, a.body, alive.calls.Load())
			}
		})
	}
}

// waitReadable waits until something has come: bytes on a connection, or a
// connection on a listener. Nothing is taken.
func waitReadable(t *testing.T, c syscall.Conn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	var n int
	var pollErr error
	err = raw.Control(func(fd uintptr) {
		n, pollErr = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	})
	if err != nil || pollErr != nil || n != 1 {
		t.Errorf("waiting until something comes: %d, %v, %v", n, err, pollErr)
	}
}

func TestNotBegun(t *testing.T) {
	reset, eof := fmt.Errorf("read: %w", syscall.ECONNRESET), io.EOF
	for _, test := range []struct {
		err   error
		whole bool
		want  bool
	}{
		{&refusedError{io.EOF}, false, true},
		{errors.New("http: server closed idle connection"), false, true},
		{reset, true, true}, {reset, false, false},
		{fmt.Errorf("write: %w", syscall.EPIPE), true, true},
		{eof, true, false},
	} {
		if got := notBegun(test.err, test.whole); got != test.want {
			t.Errorf("notBegun(%v, %v) = %v", test.err, test.whole, got)
		}
	}
	if takenWhole("GET", payload{whole: []byte("x")}) || !takenWhole("GET", payload{}) || !takenWhole("POST", payload{whole: []byte("x")}) {
		t.Error("of a GET the body may be left unread, of a POST it may not")
	}
}
