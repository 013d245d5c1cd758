package feed

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sluice-ml/sluice"
)

// Applied is true only once the gateway has taken the routes in, and gateways
// that are not there are not waited for.
func TestAppliedFollowsTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		told := make(chan struct{}, 16)
		server := NewServer(Config{OnApplied: func() { told <- struct{}{} }})
		server.PublishAll([]sluice.Routes{routes("iris", 1)})
		if !server.Applied("default", "iris", 1) {
			t.Error("without a gateway there is nobody to wait for")
		}

		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		defer group.Wait()
		defer cancel()
		group.Go(func() { server.Serve(ctx, listener) })
		hold := make(chan struct{})
		group.Go(func() {
			Follow(ctx, Follower{Name: "one", Dial: listener.dial,
				Snapshot: func([]sluice.Routes) {}, Update: func(sluice.Routes) { <-hold }})
		})
		<-told // the snapshot
		if !server.Applied("default", "iris", 1) || server.Applied("default", "iris", 2) {
			t.Error("after the snapshot version 1 is applied, and version 2 is not")
		}

		server.Publish(routes("Iris", 2))
		synctest.Wait()
		if server.Applied("default", "iris", 2) {
			t.Error("version 2 counts as applied although the gateway is still at it")
		}
		close(hold)
		<-told
		if !server.Applied("default", "IRIS", 2) {
			t.Error("version 2 is not applied although the gateway has said so")
		}

		server.Publish(routes("iris", 3))
		cancel()
		<-told // the gateway left
		group.Wait()
		if !server.Applied("default", "iris", 3) {
			t.Error("a gateway that has left is waited for")
		}
	})
}
