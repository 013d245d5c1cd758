package scoring

import (
	"testing"
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
