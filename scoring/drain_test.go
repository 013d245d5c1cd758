package scoring

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// A server that is asked all the time whether it is ready, and never will be,
// leaves when it is told to, not at the end of its grace.
func TestDrainBeforeItIsReady(t *testing.T) {
	r := launch(t, gate+`
def init():
    hold("init")
def run(data):
    return data
`, grace(time.Hour))
	r.file("init.held")
	stop, asked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(asked)
		tick := time.NewTicker(quiet / 10)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = r.try("GET", "/", "") // it fails once the server is gone
				_, _ = r.try("GET", "/v2/health/live", "")
			}
		}
	}()
	r.server.Drain()
	select {
	case <-r.done:
	case <-time.After(deadline):
		t.Error("the questions of the prober keep the server from leaving")
	}
	close(stop)
	<-asked
}

// A server that is told to leave goes when its callers have hung up, or have
// kept their connections for nothing for long enough.
func TestDrainWaitsForCallersToHangUp(t *testing.T) {
	for name, test := range map[string]struct {
		hangsUp, want time.Duration // after the drain began
	}{
		"nobody is there":                 {0, quiet},
		"they hang up":                    {time.Second, time.Second},
		"they keep an idle connection":    {time.Hour, hangUp},
		"they hang up at the last moment": {hangUp - time.Millisecond, hangUp},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Settings{Grace: time.Minute}, NewLog(io.Discard, 1), 1)
				began := time.Now()
				s.Drain()
				s.waitDrained(t.Context(), func() int64 {
					if time.Since(began) >= test.hangsUp {
						return 0
					}
					return 1
				})
				if took := time.Since(began); took < test.want || took > test.want+quiet {
					t.Errorf("it left after %v, want %v", took, test.want)
				}
			})
		})
	}
}

// Connections on which nobody scores are none of a caller's.
func TestCallersAreCounted(t *testing.T) {
	f := newFront(nil)
	conn, _ := net.Pipe()
	ctx := f.server.ConnContext(t.Context(), conn)
	for _, step := range []struct {
		path string
		want int64
	}{{"/", 0}, {"/v2/health/live", 0}, {"/score", 1}, {"/score", 1}, {"/", 1}} {
		f.note(httptest.NewRequest("POST", step.path, nil).WithContext(ctx))
		if got := f.callers.Load(); got != step.want {
			t.Errorf("after %s: %d callers, want %d", step.path, got, step.want)
		}
	}
	f.server.ConnState(conn, http.StateClosed)
	f.server.ConnState(conn, http.StateClosed)
	if got := f.callers.Load(); got != 0 {
		t.Errorf("after the connection was closed: %d callers", got)
	}
}
