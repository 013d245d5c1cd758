package scoring

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Server is a scoring server: HTTP in front, workers behind. Make it with New,
// then call Run once; Drain may be called from any goroutine.
type Server struct {
	settings Settings
	log      *Log
	pool     *Pool
	pid      int

	draining atomic.Bool
	drain    chan struct{} // closed by Drain
	once     sync.Once
	inFlight atomic.Int64
	activity chan struct{} // one slot; an answer was given
}

// New makes a server; it does nothing until Run.
func New(s Settings, log *Log, pid int) *Server {
	return &Server{settings: s, log: log, pool: NewPool(s, log), pid: pid,
		drain: make(chan struct{}), activity: make(chan struct{}, 1)}
}

// quiet is how long nothing must have come before a draining server takes it
// that nobody sends any more.
const quiet = 250 * time.Millisecond

// hangUp is how long it then waits for its callers to close their connections:
// one that they still keep may bring a request at any moment, and ending it then
// would lose that.
const hangUp = 3 * time.Second

// lastWords is the time for answers to leave at the end of the grace.
const lastWords = 100 * time.Millisecond

// Run serves on the listeners, which it closes, until the context is done or a
// drain has ended. When the script cannot be loaded it answers a *[sluice.Cause].
// When it returns, everything it started has ended.
func (s *Server) Run(ctx context.Context, listeners []net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.settings.CrossOrigin != nil {
		s.log.Printf('I', "Enabling CORS for the following origins: %s", s.settings.CrossOrigin.written)
	}
	front := newFront(s)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.pool.Run(ctx) })
	for _, l := range listeners {
		group.Go(func() error { return front.serve(ctx, l) })
	}
	group.Go(func() error {
		s.waitDrained(ctx, front.callers.Load)
		cancel()
		return nil
	})
	return group.Wait()
}

// Drain asks the server to leave: it still accepts and answers, with
// "Connection: close", and goes when nothing is in flight and its callers have
// closed their connections, at the latest after Settings.Grace.
func (s *Server) Drain() {
	s.once.Do(func() {
		s.draining.Store(true)
		close(s.drain)
	})
}

func (s *Server) left() {
	if s.inFlight.Add(-1) == 0 && s.draining.Load() {
		select {
		case s.activity <- struct{}{}:
		default:
		}
	}
}

// waitDrained returns when a drain has ended. Callers gives how many connections
// are open that could bring more.
func (s *Server) waitDrained(ctx context.Context, callers func() int64) {
	select {
	case <-ctx.Done():
		return
	case <-s.drain:
	}
	grace := time.NewTimer(s.settings.Grace)
	defer grace.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-grace.C:
			s.pool.close()
			// What waited is told so before the connections end.
			select {
			case <-ctx.Done():
			case <-time.After(lastWords):
			}
			return
		case <-s.activity:
			// Something was there a moment ago: the quiet begins anew.
			last = time.Now()
		case <-time.After(quiet):
			if s.inFlight.Load() == 0 && (callers() == 0 || time.Since(last) >= hangUp) {
				return
			}
		}
	}
}
