package api_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/api"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/enginetest"
)

// copies is an engine in memory as the handler needs it. It counts the logs
// that are open.
type copies struct {
	*enginetest.Engine
	open atomic.Int64
}

func (c *copies) Of(ctx context.Context, uid string) ([]arm.Instance, error) {
	list, err := c.Instances(ctx, engine.Selector{Labels: map[string]string{"uid": uid}})
	var out []arm.Instance
	for _, i := range list {
		out = append(out, arm.Instance{ID: i.ID, Phase: string(i.Phase), Created: i.Created, Ended: i.Ended})
	}
	return out, err
}

func (c *copies) Log(ctx context.Context, instance string, tail int, from string, follow bool) (api.Log, error) {
	log, err := c.Logs(ctx, instance, engine.LogOptions{Tail: tail, From: from, Follow: follow})
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil, sluice.Errorf(sluice.CodeNotFound, "%w", err)
	case errors.Is(err, engine.ErrPosition):
		return nil, sluice.Errorf(sluice.CodeInvalid, "%w", err)
	case err != nil:
		return nil, err
	}
	c.open.Add(1)
	return &counted{log, c}, nil
}

type counted struct {
	api.Log
	of *copies
}

func (c *counted) Close() error {
	c.of.open.Add(-1)
	return c.Log.Close()
}

// run gives deployment blue so many instances, which run.
func (w *world) run(n int) []string {
	w.t.Helper()
	d := w.stored("iris", "blue")
	err := w.copies.Ensure(context.Background(), 1, engine.Workload{ID: "w", Labels: map[string]string{"uid": d.UID},
		Template: engine.Template{Command: []string{"x"}, Restart: engine.RestartAlways}}, n)
	if err != nil {
		w.t.Fatal(err)
	}
	w.copies.RunAll()
	return w.live()
}

// live lists the instances that have not ended.
func (w *world) live() []string {
	w.t.Helper()
	list, err := w.copies.Instances(context.Background(), engine.Selector{})
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, i := range list {
		if !i.Phase.Ended() {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

func newLogWorld(t *testing.T) *world {
	w := newWorld(t)
	w.assets()
	w.endpoint("iris")
	w.do("PUT", ws+"/onlineEndpoints/iris/deployments/blue"+version, body(deployment(1)))
	return w
}

// reading is a client that follows logs; got are the lines as they come.
type reading struct {
	t     *testing.T
	place arm.LogPlace
	got   chan string
	ended chan error
	stop  context.CancelFunc
}

func (w *world) read(ask arm.LogAsk, place arm.LogPlace) *reading {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{t: w.t.(*testing.T), place: place, got: make(chan string, 1000), ended: make(chan error, 1), stop: cancel}
	w.t.Cleanup(cancel)
	go func() {
		r.ended <- w.client.StreamLogs(ctx, "iris", "blue", ask, &r.place, func(record arm.LogRecord) error {
			switch record.Kind {
			case arm.LogLine, arm.LogPiece, arm.LogEnded:
				r.got <- record.Instance + string(rune(record.Kind)) + string(record.Text)
			}
			return nil
		}, func() error { return nil })
	}()
	return r
}

func (r *reading) expect(want ...string) {
	r.t.Helper()
	for _, line := range want {
		select {
		case got := <-r.got:
			if got != line {
				r.t.Errorf("read %.200q, want %.200q", got, line)
			}
		case <-time.After(20 * time.Second):
			r.t.Fatalf("waiting for %q", line)
		}
	}
}

// end waits for the stream to end.
func (r *reading) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(20 * time.Second):
		r.t.Fatal("the stream goes on")
		return nil
	}
}

func TestLogsOnce(t *testing.T) {
	w := newLogWorld(t)
	ids := w.run(2)
	for n, id := range ids {
		w.copies.Write(id, fmt.Sprintf("one %d\ntwo %d\nrest", n, n))
	}
	w.copies.Exit(ids[0], engine.Exit{Code: 1})
	a, b := ids[0], ids[1]
	for _, tt := range []struct {
		name string
		ask  arm.LogAsk
		want []string
	}{
		{"one is chosen, which lives", arm.LogAsk{}, []string{b + "|one 1", b + "|two 1", b + ">rest", b + "-"}},
		{"one by name, which has ended", arm.LogAsk{Instance: a}, []string{a + "|one 0", a + "|two 0", a + ">rest", a + "-"}},
		{"all, the last lines", arm.LogAsk{All: true, Tail: 2}, []string{a + "|two 0", a + ">rest", a + "-", b + "|two 1", b + ">rest", b + "-"}},
	} {
		r := w.in(t).read(tt.ask, arm.LogPlace{})
		if err := r.end(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		r.expect(tt.want...)
		if len(r.got) > 0 {
			t.Errorf("%s: there is more: %q", tt.name, <-r.got)
		}
	}
	all, err := w.client.DeploymentInstances(context.Background(), "iris", "blue")
	if err != nil || len(all) < 2 || all[0].ID != a || all[0].Live() || !all[1].Live() {
		t.Errorf("instances %+v, %v", all, err)
	}
}

// Following goes on from an instance to what replaces it.
func TestLogsAreFollowed(t *testing.T) {
	w := newLogWorld(t)
	a := w.run(1)[0]
	w.copies.Write(a, "before\n")
	r := w.read(arm.LogAsk{Follow: true}, arm.LogPlace{})
	r.expect(a + "|before")
	w.copies.Write(a, "half ")
	w.copies.Write(a, "a line\nand")
	r.expect(a + "|half a line")
	w.copies.Exit(a, engine.Exit{Code: 1})
	r.expect(a+">and", a+"-")
	var b string
	w.eventually("it is replaced", func() bool { ids := w.live(); b = strings.Join(ids, ""); return len(ids) == 1 && b != a })
	w.copies.RunAll()
	w.copies.Write(b, "after\n")
	r.expect(b + "|after")
	one := w.read(arm.LogAsk{Follow: true, Instance: b}, arm.LogPlace{})
	one.expect(b + "|after")
	w.copies.Exit(b, engine.Exit{Code: 1})
	if err := one.end(); err != nil {
		t.Errorf("the log of one instance ended with %v", err)
	}
	r.expect(b + "-")
	r.stop()
	if err := r.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("the reader that was stopped ended with %v", err)
	}
	w.eventually("no log is open", func() bool { return w.copies.open.Load() == 0 })
}

func (w *world) eventually(what string, done func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); !done(); <-tick.C {
		if time.Now().After(deadline) {
			w.t.Fatalf("waiting until %s", what)
		}
	}
}

