// Package api is the REST interface: Azure Resource Manager as Azure Machine
// Learning's clients speak it, over the store.
//
// [New] gives an http.Handler. It decides what a request means, checks it,
// commits the outcome in one change and answers; it runs nothing. A deployment
// it accepts is in a transitional state with an operation in progress, which
// other parts bring to an end in the store; clients poll that operation here,
// and may have the poll held open (header Prefer: wait=N).
//
// What an operation leaves behind for those parts:
//
//   - a created or updated deployment: State Creating, Updating or Scaling, its
//     Scale, a new Revision when its Spec changed, an Operation in progress;
//   - a deleted deployment: State Deleting and a delete Operation in progress;
//     its former operation is Canceled if it still ran;
//   - a deleted endpoint: State Deleting on it and on all its deployments, one
//     delete Operation of the endpoint in progress. An endpoint without
//     deployments is gone at once, and its operation never existed.
//
// The name of an operation is "<uid of its target>.<random>". Whatever only
// changes the endpoint itself (traffic, tags, keys) is done when the answer
// is sent.
//
// The handler may serve any number of requests at once. Two that change the
// same thing meet in the store; the later one decides again on what the
// earlier one left. A held poll ends with its request's context: give the
// server a BaseContext that ends when it should stop.
package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/sluice-ml/sluice"
)

// Store keeps resources. Its methods behave as sluice.Change and sluice.Query
// describe; Wait returns the newest change number as soon as it is over after.
type Store interface {
	Get(ctx context.Context, key sluice.Key) (sluice.Resource, error)
	List(ctx context.Context, q sluice.Query) (sluice.Page, error)
	Commit(ctx context.Context, c sluice.Change) (int64, error)
	History(ctx context.Context, key sluice.Key, limit int) ([]sluice.Event, error)
	Wait(ctx context.Context, after int64) (int64, error)
}

// Artifacts keeps uploaded content.
type Artifacts interface {
	Missing(ctx context.Context, digests []string) ([]string, error)
	PutBlob(ctx context.Context, digest string, size int64, r io.Reader) error
	PutTree(ctx context.Context, tree sluice.Tree) (digest string, err error)
	HasTree(ctx context.Context, digest string) (bool, error)
	GetTree(ctx context.Context, digest string) (sluice.Tree, error)

	// Large files may come in parts, numbered from 0, each with its CRC-32C.
	PartSize() int64
	Parts(ctx context.Context, l sluice.LargeFile) ([]int, error)
	PutPart(ctx context.Context, l sluice.LargeFile, n int, length int64, sum uint32, r io.Reader) error
	Join(ctx context.Context, l sluice.LargeFile) error
}

// Disk looks after the room there is.
type Disk interface {
	// Check refuses what there would be no room for; what names it.
	Check(ctx context.Context, what string, bytes int64) error
	Use(ctx context.Context) (sluice.DiskUse, error)
	Prune(ctx context.Context, dryRun bool) (sluice.Pruned, error)
}

// Keys makes endpoint keys and seals them for the store. Digest gives what
// the gateway compares.
type Keys interface {
	New() (string, error)
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
	Digest(key string) string
}

// Config is what the handler works with. Fields without a default named are
// required.
type Config struct {
	Store     Store
	Artifacts Artifacts
	Keys      Keys
	// Authenticate says on whose behalf a request is made; a CodeUnauthorized
	// error otherwise. It compares in constant time.
	Authenticate func(*http.Request) (sluice.Actor, error)
	// Logs gives the last tail lines of a container's log of one instance.
	// Container is inference-server or storage-initializer.
	Logs func(ctx context.Context, workspace, endpoint, deployment, container string, tail int) (string, error)
	// Instances are those of deployments, with their logs.
	Instances Instances
	// ScoringURI gives the address at which an endpoint is called.
	ScoringURI func(workspace, endpoint string) string
	// PublicURL is the server's own address, e.g. https://localhost:7443. When
	// it names this machine only, addresses are given under the host that the
	// client asked for.
	PublicURL string
	// SignKey signs upload URLs; at least 32 bytes. Changing it ends all uploads.
	SignKey []byte
	// InstanceTypes is the table that instance_type is looked up in; default
	// the built-in one.
	InstanceTypes []sluice.InstanceType
	// Capacity says what the machine has to offer. A type that is larger gets a
	// warning, or is refused when StrictCapacity is set. Default: not known.
	Capacity       func(context.Context) (sluice.Capacity, error)
	StrictCapacity bool
	// Aliases gives what an environment of a registry stands for, e.g. an image
	// with its packages, and AliasNames the references it knows. Default: none.
	Aliases    func(sluice.Ref) (*sluice.Environment, bool)
	AliasNames []string
	// Disk is asked before an upload begins and served at …/prune; default: there
	// is always room, and nothing can be pruned.
	Disk Disk
	// Status is served to authenticated clients at /sluice/status; default {}.
	Status func(ctx context.Context) any
	// Ready says why the server cannot do its work now; default: always ready.
	Ready  func(ctx context.Context) error
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default()
}

// server is the handler.
type server struct {
	Config
	public *url.URL
	routes []route

	refusals quota // lines about requests without a credential
}

// New makes the handler.
func New(c Config) (http.Handler, error) {
	switch {
	case c.Store == nil || c.Artifacts == nil || c.Keys == nil:
		return nil, errors.New("api: Store, Artifacts and Keys are required")
	case c.Authenticate == nil || c.Logs == nil || c.Instances == nil || c.ScoringURI == nil:
		return nil, errors.New("api: Authenticate, Logs, Instances and ScoringURI are required")
	case len(c.SignKey) < 32:
		return nil, errors.New("api: SignKey must have at least 32 bytes")
	}
	public, err := url.Parse(c.PublicURL)
	if err != nil || public.Scheme == "" || public.Host == "" {
		return nil, errors.New("api: PublicURL must be an absolute URL")
	}
	if c.InstanceTypes == nil {
		c.InstanceTypes = sluice.InstanceTypes()
	}
	if c.Aliases == nil {
		c.Aliases = func(sluice.Ref) (*sluice.Environment, bool) { return nil, false }
	}
	if c.Status == nil {
		c.Status = func(context.Context) any { return struct{}{} }
	}
	if c.Ready == nil {
		c.Ready = func(context.Context) error { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &server{Config: c, public: public, routes: routes()}, nil
}

// newUID gives an identifier that no other resource has: 16 hexadecimal
// digits. It is short because paths of sockets are made of it.
func newUID() string { return randomHex(8) }

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails: the program ends first
	return hex.EncodeToString(b)
}
