package gateway

import (
	"context"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-ml/sluice"
)

// The HTTP layer is to be replaceable: one file knows it.
func TestOneFileKnowsHTTP(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if path != "net/http" && !strings.HasPrefix(path, "net/http/") {
				continue
			}
			if found++; file != "http.go" {
				t.Errorf("%s imports %s: only http.go may", file, path)
			}
		}
	}
	if found == 0 {
		t.Error("no file imports net/http: this test looks at the wrong ones")
	}
}

type noFields struct{}

func (noFields) Values(string) []string { return nil }

// planOf makes a plan of deployments with the weights.
func planOf(weights ...int) *plan {
	r := sluice.Routes{Endpoint: "iris", Workspace: "default"}
	for i, w := range weights {
		r.Deployments = append(r.Deployments, sluice.Target{Name: "d" + strconv.Itoa(i), Weight: w})
	}
	return compile(r, func(string) *tally { return &tally{} }, func(sluice.Backend) *backend { return nil })
}

func TestWeightedChoice(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for range 50 {
		weights := make([]int, 1+random.IntN(5))
		total := 0
		for i := range weights {
			weights[i] = max(0, random.IntN(60)-10)
			total += weights[i]
		}
		p := planOf(weights...)
		if total == 0 {
			if got, refused := choose(noFields{}, p, random.IntN); got != nil || refused.status != 404 {
				t.Errorf("weights %v: chose %v", weights, got)
			}
			continue
		}
		// Every roll leads somewhere, and each deployment gets exactly its share.
		shares := make([]int, len(weights))
		for n := range total {
			got, refused := choose(noFields{}, p, func(m int) int {
				if m != total {
					t.Fatalf("rolled for %d, want %d", m, total)
				}
				return n
			})
			if refused != nil {
				t.Fatalf("weights %v: roll %d is refused", weights, n)
			}
			i, _ := strconv.Atoi(strings.TrimPrefix(got.Name, "d"))
			shares[i]++
		}
		for i := range weights {
			if shares[i] != weights[i] {
				t.Errorf("weights %v give shares %v", weights, shares)
				break
			}
		}
	}
}

func TestChoiceFollowsChance(t *testing.T) {
	p := planOf(90, 10, 0)
	random := rand.New(rand.NewPCG(1, 9))
	counts := map[string]int{}
	const n = 100_000
	for range n {
		got, _ := choose(noFields{}, p, random.IntN)
		counts[got.Name]++
	}
	// Five standard deviations of a binomial with p = 0.1.
	if d := math.Abs(float64(counts["d1"]) - 0.1*n); d > 5*math.Sqrt(n*0.1*0.9) || counts["d2"] != 0 {
		t.Errorf("counts %v", counts)
	}
}

func TestPick(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const now = int64(1_000_000)
	for range 20_000 {
		slots := int64(1 + random.IntN(4))
		ready := make([]*backend, random.IntN(7))
		idle, room := false, false
		for i := range ready {
			b := &backend{id: strconv.Itoa(i)}
			b.inflight.Store(int64(random.IntN(int(2*slots) + 1)))
			if random.IntN(4) == 0 {
				b.aside.Store(now + 1)
			} else {
				idle = idle || b.inflight.Load() < slots
				room = room || b.inflight.Load() < 2*slots
			}
			ready[i] = b
		}
		got := pick(ready, slots, now, random.IntN)
		switch {
		case (got != nil) != room:
			t.Fatalf("picked %v of %d with room: %v", got, len(ready), room)
		case got == nil:
		case got.bad(now):
			t.Fatal("picked one that is set aside")
		case got.inflight.Load() >= slots && idle:
			t.Fatal("picked a busy one while another is idle")
		}
	}
}

// Two random choices spread requests far more evenly than one would.
func TestPickSpreads(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	ready := make([]*backend, 20)
	for i := range ready {
		ready[i] = &backend{}
	}
	for range 2000 {
		pick(ready, 1000, 1, random.IntN).inflight.Add(1)
	}
	for i, b := range ready {
		if n := b.inflight.Load(); n < 96 || n > 104 {
			t.Errorf("instance %d has %d of 2000 requests, want about 100", i, n)
		}
	}
}

