package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-ml/sluice"
)

// Config is what a [Gateway] is made with.
type Config struct {
	ID          string        // of this gateway, in Load; required
	RoutesDir   string        // where it keeps its own copy of the routes; "" to keep none
	Domain      string        // when set, NAME.Domain is the endpoint NAME of the default workspace
	AdminDigest string        // SHA-256 of the credential for /metrics, in hex; "" for nobody
	MaxBody     int64         // bytes of a request's body; 0 for 100 MiB
	HeaderTime  time.Duration // within which a request's head must have arrived; 0 for 10 s
	IdleAfter   time.Duration // after which an idle connection is closed; 0 for 2 min
	Drain       time.Duration // that running requests get when the gateway stops; 0 for the longest deadline
	Logger      *slog.Logger  // nil for none
}

func (c Config) withDefaults() (Config, error) {
	if c.ID == "" {
		return c, errors.New("a gateway needs an ID")
	}
	if c.MaxBody < 0 || c.HeaderTime < 0 || c.IdleAfter < 0 || c.Drain < 0 {
		return c, errors.New("a limit of the gateway is negative")
	}
	c.Domain = strings.ToLower(strings.Trim(c.Domain, "."))
	setDefault(&c.MaxBody, 100<<20)
	setDefault(&c.HeaderTime, 10*time.Second)
	setDefault(&c.IdleAfter, 2*time.Minute)
	setDefault(&c.Drain, sluice.MaxRequestTimeout+5*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Gateway serves endpoints by the routes it was given last.
type Gateway struct {
	config  Config
	waiting chan struct{} // one slot: somebody waits for an instance

	table    atomic.Pointer[map[key]*endpoint] // replaced whole when an endpoint comes or goes
	started  atomic.Bool                       // routes were given, or found on disk
	draining atomic.Bool
	strays   counts // requests that never reached a deployment
	speech   speech
	upgrades sync.WaitGroup // connections that have left HTTP

	mu       sync.Mutex          // guards what follows, and all changes to table
	backends map[string]*backend // by instance ID
	orphans  map[*backend]bool   // those that no routes name any more
	kept     *shelf              // the copy on disk; nil for none
}

// endpoint is one life of an endpoint. Its plan is nil once it is gone.
type endpoint struct {
	uid     string
	plan    atomic.Pointer[plan]
	tallies map[string]*tally // by deployment, lower case; guarded by Gateway.mu
}

// New makes a gateway that serves what its copy on disk says, if there is one.
func New(c Config) (*Gateway, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("making a gateway: %w", err)
	}
	g := &Gateway{config: c, waiting: make(chan struct{}, 1),
		backends: map[string]*backend{}, orphans: map[*backend]bool{}}
	g.table.Store(&map[key]*endpoint{})
	if c.RoutesDir == "" {
		return g, nil
	}
	kept := &shelf{dir: c.RoutesDir, log: c.Logger, wake: make(chan struct{}, 1)}
	all, err := kept.load()
	if err != nil {
		return nil, fmt.Errorf("reading the gateway's copy of the routes: %w", err)
	}
	if len(all) > 0 {
		g.Reset(all)
	}
	g.kept = kept
	return g, nil
}

// Waiting receives when a request has begun to wait for an instance, so that
// load can be reported at once. It has one slot.
func (g *Gateway) Waiting() <-chan struct{} { return g.waiting }

// Apply makes r the routes of its endpoint, at once for new requests and for
// those that wait. Routes that are not newer than those in use are passed over.
func (g *Gateway) Apply(r sluice.Routes) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := keyOf(r.Workspace, r.Endpoint)
	known := (*g.table.Load())[k]
	if known != nil && known.uid == r.UID && r.Version <= known.plan.Load().routes.Version {
		return
	}
	if r.Gone {
		if known != nil && known.uid == r.UID {
			g.remove(k, known)
		}
	} else {
		g.put(k, known, r)
	}
	g.sweep()
}

// Reset makes all the whole truth: endpoints that are not among it are gone.
func (g *Gateway) Reset(all []sluice.Routes) {
	g.mu.Lock()
	defer g.mu.Unlock()
	table := maps.Clone(*g.table.Load())
	keep := map[key]bool{}
	var gone []*endpoint
	for _, r := range all {
		k := keyOf(r.Workspace, r.Endpoint)
		if r.Gone || keep[k] {
			continue
		}
		keep[k] = true
		if known := table[k]; known == nil || known.uid != r.UID {
			if known != nil {
				gone = append(gone, known)
			}
			table[k] = newEndpoint(r.UID)
		}
		g.give(table[k], r)
	}
	for k, e := range table {
		if !keep[k] {
			gone = append(gone, e)
			delete(table, k)
			g.kept.forget(k)
		}
	}
	g.table.Store(&table)
	for _, e := range gone {
		g.retire(e)
	}
	g.started.Store(true)
	g.sweep()
}

