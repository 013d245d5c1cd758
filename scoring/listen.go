package scoring

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/sluice-ml/sluice"
)

// listen opens everything the server listens on. A port that is taken is a
// cause of its own.
func listen(s Settings) ([]net.Listener, error) {
	if l, err := handedOver(); l != nil || err != nil {
		return []net.Listener{l}, err
	}
	if s.Socket != "" {
		l, err := listenSocket(s.Socket)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	var out []net.Listener
	for _, port := range []int{s.Port, s.HealthPort} {
		if port == 0 || len(out) > 0 && port == s.Port {
			continue
		}
		l, err := net.Listen("tcp4", ":"+strconv.Itoa(port))
		if err == nil {
			out = append(out, l)
			continue
		}
		for _, opened := range out {
			err = errors.Join(err, opened.Close())
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, &sluice.Cause{Code: sluice.CausePortTaken,
				Message: fmt.Sprintf("port %d is taken by another process", port), Hint: "choose another with --port"}
		}
		return nil, fmt.Errorf("listening on port %d: %w", port, err)
	}
	return out, nil
}

// listenSocket listens on a Unix socket that only its owner may use. One left
// behind by a server that is gone is replaced.
func listenSocket(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close() // it was only to see whether anybody is there
			return nil, &sluice.Cause{Code: sluice.CausePortTaken,
				Message: fmt.Sprintf("another process listens on %s", path), Hint: "choose another with --socket"}
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing old socket: %w", err)
		}
	}
	l, err := listenPrivately(path)
	if err != nil {
		return nil, fmt.Errorf("listening on socket: %w", err)
	}
	return l, nil
}

// handedOver gives the socket that whoever started us listens on already, in
// the way of systemd; nil when there is none. Its variables are for us alone.
func handedOver() (net.Listener, error) {
	pid, sockets := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	os.Unsetenv("LISTEN_PID")
	os.Unsetenv("LISTEN_FDS")
	if sockets == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	guard()
	const first = 3
	f := os.NewFile(first, "socket")
	defer f.Close()
	l, err := net.FileListener(f) // a copy, which workers do not inherit
	if err != nil {
		return nil, fmt.Errorf("taking over the socket: %w", err)
	}
	return l, nil
}
