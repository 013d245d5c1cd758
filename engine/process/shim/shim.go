// Package shim is the small program between the process engine and one
// command: it outlives the engine, so that the engine can be killed and come
// back to the whole truth.
//
//	sluice-runner shim <instance directory>
//
// It reads spec.json there, starts the command in a process group of its own,
// copies what the command prints into rotated files below log/, and keeps
// state.json: who runs since when, and at the end how it ended. SIGTERM is
// passed on to the command. SIGUSR1, and the end of the command itself, kill
// everything the command started, whatever session or group it moved to.
//
// The shim holds a lock on shim.lock for as long as it lives. Whoever wants to
// know whether it does asks the kernel with [Holder], which a reused process ID
// cannot deceive.
//
// The file formats here are the contract between an engine and the shims that
// an older version of it started: fields are added, never changed.
package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ml/sluice/engine"
)

// The files of an instance directory that the shim knows.
const (
	SpecFile  = "spec.json"  // Spec, written by the engine, 0600
	StateFile = "state.json" // State, written by the shim
	LockFile  = "shim.lock"  // locked while the shim lives
	LogDir    = "log"        // 000001.log and so on, the newest last
)

// maxFile bounds what is read of a spec or a state, in bytes.
const maxFile = 16 << 20

// Spec is what the shim is to run. It holds the secrets of the command's
// environment; they are in no command line.
type Spec struct {
	Instance string            `json:"instance"`
	Command  []string          `json:"command"`
	Env      map[string]string `json:"env"` // the whole environment
	Dir      string            `json:"dir"` // working directory
	// Termination is the file in which the command may leave a last message.
	// The command can write it, so it is not trusted.
	Termination string `json:"termination"`
}

// Process is a process that cannot be mistaken for a later one of the same ID.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // when it started, in units of the kernel's own
}

// State is what became of the command.
type State struct {
	Boot    string       `json:"boot"` // which run of the machine this was
	Shim    Process      `json:"shim"`
	Command Process      `json:"command"`
	Started time.Time    `json:"started,omitzero"`
	Ended   time.Time    `json:"ended,omitzero"`
	Forced  bool         `json:"forced,omitempty"` // ended by SIGUSR1
	Exit    *engine.Exit `json:"exit,omitempty"`
	Error   string       `json:"error,omitempty"` // why the command could not be started
}

// ReadState reads the state of an instance; nil where there is none yet.
func ReadState(dir string) (*State, error) {
	var s State
	err := readJSON(filepath.Join(dir, StateFile), &s)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state of an instance: %w", err)
	}
	return &s, nil
}

func readSpec(dir string) (Spec, error) {
	var s Spec
	if err := readJSON(filepath.Join(dir, SpecFile), &s); err != nil {
		return s, fmt.Errorf("reading what to run: %w", err)
	}
	if len(s.Command) == 0 {
		return s, errors.New("reading what to run: there is no command")
	}
	return s, nil
}

func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewDecoder(io.LimitReader(f, maxFile)).Decode(v)
}

// WriteJSON replaces a file with v, for its owner only: a reader sees the old
// content or the new, never a part.
func WriteJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