func TestAdmitIsExact(t *testing.T) {
	var tl tally
	var wg sync.WaitGroup
	var mu sync.Mutex
	most, admitted := int64(0), 0
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				if !tl.admit(5) {
					continue
				}
				mu.Lock()
				most = max(most, tl.admitted.Load())
				admitted++
				mu.Unlock()
				tl.leave()
			}
		})
	}
	wg.Wait()
	if most > 5 || admitted == 0 || tl.admitted.Load() != 0 {
		t.Errorf("up to %d at once, %d in all, %d left", most, admitted, tl.admitted.Load())
	}
}

// waiters start n requests that wait for the deployment of g, in order.
func waiters(ctx context.Context, g *Gateway, n int) chan int {
	e, p := g.find(keyOf("default", "iris"))
	served := make(chan int, n)
	for i := range n {
		go func() {
			if b, t, refused := g.acquire(ctx, e, p.targets[0]); refused == nil {
				served <- i
				g.release(b, t)
			} else {
				served <- -refused.status
			}
		}()
		synctest.Wait()
	}
	return served
}

func waitingGateway(t *testing.T) *Gateway {
	t.Helper()
	g, err := New(Config{ID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	g.Apply(iris(1, &instance{id: "a", socket: "/a"}))
	g.Apply(iris(2))
	return g
}

func TestLineIsServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waitingGateway(t)
		served := waiters(t.Context(), g, 5)
		// One place: each is served when the one before gives it back.
		routes := iris(3, &instance{id: "b", socket: "/b"})
		routes.Deployments[0].MaxConcurrent = 1
		full := compile(routes, func(string) *tally { return g.endpoints()[0].targets[0].tally }, g.backend)
		full.targets[0].ready[0].inflight.Store(2)
		g.Apply(routes)
		synctest.Wait()
		if len(served) != 0 {
			t.Fatalf("%d were served without a place", len(served))
		}
		g.release(full.targets[0].ready[0], full.targets[0])
		synctest.Wait()
		for want := range 5 {
			if got := <-served; got != want {
				t.Errorf("served %d, want %d", got, want)
			}
		}
	})
}

func TestLineWithPeopleLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waitingGateway(t)
		soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		early := waiters(soon, g, 3)
		late := waiters(t.Context(), g, 2)
		for range 3 {
			if got := <-early; got != -424 { // none was ready when the deadline came
				t.Errorf("ended with %d, want 424", -got)
			}
		}
		g.Apply(iris(3, &instance{id: "b", socket: "/b"}))
		if a, b := <-late, <-late; a+b != 1 {
			t.Errorf("served %d and %d", a, b)
		}
		if n := g.endpoints()[0].targets[0].tally.line.length.Load(); n != 0 {
			t.Errorf("%d left in line", n)
		}
	})
}

func TestSetAsideGrowsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waitingGateway(t)
		g.Apply(iris(3, &instance{id: "b", socket: "/b"}))
		target := g.endpoints()[0].targets[0]
		b := target.ready[0]
		for _, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 1000, 1000} {
			b.setAside(time.Now())
			began := time.Now()
			got, _, refused := g.acquire(t.Context(), (*g.table.Load())[keyOf("default", "iris")], target)
			if refused != nil {
				t.Fatal(refused)
			}
			if took := time.Since(began); took != want*time.Millisecond {
				t.Errorf("taken again after %s, want %d ms", took, want)
			}
			g.release(got, target)
		}
		b.succeed()
		b.setAside(time.Now())
		if left := time.Duration(b.aside.Load() - time.Now().UnixNano()); left != firstAside {
			t.Errorf("after a success it is set aside for %s", left)
		}
	})
}

func TestLateForAFullInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := waitingGateway(t)
		g.Apply(iris(3, &instance{id: "b", socket: "/b"}))
		g.endpoints()[0].targets[0].ready[0].inflight.Store(8)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if got := <-waiters(ctx, g, 1); got != -408 {
			t.Errorf("ended with %d, want 408", -got)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("after %s", took)
		}
	})
}

