package feed

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-ml/sluice"
)

// While the server is away for an hour the gateway is told nothing, so that it
// serves on with what it has; the next server brings it up to date in seconds.
func TestServerAwayForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		defer group.Wait()
		defer cancel()
		serve := func(version int64) (*pipes, context.CancelFunc) {
			l := newPipes()
			s := NewServer(Config{})
			s.PublishAll([]sluice.Routes{routes("iris", version)})
			serving, stop := context.WithCancel(ctx)
			group.Go(func() { s.Serve(serving, l) })
			return l, stop
		}
		var listener atomic.Pointer[pipes]
		first, stop := serve(1)
		listener.Store(first)
		told := make(chan int64, 16)
		dials := 0
		group.Go(func() {
			Follow(ctx, Follower{
				Name: "one",
				Dial: func(ctx context.Context) (net.Conn, error) {
					dials++
					return listener.Load().dial(ctx)
				},
				Snapshot: func(all []sluice.Routes) { told <- all[0].Version },
				Update:   func(r sluice.Routes) { told <- r.Version },
			})
		})
		if v := <-told; v != 1 {
			t.Fatalf("the first server told of version %d", v)
		}
		stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case v := <-told:
			t.Errorf("while the server was away the gateway was told of version %d", v)
		default:
		}
		if dials < 1000 {
			t.Errorf("in an hour it was tried %d times", dials)
		}
		began := time.Now()
		second, _ := serve(2)
		listener.Store(second)
		if v := <-told; v != 2 || time.Since(began) > lastPause {
			t.Errorf("the second server told of version %d after %v", v, time.Since(began))
		}
	})
}
