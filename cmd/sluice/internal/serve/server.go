// Package serve puts the two long-lived processes together: the server, which
// knows what should run and sees to it, and the gateway, which carries the
// traffic. Reading [Server] and [Gateway] top to bottom explains what there is
// and in which order it starts and stops.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/api"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/collect"
	"github.com/sluice-ml/sluice/engine/process"
	"github.com/sluice-ml/sluice/environment"
	"github.com/sluice-ml/sluice/feed"
	"github.com/sluice-ml/sluice/handover"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/identity"
	"github.com/sluice-ml/sluice/probe"
	"github.com/sluice-ml/sluice/reconcile"
	"github.com/sluice-ml/sluice/store"
)

// Config is what a process is put together from.
type Config struct {
	Home     home.Dir
	Settings home.Config
	Version  string
	Runner   string // path of sluice-runner; only the server needs it
	Logger   *slog.Logger
}

// Server runs the API, the reconciler and the process engine until the context
// is done or it is asked to stop. Instances run on unless it was asked to stop
// all.
func Server(ctx context.Context, c Config) error {
	makeReadable()
	on, err := stand(ctx, c, "server", c.Settings.API.Listen, c.Home.ServerLock())
	if err != nil {
		return err
	}
	defer on.Close()
	keys, err := identity.OpenEndpointKeys(c.Home.SealKey())
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, c.Home.Database(), store.Options{Logger: c.Logger})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := ensureWorkspace(ctx, db); err != nil {
		return err
	}
	epoch, err := lead(ctx, db)
	if err != nil {
		return err
	}
	var disk *collect.Collector
	blobs, err := artifact.OpenWith(c.Home.Artifacts(), artifact.Options{
		Admit:    func(ctx context.Context, what string, n int64) (func(), error) { return disk.Admit(ctx, what, n) },
		NextStep: func(ctx context.Context) string { return disk.NextStep(ctx) }})
	if err != nil {
		return err
	}
	environments, err := environment.Open(environment.Config{Dir: c.Home.Environments(), UV: c.Settings.Python.UV, Logger: c.Logger,
		SourceBuilds: c.Settings.Python.SourceBuilds,
		BuildUser:    environment.User{UID: c.Settings.Python.BuildUser, GID: c.Settings.Python.BuildUser}})
	if err != nil {
		return err
	}
	defer environments.Close()
	var seen services
	instances, err := process.Open(process.Config{Dir: c.Home.Instances(), Shim: []string{c.Runner, "shim"},
		Materialize: blobs.Materialize, Live: live(probe.New(probe.Options{})), Service: seen.of, Logger: c.Logger})
	if err != nil {
		return err
	}
	defer instances.Close()
	disk = collect.New(collect.Config{Store: db, Artifacts: blobs, Environments: environments, Engine: instances, Dir: string(c.Home),
		Budget: int64(c.Settings.Disk.Budget), Warn: c.Settings.Disk.Warn, Logger: c.Logger})
	var loop *reconcile.Loop
	routes := feed.NewServer(feed.Config{Logger: c.Logger, OnApplied: func() { loop.Poke() }})
	loop = reconcile.New(reconcile.Config{
		Store: db, Engine: instances, Environments: newBuilder(environments, blobs, disk), Publisher: routes,
		Runner: c.Runner, InstanceTypes: sluice.InstanceTypes(), Epoch: epoch, Logger: c.Logger,
	})
	seen.loop.Store(loop)
	authenticate := identity.NewAuthenticator(on.credential).Authenticate
	public := home.URL(c.Settings.API.Listen)
	handler, err := api.New(api.Config{
		Store: db, Artifacts: blobs, Keys: keys,
		Authenticate: authenticate,
		Logs:         logs{db, instances}.read,
		Instances:    copies{instances},
		ScoringURI:   scoringURIs(c),
		PublicURL:    public,
		SignKey:      []byte(identity.NewKey()),
		Capacity:     capacity(instances), StrictCapacity: c.Settings.Engine.StrictCapacity,
		Aliases: environment.Curated, AliasNames: environment.CuratedNames(),
		Status: status{c, instances, disk}.read, Disk: disk,
		Ready:  func(ctx context.Context) error { _, err := db.Latest(ctx); return err },
		Logger: c.Logger,
	})
	if err != nil {
		return err
	}
	feedSocket, err := privateSocket(c.Home.FeedSocket())
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	group, ctx := errgroup.WithContext(ctx)
	defer offer(ctx, c.Home.ServerSocket(), handover.Child{
		Name: "server", Version: c.Version, Listener: on.listener, Stop: stopper(stop)}, stop)()
	group.Go(func() error { return routes.Serve(ctx, feedSocket) })
	group.Go(func() error { return loop.Run(ctx) })
	group.Go(func() error { return disk.Run(ctx) })
	counted := &counters{handler: handler, authenticate: authenticate, engine: instances}
	group.Go(func() error { return serveHTTP(ctx, on.listener, counted, on.ca, c) })
	c.Logger.Info("serving the API", "address", public, "version", c.Version)
	err = cause(ctx, group.Wait())
	if errors.Is(context.Cause(ctx), errStopAll) {
		err = errors.Join(err, stopInstances(c, instances, epoch))
	}
	return err
}

