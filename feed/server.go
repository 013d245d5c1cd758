package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
)

// maxGateways is how many streams a server serves at once.
const maxGateways = 256

// Config is what a [Server] needs. Everything in it is optional.
type Config struct {
	// OnLoad gets each report of a gateway; its Gateway is the name from the
	// gateway's hello. Calls for one gateway come one after another.
	OnLoad func(sluice.Load)
	// OnLeave is called when a gateway's stream has ended: its load is unknown
	// from now on.
	OnLeave func(gateway string)
	// OnApplied is called when [Server.Applied] may have become true.
	OnApplied func()
	Logger    *slog.Logger
}

// Server is the end that publishes routes.
type Server struct {
	config Config

	mu       sync.Mutex // guards what follows
	complete bool       // everything there is has been published
	routes   map[string]sluice.Routes
	gateways map[*follower]bool
}

// follower is one connected gateway as the server sees it.
type follower struct {
	name    string
	wake    chan struct{}            // one slot: look again
	pending map[string]sluice.Routes // the newest not sent yet; guarded by Server.mu
	synced  bool                     // has been sent; guarded by Server.mu
	applied map[string]int64         // versions it serves with; guarded by Server.mu
}

// NewServer gives a server that knows of no endpoint yet.
func NewServer(config Config) *Server {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{config: config, routes: map[string]sluice.Routes{}, gateways: map[*follower]bool{}}
}

func keyOf(r sluice.Routes) string {
	return strings.ToLower(r.Workspace + "/" + r.Endpoint)
}

// PublishAll replaces everything that was published: endpoints that are not
// among the routes are gone. Until it has been called once, gateways wait and
// keep what they have.
func (s *Server) PublishAll(all []sluice.Routes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := map[string]bool{}
	for _, r := range all {
		if !r.Gone {
			keep[keyOf(r)] = true
		}
		s.publish(r)
	}
	for key, r := range s.routes {
		if !keep[key] {
			s.publish(sluice.Routes{Workspace: r.Workspace, Endpoint: r.Endpoint, UID: r.UID, Version: r.Version + 1, Gone: true})
		}
	}
	if !s.complete {
		s.complete = true
		for f := range s.gateways {
			s.catchUp(f)
		}
	}
}

// Publish makes r the newest routes of its endpoint and sends them to every
// gateway. Routes that are not newer than those known for the same endpoint
// (by UID) are passed over. It does not wait for gateways.
func (s *Server) Publish(r sluice.Routes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish(r)
}

func (s *Server) publish(r sluice.Routes) {
	key := keyOf(r)
	known, exists := s.routes[key]
	switch {
	case exists && known.UID == r.UID && r.Version <= known.Version && !r.Gone:
		return
	case r.Gone && (!exists || known.UID != r.UID):
		return // another endpoint has the name by now, or none has
	case r.Gone:
		delete(s.routes, key)
	default:
		s.routes[key] = r
	}
	if !s.complete {
		return // nobody is owed anything yet
	}
	for f := range s.gateways {
		f.pending[key] = r
		if r.Gone && !f.synced {
			delete(f.pending, key) // its snapshot is not out yet: leave it out there
		}
		notify(f.wake)
	}
}

// catchUp owes the gateway everything.
func (s *Server) catchUp(f *follower) {
	for key, r := range s.routes {
		f.pending[key] = r
	}
	notify(f.wake)
}

func notify(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Applied reports whether every gateway whose stream is up serves the endpoint
// with this version of its routes or a newer one.
func (s *Server) Applied(workspace, endpoint string, version int64) bool {
	key := keyOf(sluice.Routes{Workspace: workspace, Endpoint: endpoint})
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.gateways {
		if f.applied[key] < version {
			return false
		}
	}
	return true
}

// apply notes what a gateway says it serves with.
func (s *Server) apply(f *follower, all []applied) {
	s.mu.Lock()
	for _, a := range all {
		key := keyOf(sluice.Routes{Workspace: a.Workspace, Endpoint: a.Endpoint})
		f.applied[key] = max(f.applied[key], a.Version)
	}
	for key := range f.applied {
		if _, exists := s.routes[key]; !exists {
			delete(f.applied, key)
		}
	}
	s.mu.Unlock()
	if s.config.OnApplied != nil {
		s.config.OnApplied()
	}
}

// Serve accepts gateways until ctx is done or the listener fails. It closes
// the listener, ends all streams and waits for them.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var streams sync.WaitGroup
	defer streams.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()

	slots := make(chan struct{}, maxGateways)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting gateways: %w", err)
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		streams.Go(func() {
			defer func() { <-slots }()
			s.serveOne(ctx, conn)
		})
	}
}

// serveOne owns one stream from hello to end.
func (s *Server) serveOne(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	st := newStream(conn)
	f, err := s.greet(st)
	if err != nil {
		s.config.Logger.Warn("refused a gateway", "error", err)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(s.hear(st, f))
	}()
	s.join(f)
	s.config.Logger.Info("gateway connected", "gateway", f.name)
	err = s.tell(ctx, st, f)
	s.leave(f)
	if s.config.OnApplied != nil {
		s.config.OnApplied() // nobody waits for this one any more
	}
	conn.Close() // ends hear
	<-done
	cancel(nil)
	if s.config.OnLeave != nil {
		s.config.OnLeave(f.name)
	}
	s.config.Logger.Info("gateway left", "gateway", f.name, "reason", err)
}

// greet reads the gateway's hello and answers it.
func (s *Server) greet(st *stream) (*follower, error) {
	m, err := st.receive()
	if err != nil {
		return nil, err
	}
	if m.Hello == nil || len(m.Hello.Name) > 128 {
		return nil, errors.New("the stream does not begin with a hello")
	}
	speak, err := agree(*m.Hello)
	if err != nil {
		return nil, errors.Join(err, st.send(message{Refuse: err.Error()}))
	}
	if err := st.send(message{Hello: &hello{Version: speak}}); err != nil {
		return nil, err
	}
	return &follower{name: m.Hello.Name, wake: make(chan struct{}, 1), pending: map[string]sluice.Routes{},
		applied: map[string]int64{}}, nil
}

func (s *Server) join(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gateways[f] = true
	if s.complete {
		s.catchUp(f)
	}
}

func (s *Server) leave(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.gateways, f)
}

// take gives what the gateway is owed, and owes it nothing any more.
func (s *Server) take(f *follower) []message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.complete {
		return nil
	}
	var out []message
	for _, r := range f.pending {
		out = append(out, message{Routes: &r})
	}
	clear(f.pending)
	if !f.synced {
		f.synced = true
		out = append(out, message{Synced: true})
	}
	return out
}

// tell sends routes until the stream ends.
func (s *Server) tell(ctx context.Context, st *stream, f *follower) error {
	silence := time.NewTicker(pingAfter)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-silence.C:
			if err := st.send(message{Ping: true}); err != nil {
				return err
			}
		case <-f.wake:
			if err := st.send(s.take(f)...); err != nil {
				return err
			}
		}
	}
}

// hear takes what the gateway sends until the stream ends.
func (s *Server) hear(st *stream, f *follower) error {
	for {
		m, err := st.receive()
		if err != nil {
			return err
		}
		if len(m.Applied) > 0 {
			s.apply(f, m.Applied)
		}
		if m.Load != nil && s.config.OnLoad != nil {
			m.Load.Gateway = f.name
			s.config.OnLoad(*m.Load)
		}
	}
}
