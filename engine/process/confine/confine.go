// Package confine starts a command that sees, reaches and uses only what is its
// own. It is the last step between the shim and code that is not trusted.
//
// [Start] forks this program again as "confine". That process builds the world
// the command is to live in, gives up every right it does not need, and becomes
// the command: the process ID stays. What a confined command has:
//
//   - with a [World] (as root on Linux): a mount namespace that holds the
//     system's own folders, its interpreter, its environment and its files, all
//     read-only, and one folder of its own that it may write, in memory and
//     bounded; IPC and host name of its own; no device but the harmless ones. It
//     runs as a user of its own, without capabilities.
//   - without (as any other user): the same folders by Landlock, as the user of
//     Sluice, and no Unix sockets at all, because Landlock does not tell whose
//     socket it is. What Landlock does not look at and users may do to all that
//     is theirs is refused: to change modes, owners, limits and priorities.
//
// In both cases: no new privileges, a system call filter, no core dumps, a
// bound on open files, and the control group it was given.
//
// The package is part of the runner and imports nothing heavy. On systems other
// than Linux nothing can be confined, and the engine says so.
package confine

import (
	"errors"

	"github.com/sluice-ml/sluice/engine/process/cgroup"
)

// Command is the argument with which [Main] is called.
const Command = "confine"

// ErrUnsupported says that this system cannot confine a command.
var ErrUnsupported = errors.New("commands can be confined on Linux only")

// Spec says what to start and within which bounds. It may hold secrets in Env:
// it travels through a pipe and is written nowhere.
type Spec struct {
	Command []string `json:"command"`
	Env     []string `json:"env"` // the whole environment, NAME=value
	Dir     string   `json:"dir"` // working directory, in the command's own world

	// Group is the control group to enter; nil for none.
	ControlGroup *cgroup.Group `json:"controlGroup,omitempty"`
	// World is the command's own file system; nil leaves it the machine's, held
	// to Reach.
	World *World `json:"world,omitempty"`
	// Reach is what Landlock leaves of the machine's file system; nil for no
	// such bound.
	Reach *Reach `json:"reach,omitempty"`
	// User and Group are whom the command runs as; 0 stays who we are.
	User  int `json:"user,omitempty"`
	Group int `json:"group,omitempty"`
	// SharedUser says that the command runs as the user of others whom it must
	// not harm: what a user may do to all that is its own is refused, and so are
	// Unix sockets, pairs of streams aside.
	SharedUser bool `json:"sharedUser,omitempty"`
	// Files bounds open files, and Processes what this user may run at once
	// (for where no control group does); 0 leaves them as they are. With a shared
	// user that counts the command's own only, in a user namespace made for it;
	// AllProcesses is the bound where none can be made, and everybody's count.
	Files        uint64 `json:"files,omitempty"`
	Processes    uint64 `json:"processes,omitempty"`
	AllProcesses uint64 `json:"allProcesses,omitempty"`
	// Nice is how far the command lets others go first, from 0 to 19.
	Nice int `json:"nice,omitempty"`
	// Interpreter is a program that the command will need to read; that it
	// cannot is said before the command is started. "" for none.
	Interpreter string `json:"interpreter,omitempty"`
	// Socket is set by Start where a socket is handed over.
	Socket bool `json:"socket,omitempty"`
}

// World is a file system of the command's own. All of it is read-only but the
// scratch folder.
type World struct {
	// At is an empty folder, over which the new root is built. Nobody outside
	// sees that.
	At string `json:"at"`
	// Hostname is the machine's name in there.
	Hostname string `json:"hostname"`
	// Visible are files and folders of the machine that appear at their own
	// paths; links on the way are kept as links.
	Visible []string `json:"visible,omitempty"`
	// Interpreters are programs whose installation appears at its own path:
	// beside the program, the folders bin, lib, lib64, share and ssl of its prefix.
	Interpreters []string `json:"interpreters,omitempty"`
	// Binds appear elsewhere, in this order.
	Binds []Bind `json:"binds,omitempty"`
	// Scratch is a folder of the machine that the command may write: it appears
	// as Run, its folder "tmp" as /tmp and its folder "shm" as /dev/shm.
	Scratch string `json:"scratch"`
	Run     string `json:"run"`
	// Devices are nodes of the machine beyond the harmless ones.
	Devices []string `json:"devices,omitempty"`
	// Network gives it a network of its own, with nothing in it but loopback.
	Network bool `json:"network,omitempty"`
}

// Bind is a file or folder of the machine that appears somewhere else.
type Bind struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Optional lets it be missing.
	Optional bool `json:"optional,omitempty"`
}

// Reach is the part of the machine's file system that a command may use.
type Reach struct {
	Read  []string `json:"read,omitempty"`  // files and folders it may read and execute
	Write []string `json:"write,omitempty"` // folders it may also change
	// Devices are nodes that it may use, beyond the harmless ones.
	Devices []string `json:"devices,omitempty"`
	// Interpreters are programs whose installation it may read, as in a World.
	Interpreters []string `json:"interpreters,omitempty"`
}

// prefixFolders are the folders of a Python's installation that it needs.
var prefixFolders = []string{"bin", "lib", "lib64", "share", "ssl"}

// LandlockScopes is the version of Landlock that keeps a command from other
// processes' abstract sockets, and from sending them signals.
const LandlockScopes = 6

// Failure is why a command was not started.
type Failure struct {
	Message string `json:"message"`
	// Missing and Denied tell what stood in the way of the program itself.
	Missing bool `json:"missing,omitempty"`
	Denied  bool `json:"denied,omitempty"`
}

// Error implements error.
func (f *Failure) Error() string { return f.Message }
