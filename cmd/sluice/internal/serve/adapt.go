package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/collect"
	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/probe"
	"github.com/sluice-ml/sluice/reconcile"
	"github.com/sluice-ml/sluice/store"
)

// live asks an instance whether it lives until it says no often enough: what
// hangs is then replaced by the engine.
func live(prober *probe.Prober) func(context.Context, engine.Instance, engine.Probe) error {
	return func(ctx context.Context, i engine.Instance, p engine.Probe) error {
		return prober.Watch(ctx, i.Address, p.Path, i.Started, probe.Settings{InitialDelay: p.InitialDelay, Period: p.Period,
			Timeout: p.Timeout, SuccessThreshold: p.SuccessThreshold, FailureThreshold: p.FailureThreshold})
	}
}

// services tells the engine what the reconciler knows of its instances, once
// there is one.
type services struct {
	loop atomic.Pointer[reconcile.Loop]
}

func (s *services) of(instance string) engine.Service {
	if loop := s.loop.Load(); loop != nil {
		return loop.Service(instance)
	}
	return engine.Service{}
}

// logs reads the output of a deployment's instances for the API.
type logs struct {
	store  *store.Store
	engine *process.Engine
}

// maxLog bounds what one answer carries of a log, in bytes.
const maxLog = 16 << 20

// read gives the last lines of one instance: a running one before one that has
// ended, then the newest.
func (l logs) read(ctx context.Context, workspace, endpoint, deployment, container string, tail int) (string, error) {
	d, err := store.Read[*sluice.Deployment](ctx, l.store, sluice.DeploymentKey(workspace, endpoint, deployment))
	if err != nil {
		return "", err
	}
	if container == "storage-initializer" {
		return "", sluice.Errorf(sluice.CodeNotBuilt, "the log of container storage-initializer is not built yet: files are placed before the instance starts")
	}
	instances, err := l.engine.Instances(ctx, engine.Selector{Labels: map[string]string{reconcile.LabelUID: d.UID}})
	if err != nil {
		return "", err
	}
	if len(instances) == 0 {
		return "", nil
	}
	slices.SortFunc(instances, func(a, b engine.Instance) int {
		if a.Phase.Ended() != b.Phase.Ended() {
			if a.Phase.Ended() {
				return 1
			}
			return -1
		}
		return b.Created.Compare(a.Created)
	})
	out, err := l.engine.Logs(ctx, instances[0].ID, engine.LogOptions{Tail: tail})
	if errors.Is(err, engine.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer out.Close()
	text, err := io.ReadAll(io.LimitReader(out, maxLog))
	return string(text), err
}

// capacity tells what the engine can host.
func capacity(e engine.Engine) func(context.Context) (sluice.Capacity, error) {
	return func(ctx context.Context) (sluice.Capacity, error) {
		d, err := e.Describe(ctx)
		return sluice.Capacity{CPU: d.CPU, Memory: float64(d.Memory) / (1 << 30), GPU: d.GPUs}, err
	}
}

// status tells what runs, for `sluice status`.
type status struct {
	config Config
	engine *process.Engine
	disk   *collect.Collector
}

type statusBody struct {
	Version   string           `json:"version"`
	Disk      *sluice.DiskUse  `json:"disk,omitempty"`
	Instances []statusInstance `json:"instances"`
	Engine    string           `json:"engine"`
	Isolation string           `json:"isolation"`
	Weaker    []string         `json:"weaker"`
}

type statusInstance struct {
	ID         string `json:"id"`
	Endpoint   string `json:"endpoint"`
	Deployment string `json:"deployment"`
	Phase      string `json:"phase"`
	PID        int    `json:"pid,omitempty"`
}

// countTime bounds how long status waits for the first count of the disk, which
// a server that has just started is busy with.
const countTime = time.Second

func (s status) read(ctx context.Context) any {
	body := statusBody{Version: s.config.Version, Instances: []statusInstance{}, Weaker: []string{}}
	if d, err := s.engine.Describe(ctx); err == nil {
		body.Engine, body.Isolation, body.Weaker = d.Name, d.Isolation, append(body.Weaker, d.Weaker...)
	}
	counting, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	if use, err := s.disk.Use(counting); err == nil {
		if err := disk.Try(s.config.Home.Run()); disk.HasFailed(err) {
			use.Refuses = disk.Refusal("anything", string(s.config.Home), err)
		}
		body.Disk = &use
	} else if counting.Err() == nil {
		s.config.Logger.Error("counting the disk for status", "err", err)
	}
	instances, err := s.engine.Instances(ctx, engine.Selector{})
	if err != nil {
		s.config.Logger.Error("listing instances for status", "err", err)
		return body
	}
	for _, i := range instances {
		if !i.Phase.Ended() {
			body.Instances = append(body.Instances, statusInstance{ID: i.ID, Phase: string(i.Phase), PID: i.PID,
				Endpoint: i.Labels[reconcile.LabelEndpoint], Deployment: i.Labels[reconcile.LabelDeployment]})
		}
	}
	return body
}

// stopTime bounds how long instances may take to end when everything stops: as
// long as the longest request, and a little to end in.
const stopTime = sluice.MaxRequestTimeout + 20*time.Second

// stopInstances ends everything that runs. What should run stays in the store:
// the next server starts it again.
func stopInstances(c Config, e *process.Engine, epoch int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	for {
		live := map[string]bool{}
		instances, err := e.Instances(ctx, engine.Selector{})
		if err != nil {
			return fmt.Errorf("stopping instances: %w", err)
		}
		for _, i := range instances {
			if !i.Phase.Ended() {
				live[i.Workload] = true
			}
		}
		if len(live) == 0 {
			return nil
		}
		for id := range live {
			if err := e.Remove(ctx, epoch, id); err != nil {
				return fmt.Errorf("stopping instances: %w", err)
			}
		}
		select {
		case <-e.Notify():
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			c.Logger.Warn("instances are still running", "workloads", len(live))
			return ctx.Err()
		}
	}
}

// namesOf gives the names that a certificate for a listening address needs: a
// server that listens everywhere is called by the machine's name too.
func namesOf(setting string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	host, _, err := net.SplitHostPort(setting)
	if err != nil {
		return names
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return names
		}
	}
	if !slices.Contains(names, host) {
		names = append(names, host)
	}
	return names
}

// scoringURIs gives where endpoints are called: below the gateway's address,
// or under a host name of their own when a domain is set.
func scoringURIs(c Config) func(workspace, endpoint string) string {
	return func(workspace, endpoint string) string {
		base := home.URL(c.Settings.Gateway.Listen)
		if domain := c.Settings.Gateway.Domain; domain != "" && workspace == sluice.DefaultWorkspace {
			_, port, _ := net.SplitHostPort(c.Settings.Gateway.Listen)
			return "https://" + net.JoinHostPort(strings.ToLower(endpoint)+"."+domain, port) + "/score"
		}
		if workspace != sluice.DefaultWorkspace {
			base += "/w/" + url.PathEscape(workspace)
		}
		return base + "/endpoints/" + url.PathEscape(endpoint) + "/score"
	}
}