// offer has this process adoptable until the function it gives is called, the
// last thing before it ends: adopters take the end of their connection for the
// end of the process.
func offer(ctx context.Context, path string, child handover.Child, stop context.CancelCauseFunc) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := handover.Offer(ctx, path, child); err != nil {
			stop(err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// Reasons to stop.
var (
	errStop    = errors.New("asked to stop")
	errStopAll = errors.New("asked to stop, instances included")
)

// cause gives why a group that ended well did so, when that was an error.
func cause(ctx context.Context, err error) error {
	why := context.Cause(ctx)
	if err != nil || errors.Is(why, errStop) || errors.Is(why, errStopAll) || errors.Is(why, context.Canceled) {
		return err
	}
	return why
}

func stopper(stop context.CancelCauseFunc) func(all bool) {
	return func(all bool) {
		if all {
			stop(errStopAll)
		} else {
			stop(errStop)
		}
	}
}

// listen gives the socket that the parent handed over, or opens one.
func listen(address string) (net.Listener, error) {
	l, err := handover.Inherited()
	if l != nil || err != nil {
		return l, err
	}
	l, err = net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

// openCA opens the local authority and writes the bundle that other tools are
// pointed at.
func openCA(c Config) (*identity.CA, error) {
	domains := append(namesOf(c.Settings.API.Listen), namesOf(c.Settings.Gateway.Listen)...)
	if c.Settings.Gateway.Domain != "" {
		domains = append(domains, c.Settings.Gateway.Domain)
	}
	ca, err := identity.OpenCA(c.Home.CA(), c.Home.CAKey(), time.Now, domains...)
	if err != nil {
		return nil, err
	}
	roots, err := identity.SystemRoots(c.Home.Bundle())
	if err != nil {
		return nil, err
	}
	return ca, ca.WriteBundle(c.Home.Bundle(), roots)
}

func ensureWorkspace(ctx context.Context, db *store.Store) error {
	w := &sluice.Workspace{Meta: sluice.Meta{UID: "default", Workspace: sluice.DefaultWorkspace, Name: sluice.DefaultWorkspace}}
	_, err := db.Commit(ctx, sluice.Change{Actor: sluice.Actor{Name: "sluice"}, Put: []sluice.Resource{w}})
	if sluice.ErrorCode(err) == sluice.CodeExists {
		return nil
	}
	return err
}

// lead takes the lead of the reconciler. On one machine nobody else can hold
// it: the parent runs one server. A lease that ends at once gives each server
// an epoch above the one before, by which the engine tells them apart.
func lead(ctx context.Context, db *store.Store) (int64, error) {
	for {
		epoch, ok, err := db.AcquireLease(ctx, "reconcile", identity.NewKey(), time.Millisecond)
		if err != nil || ok {
			return epoch, err
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// privateSocket listens on a Unix socket that only our user can open,
// replacing one that a dead process left.
func privateSocket(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("clearing the way for %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", filepath.Base(path), err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

const (
	headTime = 10 * time.Second
	idleTime = 2 * time.Minute
	// drainTime is how long requests under way may take when we stop.
	drainTime = 5 * time.Second
)

// serveHTTP serves the API over TLS until the context is done.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, ca *identity.CA, c Config) error {
	tls, err := ca.ServerTLS(namesOf(c.Settings.API.Listen)...)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: h, TLSConfig: tls,
		ReadHeaderTimeout: headTime, IdleTimeout: idleTime, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
		// Held polls end with the server.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		draining, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		done <- server.Shutdown(draining)
	}()
	if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the API: %w", err)
	}
	if err := <-done; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
