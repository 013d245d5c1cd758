package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// versions lists all versions of an asset, newest first.
func (s *server) versions(ctx context.Context, workspace string, kind sluice.Kind, name string) ([]sluice.Resource, error) {
	page, err := s.Store.List(ctx, sluice.Query{Workspace: workspace, Kind: kind, Name: name, Newest: true})
	return page.Items, err
}

func versionKey(r *request, kind sluice.Kind) sluice.Key {
	return sluice.Key{Workspace: r.scope.Workspace, Kind: kind, Name: r.vars["name"], Version: r.vars["version"]}
}

func (s *server) getVersion(k assetKind, w http.ResponseWriter, r *request) error {
	res, err := s.Store.Get(r.Context(), versionKey(r, k.kind))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, k.wire(r, res))
}

func (s *server) putVersion(k assetKind, w http.ResponseWriter, r *request) error {
	name, version := r.vars["name"], r.vars["version"]
	if err := sluice.CheckAsset(string(k.kind), name, version); err != nil {
		return err
	}
	want, err := k.read(s, r)
	if err != nil {
		return err
	}
	var out sluice.Resource
	var status int
	err = decide(func() error {
		status = http.StatusOK
		have, exists, err := find[sluice.Resource](r.Context(), s, versionKey(r, k.kind))
		if err != nil {
			return err
		}
		if exists {
			out = have
			return s.updateVersion(k, r, have, want)
		}
		out, status = want, http.StatusCreated
		return s.createVersion(k, r, want)
	})
	if err != nil {
		return err
	}
	return answer(w, status, k.wire(r, out))
}

// createVersion registers a version, and what all versions share with the
// first one. Hidden versions share nothing.
func (s *server) createVersion(k assetKind, r *request, v sluice.Resource) error {
	m := v.Header()
	m.UID, m.Workspace, m.Name, m.Version = newUID(), r.scope.Workspace, r.vars["name"], r.vars["version"]
	m.Change = 0
	put := []sluice.Resource{v}
	if hidden, _ := assetFlags(v); !*hidden {
		c, exists, err := find[*sluice.Container](r.Context(), s, containerKey(r, k.kind))
		if err != nil {
			return err
		}
		if exists {
			m.Name = c.Name
		} else {
			put = append(put, newContainer(k.kind, m))
		}
	}
	_, err := s.Store.Commit(r.Context(), sluice.Change{Actor: r.actor, Put: put})
	if sluice.ErrorCode(err) == sluice.CodeExists {
		// Somebody else registered it meanwhile: look again.
		return sluice.Errorf(sluice.CodeStale, "version %s was just registered by somebody else: %w", m.Version, err)
	}
	return err
}

func newContainer(kind sluice.Kind, m *sluice.Meta) *sluice.Container {
	return &sluice.Container{Of: sluice.ContainerKind(kind), Meta: sluice.Meta{UID: newUID(), Workspace: m.Workspace, Name: m.Name}}
}

// updateVersion changes what may change about a version. The same again
// changes nothing and leaves no history.
func (s *server) updateVersion(k assetKind, r *request, have, want sluice.Resource) error {
	if err := k.immutable(have, want); err != nil {
		return err
	}
	before, err := json.Marshal(have)
	if err != nil {
		return err
	}
	m, w := have.Header(), want.Header()
	m.Description, m.Tags, m.Properties = w.Description, maps.Clone(w.Tags), maps.Clone(w.Properties)
	hidden, archived := assetFlags(have)
	wantHidden, wantArchived := assetFlags(want)
	*archived = *wantArchived
	put := []sluice.Resource{have}
	if *hidden && !*wantHidden {
		*hidden = false
		if _, exists, err := find[*sluice.Container](r.Context(), s, containerKey(r, k.kind)); err != nil {
			return err
		} else if !exists {
			put = append(put, newContainer(k.kind, m))
		}
	}
	k.accept(have, want)
	after, err := json.Marshal(have)
	if err != nil || string(before) == string(after) {
		return err
	}
	_, err = s.Store.Commit(r.Context(), sluice.Change{Actor: r.actor, Put: put})
	return err
}

func (s *server) deleteVersion(k assetKind, w http.ResponseWriter, r *request) error {
	found := true
	err := decide(func() error {
		v, ok, err := find[sluice.Resource](r.Context(), s, versionKey(r, k.kind))
		if found = ok; err != nil || !ok {
			return err
		}
		return s.removeVersions(k, r, []sluice.Resource{v})
	})
	return answerDelete(w, found, err)
}

