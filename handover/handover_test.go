//go:build unix

package handover_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/handover"
)

// offer runs a child in this process and gives its control path.
func offer(t *testing.T, stop func(all bool)) (path, address string, end func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "handover")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "c.sock")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- handover.Offer(ctx, path, handover.Child{Name: "server", Version: "1", Listener: l, Stop: stop})
	}()
	end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("offering: %v", err)
		}
		l.Close()
	}
	return path, l.Addr().String(), end
}

func adopt(t *testing.T, path string) *handover.Adopted {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		a, err := handover.Adopt(path)
		if err == nil {
			return a
		}
		if !errors.Is(err, handover.ErrAbsent) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestAdoptNobody(t *testing.T) {
	_, err := handover.Adopt(filepath.Join(t.TempDir(), "none.sock"))
	if !errors.Is(err, handover.ErrAbsent) {
		t.Errorf("adopting where nobody is: %v, want ErrAbsent", err)
	}
}

func TestAdoptedSocketServesAfterTheChildHasGone(t *testing.T) {
	path, address, end := offer(t, nil)
	a := adopt(t, path)
	if a.Name != "server" || a.PID != os.Getpid() || a.Version != "1" {
		t.Errorf("adopted %+v, want this process's server", a)
	}
	end()
	<-a.Gone()
	a.Release()

	l, err := net.FileListener(a.Socket)
	if err != nil {
		t.Fatal(err)
	}
	a.Socket.Close()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "still here") })}
	go server.Serve(l)
	defer server.Close()
	answer, err := http.Get("http://" + address)
	if err != nil {
		t.Fatalf("the socket did not outlive its child: %v", err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); string(body) != "still here" {
		t.Errorf("got %q", body)
	}
}

func TestStopReachesTheChildOnce(t *testing.T) {
	stopped := make(chan bool, 2)
	path, _, end := offer(t, func(all bool) { stopped <- all })
	defer end()
	a, b := adopt(t, path), adopt(t, path)
	defer b.Close()
	defer a.Close()
	if err := a.Stop(true); err != nil {
		t.Fatal(err)
	}
	if all := <-stopped; !all {
		t.Error("the child was told to leave its instances running")
	}
	if err := b.Stop(false); err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(false); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stopped:
		t.Error("the child was stopped twice")
	default:
	}
}

func TestANewChildReplacesADeadSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := handover.Adopt(path); !errors.Is(err, handover.ErrAbsent) {
		t.Errorf("adopting at a dead socket: %v, want ErrAbsent", err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- handover.Offer(ctx, path, handover.Child{Name: "server", Listener: tcp}) }()
	adopt(t, path).Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket has mode %v, want 0600", info.Mode().Perm())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A child that stops has closed its socket before it is gone: whoever comes in
// between is told so, and not that something is broken.
func TestAdoptChildThatEnds(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.sock")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- handover.Offer(ctx, path, handover.Child{Name: "server", Listener: l, Stop: func(bool) {}})
	}()
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, err = handover.Adopt(path)
		if !errors.Is(err, handover.ErrAbsent) || time.Now().After(deadline) {
			break
		}
	}
	if !errors.Is(err, handover.ErrEnding) {
		t.Errorf("adopting gave %v, want ErrEnding", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("offering: %v", err)
	}
}

func TestStoppingWhatHasEnded(t *testing.T) {
	path, _, end := offer(t, func(bool) {})
	a := adopt(t, path)
	defer a.Close()
	end()
	<-a.Gone()
	for range 2 {
		if err := a.Stop(true); err != nil {
			t.Errorf("stopping a child that has ended: %v", err)
		}
	}
}
