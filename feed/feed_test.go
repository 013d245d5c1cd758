package feed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-ml/sluice"
)

func routes(name string, version int64) sluice.Routes {
	return sluice.Routes{Workspace: "default", Endpoint: name, UID: "u-" + strings.ToLower(name), Version: version, AuthMode: sluice.AuthKey}
}

// pipes is a listener of in-memory connections, for tests under a fake clock.
type pipes struct {
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes {
	return &pipes{queue: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.queue:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.queue <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, errors.New("refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// peer is the other side, played by the test with plain text.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func newPeer(t *testing.T, conn net.Conn) *peer {
	t.Cleanup(func() { conn.Close() })
	return &peer{t, conn, bufio.NewReader(conn)}
}

func (p *peer) say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, line+"\n"); err != nil {
		p.t.Fatalf("saying %.80s: %v", line, err)
	}
}

// read gives the next line as a message, or nil at the end.
func (p *peer) read() map[string]any {
	line, err := p.in.ReadString('\n')
	if err != nil {
		return nil
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		p.t.Fatalf("not JSON: %s", line)
	}
	return m
}

// snapshot reads the names of a snapshot, up to synced.
func (p *peer) snapshot() []string {
	p.t.Helper()
	var names []string
	for {
		m := p.read()
		switch {
		case m == nil:
			p.t.Fatal("the stream ended before synced")
		case m["synced"] == true:
			return names
		case m["routes"] != nil:
			names = append(names, m["routes"].(map[string]any)["endpoint"].(string))
		}
	}
}

// serve runs s until the test ends.
func serve(t *testing.T, s *Server) *pipes {
	t.Helper()
	l := newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l
}

func connect(t *testing.T, l *pipes, name string) *peer {
	t.Helper()
	conn, err := l.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, conn)
	p.say(`{"hello":{"version":1,"oldest":1,"name":"` + name + `"},"new":"field"}`)
	if m := p.read(); !cmp.Equal(m, map[string]any{"hello": map[string]any{"version": 1.0}}) {
		t.Fatalf("the server greets with %v", m)
	}
	return p
}

func TestServerSendsSnapshotThenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{})
		l := serve(t, s)
		early := connect(t, l, "early")
		s.Publish(routes("iris", 1)) // before everything is known: no snapshot yet
		synctest.Wait()
		early.conn.SetReadDeadline(time.Now().Add(time.Second))
		if m := early.read(); m != nil {
			t.Fatalf("sent %v before everything was known", m)
		}
		early.conn.SetReadDeadline(time.Time{})

		s.PublishAll([]sluice.Routes{routes("iris", 1)})
		if got := early.snapshot(); !cmp.Equal(got, []string{"iris"}) {
			t.Errorf("snapshot of %v", got)
		}
		s.Publish(routes("Iris", 1)) // not newer
		s.Publish(routes("wine", 4))
		if m := early.read(); m["routes"].(map[string]any)["endpoint"] != "wine" {
			t.Errorf("got %v, want the change of wine", m)
		}
		gone := routes("iris", 2)
		gone.Gone = true
		s.Publish(gone)
		s.Publish(gone)
		if m := early.read(); m["routes"].(map[string]any)["gone"] != true {
			t.Errorf("got %v, want iris gone", m)
		}
		late := connect(t, l, "late")
		if got := late.snapshot(); !cmp.Equal(got, []string{"wine"}) {
			t.Errorf("snapshot of %v, want wine alone", got)
		}
		s.PublishAll(nil)
		if m := late.read(); m["routes"].(map[string]any)["gone"] != true {
			t.Errorf("got %v, want wine gone", m)
		}
	})
}

