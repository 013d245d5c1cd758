package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// The length of a key that a client brings, in bytes.
const (
	minKey = 16
	maxKey = 256
)

func keysKey(e *sluice.Endpoint) sluice.Key {
	return sluice.Key{Workspace: e.Workspace, Kind: sluice.KindKeys, Name: e.Name}
}

// checkKeys checks the keys that a client brings; "" means none.
func checkKeys(keys *arm.EndpointAuthKeys) error {
	if keys == nil {
		return nil
	}
	if err := checkKey("keys.primaryKey", keys.PrimaryKey); err != nil {
		return err
	}
	return checkKey("keys.secondaryKey", keys.SecondaryKey)
}

func checkKey(field, key string) error {
	if key == "" {
		return nil
	}
	bad := strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
	if len(key) < minKey || len(key) > maxKey || bad {
		return &sluice.Error{Code: sluice.CodeInvalid, Target: field,
			Message: fmt.Sprintf("%s must be %d to %d printable characters without spaces", field, minKey, maxKey)}
	}
	return nil
}

// setKey gives an endpoint a key, which is Primary or Secondary; "" makes one up.
func (s *server) setKey(e *sluice.Endpoint, row *sluice.Keys, which, key string) error {
	if key == "" {
		var err error
		if key, err = s.Keys.New(); err != nil {
			return fmt.Errorf("making a key: %w", err)
		}
	}
	sealed, err := s.Keys.Seal([]byte(key))
	if err != nil {
		return fmt.Errorf("sealing a key: %w", err)
	}
	if which == "Primary" {
		row.SealedPrimary, e.KeyDigests.Primary = sealed, s.Keys.Digest(key)
	} else {
		row.SealedSecondary, e.KeyDigests.Secondary = sealed, s.Keys.Digest(key)
	}
	return nil
}

// replaceKeys sets the keys that are not "" and gives the row to write.
func (s *server) replaceKeys(r *request, e *sluice.Endpoint, keys map[string]string) (*sluice.Keys, error) {
	row, err := get[*sluice.Keys](r.Context(), s, keysKey(e))
	if err != nil {
		return nil, err
	}
	for which, key := range keys {
		if key == "" {
			continue
		}
		if err := s.setKey(e, row, which, key); err != nil {
			return nil, err
		}
	}
	return row, nil
}

// openKeys reads an endpoint's keys.
func (s *server) openKeys(row *sluice.Keys) (arm.EndpointAuthKeys, error) {
	primary, err := s.Keys.Open(row.SealedPrimary)
	if err != nil {
		return arm.EndpointAuthKeys{}, fmt.Errorf("opening the primary key of endpoint %s: %w", row.Name, err)
	}
	secondary, err := s.Keys.Open(row.SealedSecondary)
	if err != nil {
		return arm.EndpointAuthKeys{}, fmt.Errorf("opening the secondary key of endpoint %s: %w", row.Name, err)
	}
	return arm.EndpointAuthKeys{PrimaryKey: string(primary), SecondaryKey: string(secondary)}, nil
}

func (s *server) listKeys(w http.ResponseWriter, r *request) error {
	e, err := s.endpoint(r)
	if err != nil {
		return err
	}
	row, err := get[*sluice.Keys](r.Context(), s, keysKey(e))
	if err != nil {
		return err
	}
	keys, err := s.openKeys(row)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, http.StatusOK, keys)
}

func (s *server) regenerateKeys(w http.ResponseWriter, r *request) error {
	var ask arm.RegenerateKeysRequest
	if err := r.decode(&ask); err != nil {
		return err
	}
	ask, err := ask.Canonical()
	if err != nil {
		return err
	}
	if err := checkKey("keyValue", ask.KeyValue); err != nil {
		return err
	}
	err = decide(func() error { return s.rotate(r, ask) })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// rotate replaces one key. The official Python client sends the current value
// along, so asking for the value there is means asking for another one.
func (s *server) rotate(r *request, ask arm.RegenerateKeysRequest) error {
	e, err := s.endpoint(r)
	if err != nil {
		return err
	}
	if err := s.checkIdle(r.Context(), "endpoint", &e.Meta, e.State, "sluice online-endpoint show -n "+e.Name); err != nil {
		return err
	}
	row, err := get[*sluice.Keys](r.Context(), s, keysKey(e))
	if err != nil {
		return err
	}
	current := e.KeyDigests.Primary
	if ask.KeyType == "Secondary" {
		current = e.KeyDigests.Secondary
	}
	value := ask.KeyValue
	if value != "" && s.Keys.Digest(value) == current {
		value = ""
	}
	if err := s.setKey(e, row, ask.KeyType, value); err != nil {
		return err
	}
	_, err = s.Store.Commit(r.Context(), sluice.Change{Actor: r.actor, Put: []sluice.Resource{e, row}})
	return err
}

func (s *server) getToken(_ http.ResponseWriter, r *request) error {
	e, err := s.endpoint(r)
	if err != nil {
		return err
	}
	return sluice.Errorf(sluice.CodeNotBuilt, "tokens are not built yet: endpoint %s has auth_mode %s", e.Name, e.AuthMode).
		WithHint("use its keys: `sluice online-endpoint get-credentials -n %s`", e.Name)
}