// Who was cut off goes on without losing or repeating a line, also of
// instances that came and went meanwhile.
func TestLogsGoOnAfterACut(t *testing.T) {
	w := newLogWorld(t)
	ids := w.run(2)
	a, b := ids[0], ids[1]
	w.copies.Write(a, "a1\na2\n")
	ask := arm.LogAsk{All: true, Follow: true, Tail: 1}
	r := w.read(ask, arm.LogPlace{})
	r.expect(a + "|a2")
	w.copies.Write(b, "b1\n")
	r.expect(b + "|b1")
	w.server.CloseClientConnections()
	if err := r.end(); codeOf(err) != sluice.CodeUnavailable {
		t.Fatalf("the cut stream ended with %v", err)
	}
	w.eventually("no log is open", func() bool { return w.copies.open.Load() == 0 })
	w.copies.Write(a, "a3\n")
	w.copies.Exit(a, engine.Exit{Code: 1})
	var c string
	w.eventually("a third one came", func() bool {
		ids := w.live()
		c = ids[len(ids)-1]
		return len(ids) == 2 && c != b
	})
	w.copies.Write(c, "c1\nc2\n")
	w.copies.Exit(c, engine.Exit{Code: 1})

	again := w.read(ask, r.place)
	var got []string
	for range 5 {
		select {
		case line := <-again.got:
			got = append(got, line)
		case <-time.After(20 * time.Second):
			t.Fatalf("only %q came", got)
		}
	}
	w.copies.Write(b, "b2\n")
	again.expect(b + "|b2")
	// Of each instance they are in order.
	byInstance := func(x, y string) int {
		return strings.Compare(x[:strings.LastIndexAny(x, "|-")], y[:strings.LastIndexAny(y, "|-")])
	}
	slices.SortStableFunc(got, byInstance)
	want := []string{a + "|a3", a + "-", c + "|c1", c + "|c2", c + "-"}
	slices.SortStableFunc(want, byInstance)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the cut (-want +got):\n%s", diff)
	}
	again.stop()
	_ = again.end()
}

// Who was cut off from what there is, and does not follow, gets the rest of it.
func TestLogsOfAllGoOnAfterACut(t *testing.T) {
	w := newLogWorld(t)
	ids := w.run(3)
	for _, id := range ids {
		w.copies.Write(id, "1\n2\n")
	}
	w.copies.Exit(ids[1], engine.Exit{Code: 1})
	a, b, c := ids[0], ids[1], ids[2]
	var place arm.LogPlace
	cut := errors.New("cut")
	err := w.client.StreamLogs(context.Background(), "iris", "blue", arm.LogAsk{All: true}, &place, func(r arm.LogRecord) error {
		if r.Kind == arm.LogLine {
			return cut
		}
		return nil
	}, func() error { return nil })
	if !errors.Is(err, cut) {
		t.Fatal(err)
	}
	r := w.read(arm.LogAsk{All: true}, place)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	r.expect(a+"|2", a+"-", b+"|1", b+"|2", b+"-", c+"|1", c+"|2", c+"-")
}

