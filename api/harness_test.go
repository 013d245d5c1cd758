package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/api"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/engine/enginetest"
	"github.com/sluice-ml/sluice/identity"
	"github.com/sluice-ml/sluice/store"
)

const token = "test-credential"

// world is a server over TLS on a real store and real artifacts.
type world struct {
	t      testing.TB
	store  *store.Store
	server *httptest.Server
	client *arm.Client
	log    *safeBuffer
	copies *copies // of deployments, for their logs
}

// now is the clock of the tests; it stands still unless a test moves it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newWorld(t testing.TB, adjust ...func(*api.Config)) *world {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	w := &world{t: t, log: &safeBuffer{}, copies: &copies{Engine: enginetest.New()}}
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	if w.store, err = store.Open(ctx, filepath.Join(dir, "sluice.db"), store.Options{Logger: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.put(&sluice.Workspace{Meta: sluice.Meta{UID: "ws1", Workspace: "default", Name: "default"}})
	artifacts, err := artifact.Open(filepath.Join(dir, "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := identity.OpenEndpointKeys(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	config := api.Config{
		Store: w.store, Artifacts: artifacts, Keys: keys,
		Authenticate: identity.NewAuthenticator(identity.Credential{Token: token}).Authenticate,
		Logs: func(_ context.Context, workspace, endpoint, deployment, container string, tail int) (string, error) {
			return strings.Join([]string{workspace, endpoint, deployment, container, "line"}, " "), nil
		},
		Instances:  w.copies,
		ScoringURI: func(_, endpoint string) string { return "https://localhost:8443/endpoints/" + endpoint + "/score" },
		PublicURL:  "https://localhost:7443",
		SignKey:    bytes.Repeat([]byte{7}, 32),
		Logger:     logger,
	}
	for _, f := range adjust {
		f(&config)
	}
	handler, err := api.New(config)
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(handler)
	w.server.EnableHTTP2 = true
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	w.client = w.newClient(token)
	return w
}

func (w *world) newClient(credential string) *arm.Client {
	w.t.Helper()
	c, err := arm.NewClient(arm.Options{BaseURL: w.server.URL, Credential: credential,
		RootCAs: w.server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) put(res ...sluice.Resource) {
	w.t.Helper()
	if _, err := w.store.Commit(context.Background(), sluice.Change{Actor: sluice.Actor{Name: "test"}, Put: res}); err != nil {
		w.t.Fatal(err)
	}
}

// reconcile brings every operation to an end, as the real loop does, until the
// test ends. fail may give a cause for a deployment to fail with.
func (w *world) reconcile(fail func(*sluice.Deployment) *sluice.Cause) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		after := int64(0)
		for {
			latest, err := w.store.Wait(ctx, after)
			var ops []*sluice.Operation
			if err == nil {
				after = latest
				ops, err = store.ReadAll[*sluice.Operation](ctx, w.store, sluice.Query{Kind: sluice.KindOperation})
			}
			if err != nil {
				if ctx.Err() == nil {
					w.t.Errorf("reading operations: %v", err)
				}
				return
			}
			for _, op := range ops {
				if op.Done() {
					continue
				}
				if err := w.finish(ctx, op, fail); err != nil && ctx.Err() == nil && sluice.ErrorCode(err) != sluice.CodeStale {
					w.t.Errorf("finishing %s of %s: %v", op.Verb, op.Target, err)
					return
				}
			}
		}
	}()
}

// finish first enters a stage, so that followers see one, and ends the
// operation the next time.
func (w *world) finish(ctx context.Context, op *sluice.Operation, fail func(*sluice.Deployment) *sluice.Cause) error {
	change := sluice.Change{Actor: sluice.Actor{Name: "sluice"}, Observed: true}
	if len(op.Stages) == 0 {
		op.Stages = sluice.Advance(nil, sluice.Stage{Name: sluice.StageInstance, Step: sluice.StepStarting}, time.Now())
		change.Put = []sluice.Resource{op}
		_, err := w.store.Commit(ctx, change)
		return err
	}
	op.Status, op.Ended, op.Stages = sluice.OperationSucceeded, time.Now(), sluice.EndStages(op.Stages, time.Now())
	res, err := w.store.Get(ctx, op.Target)
	if err != nil {
		return err
	}
	if op.Verb == sluice.VerbDelete {
		change.Delete, err = w.family(ctx, res)
		change.Observed = false
	} else {
		d := res.(*sluice.Deployment)
		d.State, d.Serving = sluice.StateSucceeded, d.Revision
		if fail != nil && fail(d) != nil {
			d.State, d.Cause, d.Serving = sluice.StateFailed, fail(d), ""
			op.Status, op.Cause = sluice.OperationFailed, d.Cause
		}
		change.Put = append(change.Put, d)
	}
	if err != nil {
		return err
	}
	change.Put = append(change.Put, op)
	_, err = w.store.Commit(ctx, change)
	return err
}

// family gives a resource with everything that goes when it goes.
func (w *world) family(ctx context.Context, res sluice.Resource) ([]sluice.Resource, error) {
	out := []sluice.Resource{res}
	prefix := strings.ToLower(res.Key().Name)
	kinds := []sluice.Kind{sluice.KindScale, sluice.KindRevision}
	if res.Key().Kind == sluice.KindEndpoint {
		kinds = append(kinds, sluice.KindDeployment, sluice.KindKeys)
	}
	for _, kind := range kinds {
		page, err := w.store.List(ctx, sluice.Query{Workspace: res.Key().Workspace, Kind: kind, Prefix: prefix})
		if err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
	}
	return out, nil
}

// answer is a raw answer of the server.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) errorBody(t testing.TB) arm.ErrorDetail {
	t.Helper()
	var body arm.ErrorBody
	if err := json.Unmarshal(a.body, &body); err != nil || body.Error.Code == "" {
		t.Fatalf("status %d: not an ARM error: %s", a.status, a.body)
	}
	return body.Error
}

// do sends a raw request as the admin. The path may be a whole URL.
func (w *world) do(method, path, body string, headers ...string) answer {
	w.t.Helper()
	target := path
	if !strings.HasPrefix(path, "https://") {
		target = w.server.URL + path
	}
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req := w.request(method, target, reader)
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := w.server.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b}
}

