package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/sluice-ml/sluice"
)

// How a gateway behaves on its own.
const (
	firstPause = 20 * time.Millisecond // before the second attempt to connect
	lastPause  = 2 * time.Second       // the pause grows to this
	dialWithin = 5 * time.Second
	loadEvery  = time.Second
	loadPause  = 20 * time.Millisecond // at least, between two reports
)

// Follower is the gateway end. Dial, Snapshot and Update are required.
type Follower struct {
	Name string // of this gateway
	Dial func(context.Context) (net.Conn, error)

	// Snapshot gets everything there is, after each connect. Update gets one
	// change. Both are called from one goroutine, one after another.
	Snapshot func([]sluice.Routes)
	Update   func(sluice.Routes)

	// Load is asked every second, and at once after Wake received.
	Load func() sluice.Load
	Wake <-chan struct{}

	Logger *slog.Logger
}

// Follow keeps a gateway's routes up to date until ctx is done, and returns
// nil then. A server that is away or refuses is not an error: it is tried
// again for ever.
func Follow(ctx context.Context, f Follower) error {
	if f.Logger == nil {
		f.Logger = slog.New(slog.DiscardHandler)
	}
	var pause time.Duration
	lost := false // what was logged last
	for ctx.Err() == nil {
		synced, err := f.once(ctx)
		if ctx.Err() != nil {
			break
		}
		if synced {
			pause, lost = 0, false
		}
		if !lost {
			f.Logger.Warn("the server is away: serving with the routes at hand", "error", err)
			lost = true
		}
		pause = min(max(2*pause, firstPause), lastPause)
		sleep(ctx, pause/2+rand.N(pause/2+1))
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// once connects and follows until the stream ends. It reports whether it got
// as far as a whole snapshot.
func (f *Follower) once(ctx context.Context) (synced bool, err error) {
	dialing, cancel := context.WithTimeout(ctx, dialWithin)
	conn, err := f.Dial(dialing)
	cancel()
	if err != nil {
		return false, fmt.Errorf("connecting to the server: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	st := newStream(conn)
	if err := f.greet(st); err != nil {
		return false, err
	}
	ended := make(chan struct{})
	told := make(chan struct{})
	acks := make(chan []applied)
	go func() {
		defer close(told)
		if f.report(st, acks, ended) != nil {
			conn.Close() // wakes hear
		}
	}()
	synced, err = f.hear(st, func(a ...applied) {
		select {
		case acks <- a:
		case <-told:
		}
	})
	conn.Close() // wakes report
	close(ended)
	<-told
	return synced, err
}

func (f *Follower) greet(st *stream) error {
	if err := st.send(message{Hello: &hello{Version: version, Oldest: oldest, Name: f.Name}}); err != nil {
		return err
	}
	m, err := st.receive()
	switch {
	case err != nil:
		return err
	case m.Refuse != "":
		return fmt.Errorf("the server refused: %.300q", m.Refuse)
	case m.Hello == nil:
		return errors.New("the server sent no hello")
	}
	_, err = agree(*m.Hello)
	return err
}

// hear hands on what the server sends until the stream ends, and acknowledges
// it.
func (f *Follower) hear(st *stream, ack func(...applied)) (synced bool, err error) {
	var all []sluice.Routes
	for {
		m, err := st.receive()
		switch {
		case err != nil:
			return synced, err
		case m.Refuse != "":
			return synced, fmt.Errorf("the server ended the stream: %.300q", m.Refuse)
		case m.Synced && !synced:
			synced = true
			f.Logger.Info("in step with the server", "endpoints", len(all))
			f.Snapshot(all)
			acks := make([]applied, len(all))
			for i, r := range all {
				acks[i] = appliedOf(r)
			}
			ack(acks...)
			all = nil
		case m.Routes != nil && synced:
			f.Update(*m.Routes)
			ack(appliedOf(*m.Routes))
		case m.Routes != nil && !m.Routes.Gone:
			all = append(all, *m.Routes)
		}
	}
}

// report sends load and acknowledgements until ended is closed or sending
// fails. It alone sends.
func (f *Follower) report(st *stream, acks <-chan []applied, ended <-chan struct{}) error {
	every, wake := loadEvery, f.Wake
	if f.Load == nil {
		every, wake = pingAfter, nil
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last time.Time
	for {
		m := message{Ping: true}
		if f.Load != nil {
			load := f.Load()
			m = message{Load: &load}
		}
		if time.Since(last) >= loadPause {
			last = time.Now()
			if err := st.send(m); err != nil {
				return err
			}
		}
		select {
		case <-ended:
			return nil
		case a := <-acks:
			if err := st.send(message{Applied: a}); err != nil {
				return err
			}
		case <-tick.C:
		case <-wake:
			// Not more often than loadPause: what is waiting now is in the
			// next report.
			if err := rest(st, acks, ended, loadPause-time.Since(last)); err != nil {
				return err
			}
		}
	}
}

// rest waits, acknowledging what comes meanwhile.
func rest(st *stream, acks <-chan []applied, ended <-chan struct{}, d time.Duration) error {
	over := time.NewTimer(d)
	defer over.Stop()
	for {
		select {
		case <-ended:
			return nil
		case <-over.C:
			return nil
		case a := <-acks:
			if err := st.send(message{Applied: a}); err != nil {
				return err
			}
		}
	}
}
