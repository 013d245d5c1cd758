package killpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// shadow is a copy of what is below the root as a machine finds it that has lost
// its power: what was written and not synced is not in it. Names are, at once.
// A sync that fails loses what it was to make last, as on Linux, where the pages
// count as clean afterwards.
type shadow struct {
	dir     string
	pending map[string][]change // by path below the root; used by the watchers, under mu
}

// change is a write, or where a file is to end.
type change struct {
	at   int64
	data []byte
	ends bool
}

// Shadow begins a shadow of the root in a folder, which is made anew. It is for
// programs that write at offsets, as databases do.
func (r *Rig) Shadow(dir string) {
	r.t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shadow = &shadow{dir: dir, pending: map[string][]change{}}
}

// shadowed does in the shadow what a call is about to do.
func (r *Rig) shadowed(n notification, c Call, s subject) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	sh := r.shadow
	if sh == nil {
		return nil
	}
	path := s.paths[0]
	there := filepath.Join(sh.dir, path)
	var err error
	switch c.Name {
	case "mkdir":
		err = os.MkdirAll(there, 0o700)
	case "create":
		err = errors.Join(os.MkdirAll(filepath.Dir(there), 0o700), os.WriteFile(there, nil, 0o600))
	case "unlink":
		delete(sh.pending, path)
		if err = os.Remove(there); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	case "pwrite":
		data := memory(n.PID, n.Args[1], int(n.Args[2]))
		if len(data) != int(n.Args[2]) {
			err = fmt.Errorf("%d of %d bytes can be read", len(data), n.Args[2])
		}
		sh.pending[path] = append(sh.pending[path], change{at: int64(n.Args[3]), data: data})
	case "truncate":
		sh.pending[path] = append(sh.pending[path], change{at: int64(n.Args[1]), ends: true})
	case "fsync":
		err = sh.sync(path)
	default:
		err = errors.New("a shadow does not know it")
	}
	if err != nil {
		return fmt.Errorf("shadowing %s: %w", c, err)
	}
	return nil
}

func (sh *shadow) sync(path string) error {
	changes := sh.pending[path]
	delete(sh.pending, path)
	if len(changes) == 0 {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(sh.dir, path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.ends {
			err = errors.Join(err, f.Truncate(c.at))
			continue
		}
		_, errWrite := f.WriteAt(c.data, c.at)
		err = errors.Join(err, errWrite)
	}
	return errors.Join(err, f.Close())
}

// lost forgets what a sync that fails was to make last.
func (r *Rig) lost(c Call, s subject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shadow != nil && c.Name == "fsync" {
		delete(r.shadow.pending, s.paths[0])
	}
}
