package loss

import (
	"bufio"
	"net"
	"sync"
)

// Counter is where scripts say what they run: the nonce, a line each, over a
// connection to its address. What was written before a script is killed arrives.
type Counter struct {
	listener net.Listener
	reading  sync.WaitGroup

	mu   sync.Mutex
	ran  map[string]int // by nonce, guarded by mu
	open map[net.Conn]bool
}

// Count begins to listen on a port of loopback.
func Count() (*Counter, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &Counter{listener: l, ran: map[string]int{}, open: map[net.Conn]bool{}}
	c.reading.Go(c.accept)
	return c, nil
}

// Port is where to connect to on 127.0.0.1.
func (c *Counter) Port() int { return c.listener.Addr().(*net.TCPAddr).Port }

func (c *Counter) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.open[conn] = true
		c.mu.Unlock()
		c.reading.Go(func() { c.read(conn) })
	}
}

func (c *Counter) read(conn net.Conn) {
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		c.mu.Lock()
		c.ran[lines.Text()]++
		c.mu.Unlock()
	}
}

// runs gives how often each nonce was run so far. What was answered has been
// said before; a moment later all of it has been read.
func (c *Counter) runs() map[string]int {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]int, len(c.ran))
	for nonce, n := range c.ran {
		out[nonce] = n
	}
	return out
}

// Ran gives how often a script said that it ran the nonce.
func (c *Counter) Ran(nonce string) int { return c.runs()[nonce] }

// Reset forgets what was run.
func (c *Counter) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.ran)
}

// Close ends it.
func (c *Counter) Close() {
	c.listener.Close()
	c.mu.Lock()
	for conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.reading.Wait()
}

// Script is a scoring script that says what it runs to the counter whose port is
// in the variable COUNTER, and answers with the nonce and a number of this life.
const Script = `import os
import socket
import time

me = int.from_bytes(os.urandom(6), "big")
counter = None


def init():
    global counter
    counter = socket.create_connection(("127.0.0.1", int(os.environ["COUNTER"])))
    counter.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def run(data):
    counter.sendall(data.encode() + b"\n")
    time.sleep(0.001)
    return [data, me]
`
