package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

const (
	maxKept   = 8 << 20                // bytes of one endpoint's routes on disk
	keepAfter = 100 * time.Millisecond // changes are gathered for this long before they are written
	keepAgain = time.Second            // what could not be written is tried again after this
)

// shelf is the gateway's own copy of its routes: one file an endpoint, written
// whole or not at all, readable by its owner only. A nil shelf keeps nothing.
type shelf struct {
	dir  string
	log  *slog.Logger
	wake chan struct{}

	flushing sync.Mutex // held by the one who writes; guards failing
	failing  bool       // something could not be written the last time

	mu    sync.Mutex             // guards dirty
	dirty map[key]*sluice.Routes // to write; nil to remove
}

// file names the file of an endpoint. '~' is in no name.
func (k key) file() (string, bool) {
	return k.workspace + "~" + k.endpoint + ".json", isWorkspace(k.workspace) && isEndpoint(k.endpoint)
}

func (s *shelf) keep(k key, r sluice.Routes) { s.note(k, &r) }
func (s *shelf) forget(k key)                { s.note(k, nil) }

func (s *shelf) note(k key, r *sluice.Routes) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dirty == nil {
		s.dirty = map[key]*sluice.Routes{}
	}
	s.dirty[k] = r
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes what changes until ctx is done, and the last of it after that.
// What cannot be written is tried again, by itself; traffic does not depend on
// it.
func (s *shelf) run(ctx context.Context) {
	if s == nil {
		return
	}
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			s.flush()
			return
		case <-again:
		case <-s.wake:
			select {
			case <-ctx.Done():
			case <-time.After(keepAfter):
			}
		}
		again = nil
		if !s.flush() {
			again = time.After(keepAgain)
		}
	}
}

// flush writes what is dirty, and reports whether all of it was written. It
// tells the log once that something is not, and not each time.
func (s *shelf) flush() bool {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = nil
	s.mu.Unlock()
	failing := false
	for k, r := range dirty {
		err := s.write(k, r)
		if err == nil {
			continue
		}
		if !s.failing && !failing {
			s.log.Error("keeping a copy of the routes", "endpoint", k.endpoint, "workspace", k.workspace, "error", err)
		}
		failing = true
		s.putBack(k, r)
	}
	if s.failing && !failing {
		s.log.Info("the copy of the routes is kept again")
	}
	s.failing = failing
	return !failing
}

// putBack makes what could not be written dirty again, unless something newer
// came meanwhile.
func (s *shelf) putBack(k key, r *sluice.Routes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, newer := s.dirty[k]; newer {
		return
	}
	if s.dirty == nil {
		s.dirty = map[key]*sluice.Routes{}
	}
	s.dirty[k] = r
}

func (s *shelf) write(k key, r *sluice.Routes) (err error) {
	defer func() {
		err = disk.Explain("the routes of endpoint "+k.endpoint, s.dir, err)
	}()
	name, ok := k.file()
	if !ok {
		return nil // a name that no request can reach
	}
	path := filepath.Join(s.dir, name)
	if r == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, ".routes-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// load reads the copy. A file that is damaged is passed over and named in the
// log: the server sends everything again as soon as it can be reached.
func (s *shelf) load() ([]sluice.Routes, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, disk.Explain("the folder of the routes", s.dir, err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var all []sluice.Routes
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		if strings.HasPrefix(entry.Name(), ".routes-") {
			os.Remove(path) // left by a gateway that was killed while writing
			continue
		}
		if !entry.Type().IsRegular() || filepath.Ext(path) != ".json" {
			continue
		}
		r, err := readRoutes(path)
		if err == nil {
			if name, ok := keyOf(r.Workspace, r.Endpoint).file(); !ok || name != entry.Name() {
				err = errors.New("it is not about the endpoint it is named for")
			}
		}
		if err != nil {
			s.log.Error("passing over a copy of routes", "file", path, "error", err)
			continue
		}
		all = append(all, r)
	}
	return all, nil
}

func readRoutes(path string) (sluice.Routes, error) {
	var r sluice.Routes
	f, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKept+1))
	if err != nil {
		return r, err
	}
	if len(text) > maxKept {
		return r, fmt.Errorf("it is longer than %d bytes", maxKept)
	}
	return r, json.Unmarshal(text, &r)
}