func TestServerOfOddPeers(t *testing.T) {
	tests := []struct{ name, say, want string }{
		{"too new", `{"hello":{"version":9,"oldest":9,"name":"g"}}`, "versions 1 to 1"},
		{"too old", `{"hello":{"version":0,"name":"g"}}`, "versions 1 to 1"},
		{"no hello", `{"load":{}}`, ""},
		{"not JSON", `GET / HTTP/1.1`, ""},
		{"long name", `{"hello":{"version":1,"oldest":1,"name":"` + strings.Repeat("n", 200) + `"}}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := serve(t, NewServer(Config{}))
				conn, err := l.dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				p := newPeer(t, conn)
				p.say(tt.say)
				m := p.read()
				if why, _ := m["refuse"].(string); tt.want != "" && !strings.Contains(why, tt.want) || tt.want == "" && m != nil {
					t.Errorf("got %v, want refuse %q", m, tt.want)
				}
				if m := p.read(); m != nil {
					t.Errorf("the stream goes on with %v", m)
				}
			})
		})
	}
}

func TestMessagesAreBounded(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		defer theirs.Close()
		junk := strings.Repeat("x", 1<<20)
		for range 9 {
			if _, err := io.WriteString(theirs, junk); err != nil {
				return
			}
		}
	}()
	if _, err := newStream(ours).receive(); !errors.Is(err, errTooLong) {
		t.Errorf("receive = %v, want %v", err, errTooLong)
	}
}

func TestServerGetsLoadAndMissesTheSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads := make(chan sluice.Load, 10)
		left := make(chan string, 10)
		s := NewServer(Config{OnLoad: func(l sluice.Load) { loads <- l }, OnLeave: func(name string) { left <- name }})
		l := serve(t, s)
		p := connect(t, l, "one")
		p.say(`{"load":{"gateway":"forged","endpoints":[{"workspace":"default","endpoint":"iris"}]}}`)
		if got := <-loads; got.Gateway != "one" || len(got.Endpoints) != 1 {
			t.Errorf("load %+v, want that of one", got)
		}
		began := time.Now()
		pings := 0
		for m := p.read(); m != nil; m = p.read() {
			if m["ping"] == true {
				pings++
			}
		}
		if took := time.Since(began); took != deadAfter || pings < 2 {
			t.Errorf("a silent gateway was dropped after %s and %d pings, want %s and at least 2", took, pings, deadAfter)
		}
		if got := <-left; got != "one" {
			t.Errorf("%q left, want one", got)
		}
	})
}

func TestFollowerAgainstScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		var got []string
		var mu sync.Mutex
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf(format, args...))
		}
		wake := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Follow(ctx, Follower{
				Name: "gw", Dial: l.dial, Wake: wake,
				Snapshot: func(all []sluice.Routes) { note("snapshot %d", len(all)) },
				Update:   func(r sluice.Routes) { note("update %s %d", r.Endpoint, r.Version) },
				Load:     func() sluice.Load { return sluice.Load{Gateway: "gw"} },
			})
		}()
		accept := func() *peer {
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			p := newPeer(t, conn)
			want := map[string]any{"hello": map[string]any{"version": 1.0, "oldest": 1.0, "name": "gw"}}
			if m := p.read(); !cmp.Equal(m, want) {
				t.Fatalf("the gateway greets with %v", m)
			}
			return p
		}
		// Refused: it comes again.
		p := accept()
		p.say(`{"refuse":"later"}`)
		// Cut in the middle of the snapshot: nothing is handed on.
		p = accept()
		p.say(`{"hello":{"version":1}}`)
		p.say(`{"routes":{"endpoint":"iris","version":1}}`)
		p.conn.Close()
		// A whole one, spiced with what a later version may send.
		p = accept()
		p.say(`{"hello":{"version":1}}`)
		if m := p.read(); m["load"] == nil {
			t.Errorf("first report is %v", m)
		}
		p.say(`{"weather":"fine"}`)
		p.say(``)
		p.say(`{"routes":{"endpoint":"iris","version":1,"colour":"blue"}}`)
		p.say(`{"routes":{"endpoint":"old","version":2,"gone":true}}`)
		p.say(`{"synced":true}`)
		p.say(`{"ping":true}`)
		p.say(`{"routes":{"endpoint":"iris","version":2}}`)
		began := time.Now()
		p.read()
		if took := time.Since(began); took > loadEvery {
			t.Errorf("the next report took %s", took)
		}
		wake <- struct{}{}
		began = time.Now()
		p.read()
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("a report after a wake-up took %s", took)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Follow: %v", err)
		}
		want := []string{"snapshot 1", "update iris 2"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("handed on (-want +got):\n%s", diff)
		}
	})
}

func TestFollowerKeepsTryingWithBoundedPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var tries []time.Time
		err := Follow(ctx, Follower{
			Dial: func(context.Context) (net.Conn, error) {
				tries = append(tries, time.Now())
				if len(tries) == 40 {
					cancel()
				}
				return nil, errors.New("refused")
			},
			Snapshot: func([]sluice.Routes) { t.Error("a snapshot of nothing") },
			Update:   func(sluice.Routes) {},
		})
		if err != nil {
			t.Error(err)
		}
		if first := tries[1].Sub(tries[0]); first > firstPause {
			t.Errorf("the second attempt came after %s", first)
		}
		for i := 20; i < 40; i++ {
			if d := tries[i].Sub(tries[i-1]); d < lastPause/2 || d > lastPause {
				t.Errorf("attempt %d came after %s", i, d)
			}
		}
	})
}

// mirror is a gateway's table as the handlers build it.
type mirror struct {
	mu    sync.Mutex
	table map[string]int64
	bump  chan struct{}
}

func (m *mirror) snapshot(all []sluice.Routes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table = map[string]int64{}
	for _, r := range all {
		m.table[r.Endpoint] = r.Version
	}
	notify(m.bump)
}

func (m *mirror) update(r sluice.Routes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table[r.Endpoint] = r.Version
	if r.Gone {
		delete(m.table, r.Endpoint)
	}
	notify(m.bump)
}

// waitFor fails the test unless the table becomes want.
func (m *mirror) waitFor(t *testing.T, want map[string]int64) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		m.mu.Lock()
		diff := cmp.Diff(want, m.table)
		m.mu.Unlock()
		if diff == "" {
			return
		}
		select {
		case <-m.bump:
		case <-deadline:
			t.Fatalf("the tables differ (-server +gateway):\n%s", diff)
		}
	}
}

// Whatever is published, and however often the stream is cut, the gateway ends
// up with what the server has.
func TestBothEndsConverge(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "feed.sock")
	var conns []net.Conn
	var mu sync.Mutex
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", socket)
		if err == nil {
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
		return c, err
	}
	cut := func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
		conns = nil
	}
	m := &mirror{table: map[string]int64{}, bump: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := Follow(ctx, Follower{Dial: dial, Snapshot: m.snapshot, Update: m.update, Load: func() sluice.Load { return sluice.Load{} }}); err != nil {
			t.Error(err)
		}
	})

	random := rand.New(rand.NewPCG(1, 2))
	want := map[string]int64{}
	for life := range 3 { // the server starts, works, dies
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		s := NewServer(Config{})
		life2, end := context.WithCancel(ctx)
		var serving sync.WaitGroup
		serving.Go(func() {
			if err := s.Serve(life2, l); err != nil {
				t.Error(err)
			}
		})
		var all []sluice.Routes
		for name, v := range want {
			all = append(all, routes(name, v))
		}
		s.PublishAll(all)
		for i := range 300 {
			name := fmt.Sprintf("e%d", random.IntN(20))
			r := routes(name, int64(life*1000+i+1))
			if random.IntN(4) == 0 {
				r.Gone = true
				delete(want, name)
			} else {
				want[name] = r.Version
			}
			s.Publish(r)
			if random.IntN(60) == 0 {
				cut()
			}
		}
		m.waitFor(t, want)
		end()
		serving.Wait()
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"hello":{"version":1,"oldest":1,"name":"g"}}` + "\n"))
	f.Add([]byte("{\"routes\":{\"deployments\":[{\"backends\":[{}]}]}}\n\n{\"synced\":true}\n"))
	f.Add([]byte("{\"load\":{\"endpoints\":[{}]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		go func() {
			theirs.Write(data)
			theirs.Close()
		}()
		defer ours.Close()
		st := newStream(ours)
		for range len(data) + 1 {
			if _, err := st.receive(); err != nil {
				return
			}
		}
		t.Error("more messages than bytes")
	})
}
