package serve

import (
	"context"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-ml/sluice/feed"
	"github.com/sluice-ml/sluice/gateway"
	"github.com/sluice-ml/sluice/handover"
	"github.com/sluice-ml/sluice/identity"
)

// gatewayDrain is how long requests under way may take when the gateway is
// asked to stop.
const gatewayDrain = 30 * time.Second

// Gateway carries traffic until the context is done or it is asked to stop.
// It serves at once with the routes it kept; the server is only needed for
// news.
func Gateway(ctx context.Context, c Config) error {
	listener, err := listen(c.Settings.Gateway.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	lock, err := alone(ctx, c.Home.GatewayLock(), "gateway")
	if err != nil {
		return err
	}
	defer lock.Close()
	ca, err := openCA(c)
	if err != nil {
		return err
	}
	credential, err := identity.OpenCredential(c.Home.Credential())
	if err != nil {
		return err
	}
	tls, err := ca.ServerTLS(gatewayNames(c)...)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "local"
	}
	g, err := gateway.New(gateway.Config{
		ID: host, RoutesDir: c.Home.Routes(), Domain: c.Settings.Gateway.Domain,
		AdminDigest: identity.Digest(credential.Token),
		MaxBody:     c.Settings.Gateway.MaxBody, HeaderTime: c.Settings.Gateway.Header, IdleAfter: c.Settings.Gateway.IdleAfter,
		Drain: gatewayDrain, Logger: c.Logger,
	})
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	group, ctx := errgroup.WithContext(ctx)
	defer offer(ctx, c.Home.GatewaySock(), handover.Child{
		Name: "gateway", Version: c.Version, Listener: listener, Stop: stopper(stop)}, stop)()
	group.Go(func() error {
		return feed.Follow(ctx, feed.Follower{
			Name: host,
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", c.Home.FeedSocket())
			},
			Snapshot: g.Reset, Update: g.Apply, Load: g.Load, Wake: g.Waiting(), Logger: c.Logger,
		})
	})
	group.Go(func() error { return g.Serve(ctx, listener, tls) })
	c.Logger.Info("serving endpoints", "address", listener.Addr().String(), "version", c.Version)
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
