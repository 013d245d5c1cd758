//go:build unix

package scoring

import (
	"syscall"
	"testing"
)

// A worker that somebody kills while it starts is started again; one that is
// killed every time is not, and says so.
func TestKilledWhileItStarts(t *testing.T) {
	r := launch(t, gate+`
def init():
    hold("init")
def run(data):
    return data
`)
	starting := func(not int) (pid int) {
		r.eventually("a worker is in init", func() bool {
			p := r.server.pool
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, w := range p.workers {
				if w.phase == PhaseInit && w.pid != not {
					pid = w.pid
				}
			}
			return pid != 0
		})
		return pid
	}
	pid := 0
	for range strikes {
		pid = starting(pid)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	starting(pid)
	r.touch("init.go")
	r.eventually("it serves", func() bool { return r.get("/").Status == 200 })
	r.score("x").wants(t, 200, `"x"`)
}