func answerDelete(w http.ResponseWriter, found bool, err error) error {
	switch {
	case err != nil:
		return err
	case found:
		w.WriteHeader(http.StatusOK)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// removeVersions deletes versions that no deployment needs, and the container
// with the last of them.
func (s *server) removeVersions(k assetKind, r *request, gone []sluice.Resource) error {
	for _, v := range gone {
		if err := s.checkUnused(r, k.kind, v.Header()); err != nil {
			return err
		}
	}
	change := sluice.Change{Actor: r.actor, Delete: gone}
	all, err := s.versions(r.Context(), r.scope.Workspace, k.kind, r.vars["name"])
	if err != nil {
		return err
	}
	if len(all) == len(gone) {
		c, ok, err := find[*sluice.Container](r.Context(), s, containerKey(r, k.kind))
		if err != nil {
			return err
		}
		if ok {
			change.Delete = append(change.Delete, c)
		}
	}
	if len(change.Delete) == 0 {
		return nil
	}
	_, err = s.Store.Commit(r.Context(), change)
	return err
}

// checkUnused refuses to take away what a deployment would need to start
// another instance: the revision that is wanted and the one that serves.
func (s *server) checkUnused(r *request, kind sluice.Kind, m *sluice.Meta) error {
	deployments, err := listAll[*sluice.Deployment](r.Context(), s, sluice.Query{Workspace: r.scope.Workspace, Kind: sluice.KindDeployment})
	if err != nil {
		return err
	}
	for _, d := range deployments {
		specs := []sluice.Spec{d.Spec}
		if d.Serving != "" && d.Serving != d.Revision {
			rev, ok, err := find[*sluice.Revision](r.Context(), s, sluice.Key{Workspace: d.Workspace,
				Kind: sluice.KindRevision, Name: d.Endpoint + "/" + d.Name, Version: d.Serving})
			if err != nil {
				return err
			}
			if ok {
				specs = append(specs, rev.Spec)
			}
		}
		for _, spec := range specs {
			if refersTo(&spec, kind, m) {
				return sluice.Errorf(sluice.CodeBusy, "%s %s:%s is used by deployment %s of endpoint %s", kind, m.Name, m.Version, d.Name, d.Endpoint).
					WithHint("delete that deployment first, or archive the %s instead", kind)
			}
		}
	}
	return nil
}

func refersTo(spec *sluice.Spec, kind sluice.Kind, m *sluice.Meta) bool {
	text := map[sluice.Kind]string{sluice.KindModel: spec.Model, sluice.KindEnvironment: spec.Environment}[kind]
	if kind == sluice.KindCode && spec.Code != nil {
		text = spec.Code.Code
	}
	ref, err := sluice.ParseRef(text)
	return err == nil && strings.EqualFold(ref.Name, m.Name) && strings.EqualFold(ref.Version, m.Version)
}

// listVersions lists the versions of an asset. Code is also found by the hash
// of its content, whatever its name: that is how clients avoid an upload.
func (s *server) listVersions(k assetKind, w http.ResponseWriter, r *request) error {
	view, err := listView(r)
	if err != nil {
		return err
	}
	q := sluice.Query{Workspace: r.scope.Workspace, Kind: k.kind, Name: r.vars["name"]}
	archivedWhole := false
	hash := r.param("hash")
	switch {
	case hash != "" && k.kind == sluice.KindCode:
		q.Name = ""
	default:
		c, _, err := s.container(k.kind, r)
		if err != nil {
			return err
		}
		archivedWhole = c.Archived
	}
	keep := func(res sluice.Resource) bool {
		m := res.Header()
		hidden, archived := assetFlags(res)
		if q.Name == "" {
			if !strings.EqualFold(m.Properties["hash_sha256"], hash) ||
				r.param("hashVersion") != "" && m.Properties["hash_version"] != r.param("hashVersion") {
				return false
			}
			here, err := s.hasContent(r.Context(), res)
			return here && err == nil // else it has to be uploaded again
		}
		return !*hidden && view.shows(*archived || archivedWhole) &&
			(r.param("version") == "" || strings.EqualFold(m.Version, r.param("version"))) &&
			matchesAll(r.param("tags"), m.Tags) && matchesAll(r.param("properties"), m.Properties)
	}
	list, err := page(s, r, q, keep, func(res sluice.Resource) (any, error) { return k.wire(r, res), nil })
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, list)
}

func listView(r *request) (view, error) {
	text := r.param("listViewType")
	for _, v := range []arm.ListView{arm.ActiveOnly, arm.ArchivedOnly, arm.ListAll} {
		if strings.EqualFold(text, string(v)) {
			return view(v), nil
		}
	}
	if text == "" {
		return view(arm.ActiveOnly), nil
	}
	return "", sluice.Errorf(sluice.CodeInvalid, "listViewType is %.40q: it must be ActiveOnly, ArchivedOnly or All", text)
}

type view arm.ListView

func (v view) shows(archived bool) bool {
	switch arm.ListView(v) {
	case arm.ActiveOnly:
		return !archived
	case arm.ArchivedOnly:
		return archived
	}
	return true
}

// nextVersion gives one more than the highest version that is a number.
func nextVersion(versions []sluice.Resource) string {
	highest := 0
	for _, v := range versions {
		if n, err := strconv.Atoi(v.Header().Version); err == nil && n > highest && n < 1<<31 {
			highest = n
		}
	}
	return strconv.Itoa(highest + 1)
}