func TestOldRoutesArePassedOver(t *testing.T) {
	g := waitingGateway(t)
	g.Apply(iris(1, &instance{id: "old", socket: "/old"}))
	if n := len(g.endpoints()[0].targets[0].ready); n != 0 {
		t.Error("older routes were applied")
	}
	gone := iris(9)
	gone.UID, gone.Gone = "another life", true
	g.Apply(gone)
	if len(g.endpoints()) != 1 {
		t.Error("the end of another life ended this one")
	}
	next := iris(1)
	next.UID = "uid-2"
	g.Apply(next) // the name used again: another endpoint, whose versions begin anew
	if g.endpoints()[0].routes.UID != "uid-2" {
		t.Error("the new life was not applied")
	}
	g.Reset([]sluice.Routes{iris(1)}) // a snapshot is the truth, older or not
	if got := g.endpoints()[0].routes; got.UID != "uid-1" || got.Version != 1 {
		t.Errorf("after a snapshot: %+v", got)
	}
	g.Reset(nil)
	if len(g.endpoints()) != 0 || len(g.backends) != 0 {
		t.Errorf("%d endpoints and %d instances left of nothing", len(g.endpoints()), len(g.backends))
	}
}

func TestCopyOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "routes")
	i := start(t, "i1", echo)
	wine := iris(7, i)
	wine.Endpoint, wine.UID, wine.Workspace = "Wine", "uid-w", "Team"
	r := newRig(t, Config{RoutesDir: dir}, iris(3, i), wine)
	path := filepath.Join(dir, "default~iris.json")
	other := filepath.Join(dir, "team~wine.json")
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }
	eventually(t, "both are on disk", func() bool { return exists(path) && exists(other) })
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v, want mode 0600", info.Mode(), err)
	}
	text, _ := os.ReadFile(path)
	if strings.Contains(string(text), goodKey) {
		t.Error("the copy holds a key")
	}

	// Another gateway, with nobody to ask.
	alone := newRig(t, Config{RoutesDir: dir})
	if a := alone.post("x"); a.status != 200 {
		t.Errorf("from the copy: %d %s", a.status, a.body)
	}
	end := iris(4)
	end.Gone = true
	r.Apply(end)
	eventually(t, "iris is off the disk", func() bool { return !exists(path) })
	r.Reset(nil)
	eventually(t, "wine is off the disk", func() bool { return !exists(other) })
}

func TestDamagedCopyOnDisk(t *testing.T) {
	dir := t.TempDir()
	good := `{"workspace":"default","endpoint":"iris","uid":"u","version":3,"authMode":"key","deployments":[{"name":"blue","weight":100}]}`
	for name, text := range map[string]string{
		"default~iris.json":    good,
		"default~rose.json":    good, // about another endpoint
		"default~half.json":    good[:50],
		"default~empty.json":   "",
		"default~big.json":     strings.Repeat(" ", maxKept+2),
		"..~x.json":            good,
		".routes-123":          good[:20], // left by a kill
		"default~tulip.json.x": good,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "default~link.json")); err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{ID: "test", RoutesDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := g.endpoints(); len(got) != 1 || got[0].routes.Endpoint != "iris" {
		t.Errorf("read %d endpoints", len(got))
	}
	if _, err := os.Stat(filepath.Join(dir, ".routes-123")); !os.IsNotExist(err) {
		t.Error("the left-over was kept")
	}
}

func TestSpeechIsBounded(t *testing.T) {
	var s speech
	now := time.Unix(100, 0)
	said := 0
	for range 500 {
		if _, ok := s.allow(now); ok {
			said++
		}
	}
	unsaid, ok := s.allow(now.Add(time.Second))
	if said != maxSpeech || !ok || unsaid != 500-maxSpeech {
		t.Errorf("%d lines, then %d left out", said, unsaid)
	}
}

func TestNewIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newID()
		if seen[id] || len(id) != 36 || id[14] != '4' || !strings.ContainsRune("89ab", rune(id[19])) {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestAddresses(t *testing.T) {
	good := map[string]string{"unix:///run/a.sock": "unix /run/a.sock", "http://10.0.0.1:5001": "tcp 10.0.0.1:5001", "http://[::1]:80/": "tcp [::1]:80"}
	for address, want := range good {
		if network, to, err := dialable(address); err != nil || network+" "+to != want {
			t.Errorf("dialable(%s) = %s %s, %v", address, network, to, err)
		}
	}
	for _, address := range []string{"", "unix://a/b", "unix:a", "http://10.0.0.1", "https://10.0.0.1:1", "http://a:1/path", "http://u@a:1", "file:///a", "://"} {
		if _, _, err := dialable(address); err == nil {
			t.Errorf("dialable(%q) succeeded", address)
		}
	}
}
