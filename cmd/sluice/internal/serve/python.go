package serve

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/collect"
	"github.com/sluice-ml/sluice/environment"
	"github.com/sluice-ml/sluice/reconcile"
)

// builder makes environments for the reconciler, while there is room.
type builder struct {
	*environment.Builder
	disk      *collect.Collector
	artifacts *artifact.Store
	imports   *imports
}

func newBuilder(b *environment.Builder, artifacts *artifact.Store, disk *collect.Collector) builder {
	return builder{b, disk, artifacts, &imports{of: map[string][]string{}}}
}

// Prepare implements reconcile.Environments.
func (b builder) Prepare(ctx context.Context, n reconcile.Needs, progress func(step, detail string)) (reconcile.Python, error) {
	spec, notices, err := b.spec(ctx, n)
	if err != nil {
		return reconcile.Python{}, err
	}
	env, err := b.disk.Prepare(ctx, func(ctx context.Context) (environment.Env, error) {
		return b.Builder.Prepare(ctx, spec, func(p environment.Progress) { progress(p.Step, p.Detail) })
	})
	if err != nil {
		return reconcile.Python{}, err
	}
	return reconcile.Python{Dir: env.Dir, Bin: filepath.Dir(env.Python), Vars: env.Vars, Lock: env.Lock, Notices: append(notices, env.Notices...)}, nil
}

// spec gives what the environment, or else the model, says; with what the code
// imports.
func (b builder) spec(ctx context.Context, n reconcile.Needs) (spec environment.Spec, notices []string, err error) {
	if n.Environment != nil {
		spec, err = environment.SpecOf(n.Environment)
	} else {
		spec, notices, err = b.specOfModel(ctx, n.Model)
	}
	if err != nil {
		return spec, nil, err
	}
	spec.Lock = n.Lock
	if n.Code == "" { // the model is served as it is
		spec.Server, err = b.serverOf(ctx, n.Model)
		return spec, notices, err
	}
	spec.Imports, err = b.imports.find(ctx, n.Code, func() (environment.Folder, error) { return b.folder(ctx, n.Code) })
	return spec, notices, err
}

func (b builder) specOfModel(ctx context.Context, m *sluice.Model) (environment.Spec, []string, error) {
	if m == nil {
		return environment.Spec{}, nil, sluice.Errorf(sluice.CodeInvalid, "the deployment has neither an environment nor a model that brings one")
	}
	model, err := b.folder(ctx, m.Content.Tree)
	if err != nil {
		return environment.Spec{}, nil, err
	}
	spec, from, err := environment.SpecOfModel(model)
	if err != nil {
		return environment.Spec{}, nil, err
	}
	return spec, []string{fmt.Sprintf("the environment is the one that model %s:%s brings (%s)", m.Name, m.Version, from)}, nil
}

// serverOf gives what serves a model without a script, if it can be served so.
func (b builder) serverOf(ctx context.Context, m *sluice.Model) ([]string, error) {
	if m == nil {
		return nil, sluice.Errorf(sluice.CodeInvalid, "the deployment has neither a script nor a model that is served without one")
	}
	model, err := b.folder(ctx, m.Content.Tree)
	if err != nil {
		return nil, err
	}
	return environment.ServerOfModel(model)
}

// folder gives a tree's files to read.
func (b builder) folder(ctx context.Context, digest string) (environment.Folder, error) {
	tree, err := b.artifacts.GetTree(ctx, digest)
	if err != nil {
		return environment.Folder{}, fmt.Errorf("reading the tree %s: %w", digest, err)
	}
	blobs := map[string]string{}
	var f environment.Folder
	for _, file := range tree.Files {
		f.Paths = append(f.Paths, file.Path)
		blobs[file.Path] = file.Digest
	}
	f.Read = func(path string, most int64) ([]byte, error) {
		digest, ok := blobs[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		in, err := b.artifacts.OpenBlob(ctx, digest)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		text, err := io.ReadAll(io.LimitReader(in, most+1))
		if err == nil && int64(len(text)) > most {
			err = fmt.Errorf("%s is over %d bytes", path, most)
		}
		return text, err
	}
	return f, nil
}

// imports remembers what code was found to import: the same tree is deployed
// again and again.
type imports struct {
	mu sync.Mutex // guards of
	of map[string][]string
}

// mostImports bounds how many trees are remembered.
const mostImports = 1000

func (i *imports) find(ctx context.Context, digest string, folder func() (environment.Folder, error)) ([]string, error) {
	i.mu.Lock()
	known, ok := i.of[digest]
	i.mu.Unlock()
	if ok {
		return known, nil
	}
	code, err := folder()
	if err != nil {
		return nil, err
	}
	found := environment.Imports(code)
	if ctx.Err() != nil { // not all of it was read
		return nil, context.Cause(ctx)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.of) >= mostImports {
		clear(i.of)
	}
	i.of[digest] = found
	return found, nil
}
