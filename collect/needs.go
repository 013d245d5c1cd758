package collect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

// inventory is all that can need something on the disk, in every workspace.
type inventory struct {
	models      []*sluice.Model
	codes       []*sluice.CodeVersion
	deployments []*sluice.Deployment
	revisions   []*sluice.Revision
	held        []engine.Held
}

// needed is what must stay.
type needed struct {
	trees map[string]bool // by digest
	locks map[string]bool // environments, by the hash of their lock
}

// asset names a version as references do.
type asset struct {
	workspace     string
	kind          sluice.Kind
	name, version string
}

// needs decides what must stay. It is a pure function.
//
//   - what the engine holds: what runs, and what it may start again;
//   - the content of every registered version of a model or code. One that was
//     made for a single deployment, which no list shows, counts only while a
//     deployment refers to it: nobody could ever delete it;
//   - the environments of the revisions that can still run or serve. Those of
//     former revisions are only what once was.
func needs(all inventory) needed {
	out := needed{trees: map[string]bool{}, locks: map[string]bool{}}
	for _, h := range all.held {
		for _, tree := range h.Trees {
			out.trees[tree] = true
		}
		if h.EnvDir != "" {
			out.locks[filepath.Base(h.EnvDir)] = true
		}
	}
	current := map[string]bool{}
	used := map[asset]bool{}
	for _, d := range all.deployments {
		current[d.Revision], current[d.Serving] = true, true
		use(used, d.Workspace, d.Spec)
	}
	for _, r := range all.revisions {
		if !current[r.Version] {
			continue
		}
		use(used, r.Workspace, r.Spec)
		if r.Lock != "" {
			sum := sha256.Sum256([]byte(r.Lock))
			out.locks[hex.EncodeToString(sum[:])] = true
		}
	}
	keep := func(kind sluice.Kind, m sluice.Meta, hidden bool, c sluice.Content) {
		if c.Tree != "" && (!hidden || used[named(m.Workspace, kind, m.Name, m.Version)]) {
			out.trees[c.Tree] = true
		}
	}
	for _, m := range all.models {
		keep(sluice.KindModel, m.Meta, m.Hidden, m.Content)
	}
	for _, c := range all.codes {
		keep(sluice.KindCode, c.Meta, c.Hidden, c.Content)
	}
	return out
}

func use(used map[asset]bool, workspace string, s sluice.Spec) {
	refer := func(kind sluice.Kind, text string) {
		if ref, err := sluice.ParseRef(text); err == nil {
			used[named(workspace, kind, ref.Name, ref.Version)] = true
		}
	}
	refer(sluice.KindModel, s.Model)
	if s.Code != nil {
		refer(sluice.KindCode, s.Code.Code)
	}
}

func named(workspace string, kind sluice.Kind, name, version string) asset {
	return asset{strings.ToLower(workspace), kind, strings.ToLower(name), strings.ToLower(version)}
}

// Store keeps resources.
type Store interface {
	List(ctx context.Context, q sluice.Query) (sluice.Page, error)
}

// read reads the inventory. The deployments come before their revisions, and
// the engine after both: what moves on meanwhile is seen at least once.
func (c *Collector) read(ctx context.Context) (inventory, error) {
	all, err := stored(ctx, c.Store)
	if err != nil {
		return all, err
	}
	all.held, err = c.Engine.Holds(ctx)
	return all, err
}

// stored reads what a store has of it.
func stored(ctx context.Context, s Store) (all inventory, err error) {
	if all.deployments, err = list[*sluice.Deployment](ctx, s, sluice.KindDeployment); err != nil {
		return all, err
	}
	if all.revisions, err = list[*sluice.Revision](ctx, s, sluice.KindRevision); err != nil {
		return all, err
	}
	if all.models, err = list[*sluice.Model](ctx, s, sluice.KindModel); err != nil {
		return all, err
	}
	all.codes, err = list[*sluice.CodeVersion](ctx, s, sluice.KindCode)
	return all, err
}

func list[T sluice.Resource](ctx context.Context, s Store, kind sluice.Kind) ([]T, error) {
	var out []T
	q := sluice.Query{Kind: kind, Limit: 1000}
	for {
		page, err := s.List(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("listing each %s: %w", kind, err)
		}
		for _, r := range page.Items {
			t, ok := r.(T)
			if !ok {
				return nil, fmt.Errorf("listing each %s: the store gave a %T", kind, r)
			}
			out = append(out, t)
		}
		if page.Next == "" {
			return out, nil
		}
		q.After = page.Next
	}
}
