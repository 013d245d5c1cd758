package serve

import (
	"context"
	"net"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-ml/sluice/feed"
	"github.com/sluice-ml/sluice/gateway"
	"github.com/sluice-ml/sluice/handover"
	"github.com/sluice-ml/sluice/identity"
)

// Gateway carries traffic until the context is done or it is asked to stop.
// It serves at once with the routes it kept; the server is only needed for
// news.
func Gateway(ctx context.Context, c Config) error {
	on, err := stand(ctx, c, "gateway", c.Settings.Gateway.Listen, c.Home.GatewayLock())
	if err != nil {
		return err
	}
	defer on.Close()
	tls, err := on.ca.ServerTLS(gatewayNames(c)...)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "local"
	}
	g, err := gateway.New(gateway.Config{
		ID: host, RoutesDir: c.Home.Routes(), Domain: c.Settings.Gateway.Domain,
		AdminDigest: identity.Digest(on.credential.Token),
		MaxBody:     c.Settings.Gateway.MaxBody, HeaderTime: c.Settings.Gateway.Header, IdleAfter: c.Settings.Gateway.IdleAfter,
		Logger: c.Logger,
	})
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	group, ctx := errgroup.WithContext(ctx)
	defer offer(ctx, c.Home.GatewaySock(), handover.Child{
		Name: "gateway", Version: c.Version, Listener: on.listener, Stop: stopper(stop)}, stop)()
	group.Go(func() error {
		return feed.Follow(ctx, feed.Follower{
			Name: host,
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", c.Home.FeedSocket())
			},
			Snapshot: g.Reset, Update: g.Apply, Load: g.Load, Wake: g.Waiting(), Logger: c.Logger,
		})
	})
	group.Go(func() error { return g.Serve(ctx, on.listener, tls) })
	c.Logger.Info("serving endpoints", "address", on.listener.Addr().String(), "version", c.Version)
	return cause(ctx, group.Wait())
}

// gatewayNames are what the gateway's certificate is for.
func gatewayNames(c Config) []string {
	names := namesOf(c.Settings.Gateway.Listen)
	if d := c.Settings.Gateway.Domain; d != "" {
		names = append(names, d, "*."+d)
	}
	return names
}