func newEndpoint(uid string) *endpoint {
	return &endpoint{uid: uid, tallies: map[string]*tally{}}
}

// put gives the endpoint of the key new routes, in a new life if the UID is
// another one.
func (g *Gateway) put(k key, known *endpoint, r sluice.Routes) {
	if known != nil && known.uid == r.UID {
		g.give(known, r)
		return
	}
	e := newEndpoint(r.UID)
	g.give(e, r)
	table := maps.Clone(*g.table.Load())
	table[k] = e
	g.table.Store(&table)
	if known != nil {
		g.retire(known)
	}
}

func (g *Gateway) remove(k key, e *endpoint) {
	table := maps.Clone(*g.table.Load())
	delete(table, k)
	g.table.Store(&table)
	g.retire(e)
	g.kept.forget(k)
}

// retire ends a life that is no longer in the table: who waits in it is told.
func (g *Gateway) retire(e *endpoint) {
	old := e.plan.Swap(nil)
	old.wake()
	g.orphan(old)
}

// give swaps in the plan for r and wakes who waits.
func (g *Gateway) give(e *endpoint, r sluice.Routes) {
	p := compile(r, e.tally, g.backend)
	for name := range e.tallies {
		if p.named(name) == nil {
			delete(e.tallies, name)
		}
	}
	if old := e.plan.Swap(p); old != nil {
		old.wake()
		g.orphan(old)
		for _, t := range p.targets {
			for _, b := range t.ready {
				delete(g.orphans, b)
				b.orphan.Store(false)
			}
		}
	}
	g.kept.keep(keyOf(r.Workspace, r.Endpoint), r)
}

func (p *plan) wake() {
	for _, t := range p.targets {
		t.tally.line.changed()
	}
}

func (e *endpoint) tally(deployment string) *tally {
	name := strings.ToLower(deployment)
	if e.tallies[name] == nil {
		e.tallies[name] = &tally{}
	}
	return e.tallies[name]
}

// backend gives what counts for the instance, nil when its address is of no
// kind we know.
func (g *Gateway) backend(b sluice.Backend) *backend {
	known := g.backends[b.ID]
	if known == nil {
		known = &backend{id: b.ID}
	}
	if up := known.up.Load(); up == nil || up.address != b.Address {
		fresh, err := newUpstream(b.Address)
		if err != nil {
			g.config.Logger.Error("an instance has an address that cannot be used", "instance", b.ID, "error", err)
			return nil
		}
		known.up.Store(fresh)
		known.succeed() // what failed was at the old address
		if up != nil {
			up.close()
		}
	}
	g.backends[b.ID] = known
	return known
}

// orphan notes the instances of a plan that is no longer in use.
func (g *Gateway) orphan(p *plan) {
	for _, t := range p.targets {
		for _, b := range t.ready {
			g.orphans[b] = true
			b.orphan.Store(true)
		}
	}
}

// sweep forgets the instances that no routes name and no request uses.
func (g *Gateway) sweep() {
	for b := range g.orphans {
		if b.inflight.Load() == 0 {
			delete(g.orphans, b)
			delete(g.backends, b.id)
			b.up.Load().close()
		}
	}
}

// find gives the endpoint of the key and its plan.
func (g *Gateway) find(k key) (*endpoint, *plan) {
	for {
		e := (*g.table.Load())[k]
		if e == nil {
			return nil, nil
		}
		if p := e.plan.Load(); p != nil {
			return e, p
		}
		// The life ended between the two loads: the table knows better by now.
	}
}

// endpoints gives the plans in use, ordered by workspace and name.
func (g *Gateway) endpoints() []*plan {
	var plans []*plan
	for _, e := range *g.table.Load() {
		if p := e.plan.Load(); p != nil {
			plans = append(plans, p)
		}
	}
	slices.SortFunc(plans, func(a, b *plan) int {
		return strings.Compare(a.routes.Workspace+"/"+a.routes.Endpoint, b.routes.Workspace+"/"+b.routes.Endpoint)
	})
	return plans
}
