package api

import (
	"maps"
	"net/http"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

func containerKey(r *request, kind sluice.Kind) sluice.Key {
	return sluice.Key{Workspace: r.scope.Workspace, Kind: sluice.ContainerKind(kind), Name: r.vars["name"]}
}

// container gives what the versions of an asset share, and the versions,
// newest first. An asset that has only hidden versions has no row of its own
// and gets one made up.
func (s *server) container(kind sluice.Kind, r *request) (*sluice.Container, []sluice.Resource, error) {
	versions, err := s.versions(r.Context(), r.scope.Workspace, kind, r.vars["name"])
	if err != nil {
		return nil, nil, err
	}
	c, ok, err := find[*sluice.Container](r.Context(), s, containerKey(r, kind))
	switch {
	case err != nil:
		return nil, nil, err
	case ok:
		return c, versions, nil
	case len(versions) == 0:
		return nil, nil, sluice.Errorf(sluice.CodeNotFound, "there is no %s %s", kind, r.vars["name"])
	}
	oldest := versions[len(versions)-1].Header()
	c = newContainer(kind, oldest)
	c.Created, c.Modified = oldest.Created, oldest.Modified
	return c, versions, nil
}

func wireContainer(r *request, kind sluice.Kind, c *sluice.Container, versions []sluice.Resource) arm.Container {
	latest := ""
	for _, v := range versions {
		if hidden, archived := assetFlags(v); !*hidden && !*archived {
			latest = v.Header().Version
			break
		}
	}
	return arm.ContainerFrom(r.scope, kind, c, latest, nextVersion(versions))
}

func (s *server) listContainers(k assetKind, w http.ResponseWriter, r *request) error {
	view, err := listView(r)
	if err != nil {
		return err
	}
	list, err := page(s, r, sluice.Query{Workspace: r.scope.Workspace, Kind: sluice.ContainerKind(k.kind)},
		func(c *sluice.Container) bool { return view.shows(c.Archived) },
		func(c *sluice.Container) (arm.Container, error) {
			versions, err := s.versions(r.Context(), c.Workspace, k.kind, c.Name)
			return wireContainer(r, k.kind, c, versions), err
		})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, list)
}

func (s *server) getContainer(k assetKind, w http.ResponseWriter, r *request) error {
	c, versions, err := s.container(k.kind, r)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wireContainer(r, k.kind, c, versions))
}

func (s *server) putContainer(k assetKind, w http.ResponseWriter, r *request) error {
	if err := sluice.CheckAsset(string(k.kind), r.vars["name"], ""); err != nil {
		return err
	}
	var wire arm.Container
	if err := r.decode(&wire); err != nil {
		return err
	}
	var c *sluice.Container
	var status int
	err := decide(func() error {
		status = http.StatusOK
		var exists bool
		var err error
		if c, exists, err = find[*sluice.Container](r.Context(), s, containerKey(r, k.kind)); err != nil {
			return err
		}
		if !exists {
			status = http.StatusCreated
			c = newContainer(k.kind, &sluice.Meta{Workspace: r.scope.Workspace, Name: r.vars["name"]})
		}
		p := wire.Properties
		c.Description, c.Tags, c.Properties, c.Archived = p.Description, maps.Clone(p.Tags), maps.Clone(p.Properties), p.IsArchived
		_, err = s.Store.Commit(r.Context(), sluice.Change{Actor: r.actor, Put: []sluice.Resource{c}})
		if sluice.ErrorCode(err) == sluice.CodeExists {
			return sluice.Errorf(sluice.CodeStale, "%s %s was just created by somebody else: %w", k.kind, c.Name, err)
		}
		return err
	})
	if err != nil {
		return err
	}
	versions, err := s.versions(r.Context(), r.scope.Workspace, k.kind, c.Name)
	if err != nil {
		return err
	}
	return answer(w, status, wireContainer(r, k.kind, c, versions))
}

func (s *server) deleteContainer(k assetKind, w http.ResponseWriter, r *request) error {
	found := true
	err := decide(func() error {
		_, versions, err := s.container(k.kind, r)
		if sluice.ErrorCode(err) == sluice.CodeNotFound {
			found = false
			return nil
		}
		if err != nil {
			return err
		}
		return s.removeVersions(k, r, versions)
	})
	return answerDelete(w, found, err)
}
