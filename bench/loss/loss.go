// Package loss counts what is lost. It sends requests at a steady rate, whatever
// becomes of those before, and follows each one from both ends: the answer, and
// the script that ran it.
//
//	counter, err := loss.Count()                    // where scripts say what they run
//	load := loss.Send(loss.Config{URL: …, Rate: 300})
//	load.Kill("gateway", pid)                       // as often as wanted, meanwhile
//	report := load.Stop(counter)
//
// Every request is a POST with a nonce of its own that must come back in the
// answer. Clients keep their connections and try nothing again. A failed request
// is excused in one case only: it was inside a process that was killed. That is
// when it was under way at that moment, or was sent on a connection that the
// killed process had accepted.
package loss

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Config is what a [Load] is made of.
type Config struct {
	URL     string      // that answers a POST of a nonce with it and more, as JSON
	Key     string      // bearer
	TLS     *tls.Config // what to trust
	Rate    int         // requests a second
	Clients int         // at least so many connections; 0 for 32
}

// mostClients bounds how many requests may be under way at once. More than that
// would measure this program.
const mostClients = 2048

// Load is requests being sent.
type Load struct {
	config  Config
	name    string // begins its nonces: what a former load left to be run is not of this one
	stop    chan struct{}
	sending sync.WaitGroup
	ready   chan *client // those that have nothing to do

	mu      sync.Mutex // guards what follows
	clients int
	sent    int
	tooMany int
	took    []time.Duration // of those answered
	failed  []Failure
	kills   []kill
}

// Failure is a request that was not answered as it should be.
type Failure struct {
	Nonce       string
	Sent, Ended time.Time
	Connected   time.Time // when its connection came about; zero when none did
	Why         string
	excused     bool
}

func (f Failure) String() string {
	return fmt.Sprintf("request %s, sent %s, ended after %s: %s", f.Nonce, f.Sent.Format("15:04:05.000"), f.Ended.Sub(f.Sent), f.Why)
}

// kill is a process that was killed: after began and before gone.
type kill struct {
	what        string
	began, gone time.Time
}

// Send begins to send.
func Send(c Config) *Load {
	if c.Clients == 0 {
		c.Clients = 32
	}
	l := &Load{config: c, name: rand.Text()[:6], stop: make(chan struct{}), ready: make(chan *client, mostClients)}
	for range c.Clients {
		l.ready <- l.newClient()
	}
	l.sending.Go(l.send)
	return l
}

// send starts a request whenever one is due. One that is late is sent at once:
// the rate holds over time.
func (l *Load) send() {
	began := time.Now()
	every := time.Second / time.Duration(l.config.Rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; {
		select {
		case <-l.stop:
			return
		case <-timer.C:
		}
		for ; time.Since(began) >= time.Duration(n)*every; n++ {
			l.one(n)
		}
		timer.Reset(time.Until(began.Add(time.Duration(n) * every)))
	}
}

// one gives request n to a client, to a new one if none is free.
func (l *Load) one(n int) {
	l.mu.Lock()
	l.sent++
	l.mu.Unlock()
	var c *client
	select {
	case c = <-l.ready:
	default:
		if c = l.newClient(); c == nil {
			l.mu.Lock()
			l.tooMany++
			l.mu.Unlock()
			return
		}
	}
	l.sending.Go(func() {
		c.ask(l.name + "-" + strconv.Itoa(n))
		l.ready <- c
	})
}

// client is one caller with one connection.
type client struct {
	load      *Load
	http      *http.Client
	connected time.Time // when the connection it has came about
}

func (l *Load) newClient() *client {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.clients == mostClients {
		return nil
	}
	l.clients++
	return &client{load: l, http: &http.Client{Transport: &http.Transport{TLSClientConfig: l.config.TLS, MaxConnsPerHost: 1,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}} // HTTP/1.1
}

// ask sends one nonce and notes what became of it.
func (c *client) ask(nonce string) {
	l := c.load
	sent := time.Now()
	connected := time.Time{}
	trace := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if !info.Reused {
			c.connected = time.Now()
		}
		connected = c.connected
	}})
	err := c.exchange(trace, nonce)
	ended := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, Failure{Nonce: nonce, Sent: sent, Ended: ended, Connected: connected, Why: err.Error()})
		return
	}
	l.took = append(l.took, ended.Sub(sent))
}

func (c *client) exchange(ctx context.Context, nonce string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.load.config.URL, bytes.NewReader([]byte(nonce)))
	if err != nil {
		return err
	}
	req.GetBody = nil // nothing is tried again
	req.Header.Set("Authorization", "Bearer "+c.load.config.Key)
	answer, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %.300s", answer.Status, body)
	case !bytes.Contains(body, []byte(`"`+nonce+`"`)):
		return fmt.Errorf("asked with %s, got %.100s", nonce, body)
	}
	return nil
}

// Report is what became of all requests.
type Report struct {
	Sent    int
	Inside  int       // failed inside a killed process
	Lost    []Failure // failed for no such reason
	Doubled []string  // nonces that a script ran more than once
	Phantom int       // ran without an answer of 200, and were not excused
	Longest time.Duration
	P99     time.Duration
}

// Err says in one sentence what a report holds that must not be; nil for nothing.
func (r Report) Err() error {
	switch {
	case len(r.Lost) > 0:
		return fmt.Errorf("%d of %d requests were lost, the first: %s", len(r.Lost), r.Sent, r.Lost[0])
	case len(r.Doubled) > 0:
		return fmt.Errorf("%d of %d requests were run twice: %s", len(r.Doubled), r.Sent, r.Doubled[0])
	case r.Phantom > 0:
		return fmt.Errorf("%d of %d requests were run and not answered", r.Phantom, r.Sent)
	}
	return nil
}

// Stop sends no more, waits until all that was sent has come to its end, and
// gives what became of it. The counter may be nil.
func (l *Load) Stop(counter *Counter) Report {
	close(l.stop)
	l.sending.Wait()
	for {
		select {
		case c := <-l.ready:
			c.http.CloseIdleConnections()
			continue
		default:
		}
		break
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return judge(l.sent, l.tooMany, l.took, l.failed, l.kills, counter.runs())
}

// judge is the whole verdict, a pure function.
func judge(sent, tooMany int, took []time.Duration, failed []Failure, kills []kill, runs map[string]int) Report {
	r := Report{Sent: sent}
	answered := map[string]bool{}
	for _, f := range failed {
		answered[f.Nonce] = false
		if f.excused = slices.ContainsFunc(kills, f.inside); f.excused {
			r.Inside++
			answered[f.Nonce] = true // whether it was run does not matter
			continue
		}
		r.Lost = append(r.Lost, f)
	}
	if tooMany > 0 {
		r.Lost = append(r.Lost, Failure{Why: fmt.Sprintf("%d requests found no client: %d were under way", tooMany, mostClients)})
	}
	for nonce, n := range runs {
		if n > 1 {
			r.Doubled = append(r.Doubled, nonce)
		}
		if ok, bad := answered[nonce]; bad && !ok {
			r.Phantom++
		}
	}
	slices.Sort(r.Doubled)
	if len(took) > 0 {
		slices.Sort(took)
		r.Longest, r.P99 = took[len(took)-1], took[len(took)*99/100]
	}
	return r
}

// inside reports whether the request was in the process when it was killed.
func (f Failure) inside(k kill) bool {
	underWay := !f.Sent.After(k.gone) && !f.Ended.Before(k.began)
	accepted := k.what == "gateway" && !f.Connected.IsZero() && f.Connected.Before(k.gone) && f.Ended.After(k.began)
	return underWay || accepted
}
