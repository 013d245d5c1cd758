//go:build unix

package scoring

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestHealthPort opens the two ports. Both answer everything, as the original's
// do.
func TestHealthPort(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "score.py"), []byte(echo), 0o600); err != nil {
		t.Fatal(err)
	}
	port, health := freePort(t), freePort(t)
	settings, err := Resolve(Flags{EntryScript: "score.py", Python: python(t), Port: port, HealthPort: health},
		append(os.Environ(), "SEPERATE_HEALTH_ENDPOINT=true"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if lines := banner(settings); !slices.Contains(lines, fmt.Sprintf("Liveness Probe: GET   127.0.0.1:%d/", health)) ||
		!slices.Contains(lines, fmt.Sprintf("Health Port: %d", health)) {
		t.Errorf("the banner does not name the health port:\n%q", lines)
	}
	listeners, err := listen(settings)
	if err != nil || len(listeners) != 2 {
		t.Fatalf("%d listeners, %v", len(listeners), err)
	}
	r := &running{t: t, log: &output{}, dir: dir, done: make(chan error, 1)}
	r.server = New(settings, NewLog(r.log, os.Getpid()), os.Getpid())
	ctx, cancel := context.WithCancel(context.Background())
	go func() { r.done <- r.server.Run(ctx, listeners) }()
	defer func() {
		cancel()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	}()
	for _, p := range []int{health, port} {
		r.client = clientTo("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		r.eventually("it is ready", func() bool { return r.get("/").Body == "Healthy" })
		r.score("x").wants(t, 200, `"x"`)
		r.client.CloseIdleConnections()
	}
}
