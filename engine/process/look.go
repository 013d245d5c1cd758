package process

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice/engine/process/shim"
)

const (
	copyFile     = "copy.json"
	templateFile = "template.json"
	rootDir      = "root"
	runDir       = "run"
)

func (e *Engine) instanceDir(id string) string { return filepath.Join(e.dir, id) }

// look reads what there is, oldest first.
func (e *Engine) look() ([]seen, error) {
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return nil, err
	}
	var all []seen
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || !entry.IsDir() {
			continue
		}
		s, err := e.see(entry.Name())
		if errors.Is(err, fs.ErrNotExist) { // being made, or forgotten since
			continue
		}
		if damaged(err) {
			e.complain(entry.Name(), err)
			continue
		}
		if err != nil { // one copy less would be one started too many
			return nil, err
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b seen) int {
		return cmp.Or(a.record.Created.Compare(b.record.Created), cmp.Compare(a.record.ID, b.record.ID))
	})
	return all, nil
}

// damaged reports whether a file was read and makes no sense.
func damaged(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, io.ErrUnexpectedEOF)
}

// complain logs once that a copy cannot be known.
func (e *Engine) complain(id string, err error) {
	e.mu.Lock()
	known := e.damaged[id]
	e.damaged[id] = true
	e.mu.Unlock()
	if !known {
		e.log.Error("an instance's record is damaged, it is left alone", "directory", e.instanceDir(id), "error", err)
	}
}

// see looks at one copy. The order matters: a shim writes its last state before
// it lets go of its lock, so the state is read after asking for the lock.
func (e *Engine) see(id string) (seen, error) {
	e.mu.Lock()
	s, known := e.ended[id]
	e.mu.Unlock()
	if known {
		return s, nil
	}
	dir := e.instanceDir(id)
	if err := readJSON(filepath.Join(dir, copyFile), &s.record); err != nil {
		return s, err
	}
	var err error
	if s.holder, err = shim.Holder(dir); err != nil {
		return s, err
	}
	if s.state, err = shim.ReadState(dir); err != nil {
		return s, err
	}
	s.instance = judge(s.record, s.state, s.holder)
	s.instance.Node = e.node
	if s.record.Cleaned {
		e.mu.Lock()
		e.ended[id] = s
		e.mu.Unlock()
	}
	return s, nil
}

// update changes the record of a copy.
func (e *Engine) update(id string, change func(*record)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	path := filepath.Join(e.instanceDir(id), copyFile)
	var r record
	if err := readJSON(path, &r); err != nil {
		return err
	}
	change(&r)
	return shim.WriteJSON(path, r)
}
