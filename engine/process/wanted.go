package process

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/shim"
)

// wanted is what was asked for one workload, as it is kept. It holds the
// secrets of its template's environment: the file is its owner's alone.
type wanted struct {
	Workload engine.Workload `json:"workload"`
	Replicas int             `json:"replicas"`
	Removed  bool            `json:"removed,omitempty"`
}

func (e *Engine) engineDir() string      { return filepath.Join(e.dir, ".engine") }
func (e *Engine) workloadsDir() string   { return filepath.Join(e.engineDir(), "workloads") }
func (e *Engine) supervisorFile() string { return filepath.Join(e.engineDir(), "supervisor") }
func (e *Engine) epochFile() string      { return filepath.Join(e.engineDir(), "epoch") }

// workloadFile names the file of a workload by the hash of its ID, which may
// hold anything.
func (e *Engine) workloadFile(id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(e.workloadsDir(), hex.EncodeToString(sum[:16])+".json")
}

// check refuses what could never run.
func check(w engine.Workload, replicas int) error {
	t := w.Template
	switch {
	case w.ID == "":
		return errors.New("it has no ID")
	case replicas < 0:
		return fmt.Errorf("%d replicas", replicas)
	case t.Image != "":
		return errors.New("the process engine runs no images")
	case len(t.Command) == 0 || t.Command[0] == "":
		return errors.New("it has no command")
	case t.Restart != engine.RestartAlways && t.Restart != engine.RestartNever:
		return fmt.Errorf("restart policy %q is neither always nor never", t.Restart)
	case t.Port < 0 || t.Port > 65535:
		return fmt.Errorf("there is no port %d", t.Port)
	case t.DrainDelay < 0 || t.Grace < 0:
		return errors.New("its drain delay or grace is negative")
	}
	for _, arg := range append([]string{t.Dir}, t.Command...) {
		if strings.ContainsRune(arg, 0) {
			return errors.New("its command holds a zero byte")
		}
	}
	for k, v := range t.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) {
			return fmt.Errorf("environment variable %q cannot be set", k)
		}
	}
	for _, f := range t.Files {
		if _, err := below("root", "root", f.Path); err != nil {
			return err
		}
	}
	return nil
}

// below gives the place of a template's path in an instance: the path may
// begin with "${root}", replaced by expanded already, and must stay within.
func below(root, expanded, path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "${root}")
	if !ok {
		rest, _ = strings.CutPrefix(path, expanded+"/")
	}
	rest = filepath.Clean("/" + rest)[1:]
	if rest == "" || !filepath.IsLocal(rest) || strings.Contains("/"+path+"/", "/../") {
		return "", fmt.Errorf("files cannot be placed at %q: it is not below ${root}", path)
	}
	return filepath.Join(root, rest), nil
}

// accept runs change with the files to itself, if no newer caller was seen.
func (e *Engine) accept(epoch int64, change func() (bool, error)) (changed bool, err error) {
	l, err := waitLock(filepath.Join(e.engineDir(), "lock"))
	if err != nil {
		return false, err
	}
	defer l.unlock()
	var newest int64
	switch err := readJSON(e.epochFile(), &newest); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, fmt.Errorf("reading the epoch: %w", err)
	}
	if epoch < newest {
		return false, engine.ErrStale
	}
	if epoch > newest {
		if err := shim.WriteJSON(e.epochFile(), epoch); err != nil {
			return false, fmt.Errorf("recording the epoch: %w", err)
		}
	}
	return change()
}

// readWorkload gives nil where the workload is not known.
func (e *Engine) readWorkload(id string) (*wanted, error) {
	var w wanted
	err := readJSON(e.workloadFile(id), &w)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what is wanted: %w", err)
	}
	return &w, nil
}

func (e *Engine) writeWorkload(w wanted) error {
	if err := shim.WriteJSON(e.workloadFile(w.Workload.ID), w); err != nil {
		return fmt.Errorf("recording what is wanted: %w", err)
	}
	return nil
}

// dropWorkload forgets a workload, unless it has been wanted again meanwhile.
func (e *Engine) dropWorkload(id string) error {
	l, err := waitLock(filepath.Join(e.engineDir(), "lock"))
	if err != nil {
		return err
	}
	defer l.unlock()
	w, err := e.readWorkload(id)
	if err != nil || w == nil || !w.Removed {
		return err
	}
	return os.Remove(e.workloadFile(id))
}

// readWorkloads gives all that is wanted. One that cannot be read is an error
// and not a workload less: its copies would be taken for unwanted ones.
func (e *Engine) readWorkloads() (map[string]wanted, error) {
	entries, err := os.ReadDir(e.workloadsDir())
	if err != nil {
		return nil, err
	}
	all := make(map[string]wanted, len(entries))
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") { // a write that was cut off
			continue
		}
		var w wanted
		err := readJSON(filepath.Join(e.workloadsDir(), entry.Name()), &w)
		if errors.Is(err, fs.ErrNotExist) { // dropped since
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading what is wanted from %s: %w", entry.Name(), err)
		}
		all[w.Workload.ID] = w
	}
	return all, nil
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// same reports whether two values are written alike, which makes an empty map
// and none the same.
func same[T any](a, b T) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