// The stream of a deployment that is deleted says that this was all.
func TestLogsEndWithTheDeployment(t *testing.T) {
	w := newLogWorld(t)
	a := w.run(1)[0]
	w.copies.Write(a, "x\n")
	r := w.read(arm.LogAsk{Follow: true}, arm.LogPlace{})
	r.expect(a + "|x")
	res, err := w.family(context.Background(), w.stored("iris", "blue"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Commit(context.Background(), sluice.Change{Delete: res}); err != nil {
		t.Fatal(err)
	}
	if err := w.copies.Remove(context.Background(), 1, "w"); err != nil {
		t.Fatal(err)
	}
	w.copies.Exit(a, engine.Exit{})
	r.expect(a + "-")
	if err := r.end(); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}

// Whatever an instance writes comes as it is, in pieces that are bounded.
func TestHostileLogs(t *testing.T) {
	w := newLogWorld(t)
	a := w.run(1)[0]
	binary := make([]byte, 100_000)
	for i := range binary {
		if binary[i] = byte(rand.IntN(256)); binary[i] == '\n' {
			binary[i] = 0
		}
	}
	endless := strings.Repeat("x", 3<<20)
	forged := a + " 0 . \n- - . \n\n- 1 | x"
	w.copies.Write(a, string(binary)+"\n"+forged+"\n"+strings.Repeat("\n", 50_000)+endless)
	r := w.read(arm.LogAsk{Follow: true, Tail: 100_000}, arm.LogPlace{})
	var text strings.Builder
	for text.Len() < len(binary)+1+len(forged)+1+50_000+(3<<20)-(64<<10) {
		select {
		case line := <-r.got:
			if line = strings.TrimPrefix(line, a); len(line) > 64<<10+1 {
				t.Fatalf("a piece has %d bytes", len(line))
			}
			text.WriteString(line[1:])
			if line[0] == '|' {
				text.WriteByte('\n')
			}
		case err := <-r.ended:
			t.Fatalf("the stream ended with %v", err)
		case <-time.After(20 * time.Second):
			t.Fatalf("only %d bytes came", text.Len())
		}
	}
	if all := string(binary) + "\n" + forged + "\n" + strings.Repeat("\n", 50_000) + endless; !strings.HasPrefix(all, text.String()) {
		t.Error("what came is not what was written")
	}
}

// Clients that read nothing, or go, leave no reader behind.
func TestClientsThatReadNothing(t *testing.T) {
	w := newLogWorld(t)
	ids := w.run(2)
	for _, id := range ids {
		w.copies.Write(id, strings.Repeat(strings.Repeat("x", 1000)+"\n", 20_000))
	}
	const clients = 20
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range clients {
		req := w.request("GET", w.server.URL+ws+"/onlineEndpoints/iris/deployments/blue/logs"+version+"&all=true&follow=true&tail=100000", nil)
		resp, err := w.server.Client().Do(req.WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
		defer resp.Body.Close()
	}
	w.eventually("all logs are open", func() bool { return w.copies.open.Load() == 2*clients })
	cancel()
	w.eventually("no log is open", func() bool { return w.copies.open.Load() == 0 })
}

func TestLogsRefuseNonsense(t *testing.T) {
	w := newLogWorld(t)
	a := w.run(1)[0]
	for query, status := range map[string]int{"&tail=0": 400, "&tail=x": 400, "&follow=perhaps": 400, "&after=x": 400, "&after=@": 400,
		"&since=-1": 400, "&since=1&after=" + a + "@garbage": 400, "&since=1&after=" + a + "@99999": 400, "&instance=nobody": 404,
		"&instance=..%2F..": 404, "&all=true&instance=" + a: 400, "&since=1&after=nobody@5": 200, "&tail=99999999999": 200} {
		if got := w.do("GET", ws+"/onlineEndpoints/iris/deployments/blue/logs"+version+query, ""); got.status != status {
			t.Errorf("%s: status %d, want %d: %s", query, got.status, status, got.body)
		}
	}
	if got := w.do("GET", ws+"/onlineEndpoints/iris/deployments/green/logs"+version, ""); got.status != 404 {
		t.Errorf("another deployment: status %d", got.status)
	}
	if open := w.copies.open.Load(); open != 0 {
		t.Errorf("%d logs are open", open)
	}
}
