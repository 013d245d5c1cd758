package scoring

import "time"

// pace learns how long run() takes, and from it how many requests a worker may
// be given at once. Handing over several saves two wake-ups for each; it is
// only worth it, and only fair to the other workers, while each is short.
type pace struct {
	mean  time.Duration // exponentially weighted, weight 1/8
	known bool
}

const (
	shortRun = 2 * time.Millisecond // above it requests are handed over one at a time
	window   = 4 * time.Millisecond // of work that may wait inside a worker
)

func (p *pace) observe(ran time.Duration) {
	ran = max(ran, 0)
	if !p.known {
		p.mean, p.known = ran, true
		return
	}
	p.mean += (ran - p.mean) / 8
}

// depth is how many requests a worker may hold, the running one included.
func (p *pace) depth() int {
	if !p.known || p.mean > shortRun {
		return 1
	}
	return int(min(slots, window/max(p.mean, time.Microsecond)))
}