// in gives the same world to another test, which reports for itself.
func (w *world) in(t testing.TB) *world {
	other := *w
	other.t = t
	return &other
}

// request makes a request as the admin.
func (w *world) request(method, target string, body io.Reader) *http.Request {
	w.t.Helper()
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return req
}

const (
	ws      = "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.MachineLearningServices/workspaces/default"
	version = "?api-version=2024-04-01"
)

// upload sends one file as the content of an asset and gives its URI.
func (w *world) upload(kind sluice.Kind, base, path, text string) string {
	w.t.Helper()
	ctx := context.Background()
	pending, err := w.client.StartPendingUpload(ctx, kind, "any", "1")
	if err != nil {
		w.t.Fatal(err)
	}
	tree := sluice.Tree{Files: []sluice.TreeFile{{Path: path, Size: int64(len(text)), Digest: sluice.DigestBytes([]byte(text))}}}
	uri, err := w.client.Upload(ctx, pending, base, tree, func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return uri
}

// assets registers a model m:1, code c:1 and environment e:1.
func (w *world) assets() {
	w.t.Helper()
	ctx := context.Background()
	_, err1 := w.client.PutModel(ctx, "m", "1", arm.ModelVersion{Properties: arm.ModelProperties{
		ModelURI: w.upload(sluice.KindModel, "model", "m.bin", "weights")}})
	_, err2 := w.client.PutCode(ctx, "c", "1", arm.CodeVersion{Properties: arm.CodeProperties{
		CodeURI: w.upload(sluice.KindCode, "src", "score.py", "def init(): pass\ndef run(d): return d\n")}})
	_, err3 := w.client.PutEnvironment(ctx, "e", "1", arm.EnvironmentVersion{Properties: arm.EnvironmentProperties{
		Image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest", CondaFile: "dependencies: [python=3.11]\n"}})
	if err := errors.Join(err1, err2, err3); err != nil {
		w.t.Fatal(err)
	}
}

// deployment gives the smallest request that is accepted.
func deployment(count int) arm.OnlineDeployment {
	capacity := arm.Int(count)
	return arm.OnlineDeployment{
		SKU: &arm.SKU{Name: "Default", Capacity: &capacity},
		Properties: arm.DeploymentProperties{
			EndpointComputeType: "Managed", Model: "azureml:m:1", EnvironmentID: "azureml:e:1",
			CodeConfiguration: &arm.CodeConfiguration{CodeID: "azureml:c:1", ScoringScript: "score.py"},
			InstanceType:      "standard_ds3_v2",
		},
	}
}

// endpoint creates an endpoint and fails the test when it cannot.
func (w *world) endpoint(name string) arm.OnlineEndpoint {
	w.t.Helper()
	e, _, err := w.client.PutEndpoint(context.Background(), name, arm.OnlineEndpoint{})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// deploy creates or updates a deployment and waits for it.
func (w *world) deploy(endpoint, name string, d arm.OnlineDeployment) {
	w.t.Helper()
	_, poller, err := w.client.PutDeployment(context.Background(), endpoint, name, d)
	if err == nil {
		err = poller.Wait(context.Background(), nil)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// settle says how a deployment's first operation ended: it serves from then on
// when that was well.
func (w *world) settle(endpoint, name string, state sluice.State) {
	w.t.Helper()
	d, err := store.Read[*sluice.Deployment](context.Background(), w.store, sluice.DeploymentKey("default", endpoint, name))
	if err != nil {
		w.t.Fatal(err)
	}
	if d.State = state; state == sluice.StateSucceeded {
		d.Serving = d.Revision
	} else {
		d.Cause = &sluice.Cause{Code: sluice.CauseInitRaised, Message: "init() raised ValueError: x", File: "score.py", Line: 3}
	}
	w.put(d)
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func codeOf(err error) sluice.Code { return sluice.ErrorCode(err) }
