package enginetest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sluice-ml/sluice/engine"
)

// actorPort is a port of the actor's own choosing, which all its copies want.
const actorPort = 18472

func fixedPorts(s *stage) {
	w := s.workload("w", engine.RestartAlways, "serve:18472=${instance}")
	w.Template.Port = actorPort
	err := s.Ensure(s.Context(), 1, w, 2)
	replicas := 2
	if errors.Is(err, engine.ErrPortShared) { // said by name: then one must do
		err, replicas = s.Ensure(s.Context(), 1, w, 1), 1
	}
	if err != nil {
		s.Fatalf("Ensure: %v", err)
	}
	for _, i := range s.running("w", replicas) {
		answer := ""
		s.poll(func() string { return "an answer of instance " + i.ID + " at " + i.Address + "; it is " + answer }, func() bool {
			answer = ask(s.Context(), i.Address)
			return answer == i.ID
		})
		if answer := ask(s.Context(), i.Address); answer != i.ID { // and again
			s.Errorf("instance %s answers %q", i.ID, answer)
		}
	}
}

// ask calls an address and gives the answer, or the error in its place.
func ask(ctx context.Context, address string) string {
	transport := &http.Transport{DisableKeepAlives: true}
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		address = "http://instance"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
