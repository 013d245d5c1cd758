// Package shim is the small program between the process engine and one
// command: it outlives the engine, so that the engine can be killed and come
// back to the whole truth.
//
//	sluice-runner shim <instance directory>
//
// It reads spec.json there, starts the command in a process group of its own,
// confined as package confine knows how, copies what the command prints into
// rotated files below log/, and keeps state.json: who runs since when, and at
// the end how it ended. SIGTERM is passed on to the command. SIGUSR1, and the
// end of the command itself, kill everything the command started, whatever
// session or group it moved to.
//
// Where the engine may, it starts the shim as the first process of a process
// namespace: then nothing that the command starts can outlive the shim, however
// that ends, because the kernel sees to it. The shim itself keeps the machine's
// view of /proc, and writes process IDs down as the machine knows them.
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
	"github.com/sluice-ml/sluice/engine/process/cgroup"
	"github.com/sluice-ml/sluice/engine/process/confine"
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
	// Termination is the file in which the command may leave a last message,
	// as the shim sees it. The command can write it, so it is not trusted.
	Termination string `json:"termination"`
	// Listen is a Unix socket to listen on, which the command is handed as
	// systemd does; "" for none.
	Listen string `json:"listen,omitempty"`
	// Port is a TCP port on which the command listens in its own network; what
	// comes to Listen is carried there instead of handing the socket over.
	Port int `json:"port,omitempty"`
	// Confine says how the command is confined; nil for not at all. Its
	// command, environment and folder are those above.
	Confine *confine.Spec `json:"confine,omitempty"`
	// Scratch is memory to be mounted as a folder that the command may write.
	// It is there for the shim and the command only, and goes with them.
	Scratch *Scratch `json:"scratch,omitempty"`
	// Group is the control group of the command, whose kills for want of
	// memory are the command's.
	Group *cgroup.Group `json:"group,omitempty"`
	// Memory bounds what the command and its children hold, in bytes, where
	// there is no control group to do so; 0 for no bound.
	Memory int64 `json:"memory,omitempty"`
	// Threads bounds likewise how many threads they have, 0 for no bound.
	Threads int64 `json:"threads,omitempty"`
}

// Scratch is a file system in memory.
type Scratch struct {
	Path  string `json:"path"` // an empty folder
	Size  int64  `json:"size"` // bytes
	User  int    `json:"user"` // whose it is
	Group int    `json:"group"`
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
