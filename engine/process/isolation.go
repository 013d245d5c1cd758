package process

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/cgroup"
	"github.com/sluice-ml/sluice/engine/process/confine"
	"github.com/sluice-ml/sluice/engine/process/shim"
)

// Isolation is how instances are kept apart from the machine and each other.
type Isolation int

// The kinds of isolation, the best first.
const (
	// Best is the best that this process can have here.
	Best Isolation = iota
	// Worlds gives each instance a user, a file system, a process table and a
	// host name of its own. It takes root on Linux.
	Worlds
	// Landlock leaves instances the user of Sluice, and keeps them from all
	// files but theirs.
	Landlock
	// None is a process group.
	None
)

// keeping is what an engine found it can do to keep instances apart, and what
// bounds them.
type keeping struct {
	isolation Isolation
	groups    *cgroup.Root // nil where none can be made
	memory    int64        // what all instances may have together, in bytes
	gpus      []gpu        // what they can be given, one at a time
	weaker    []string     // what is not as good as it could be, a sentence each
}

// describe is the sentence that a user can judge by.
func (k keeping) describe() string {
	how := map[Isolation]string{
		Worlds:   "Each instance runs as a user of its own, in a file system and a process table of its own that hold its files, its environment and its interpreter and nothing else, without capabilities or new privileges, its system calls filtered.",
		Landlock: "Instances run as the user that runs Sluice; Landlock keeps them from all files but their own, their environment, their interpreter and the system's programs, and their system calls are filtered.",
		None:     "None beyond a process group: model code runs as the user that runs Sluice, with that user's files.",
	}[k.isolation]
	if k.groups != nil {
		return how + " Control groups bound the memory and the processes of each, and the memory of all together."
	}
	return how
}

// scratchShare is the part of an instance's memory that the files it writes
// may take: they are kept in memory, where one that fills its disk fills only
// what is its own.
const scratchShare = 2

// Bounds of one instance that no instance type names.
const (
	maxProcesses = 1024  // and threads
	maxFiles     = 65536 // open at once
)

// yielding is how nice an instance is where no control group weighs its share
// of the CPU: gateway, server and shims come first, however many it starts.
const yielding = 5

// innerRun is where an instance with a world finds ${run}.
const innerRun = "/run/sluice"

// Folders of an instance on the machine.
const (
	worldDir   = "world"   // over which its root is built
	scratchDir = "scratch" // over which its memory is mounted
	ownDir     = "own"     // in its run folder, where Landlock lets it write: its socket beside it must stay what it is
)

// memoryLimit gives what one instance may have: what its type says, and never
// more than all together. Nothing is reserved for it.
func (k keeping) memoryLimit(r engine.Resources) int64 {
	if r.Memory <= 0 {
		return k.memory
	}
	return min(r.Memory, k.memory)
}

// inside replaces what a template may name by what the instance itself sees.
func (k keeping) inside(r record, dir string) *strings.Replacer {
	switch {
	case r.World:
		return strings.NewReplacer("${instance}", r.ID, "${root}", "", "${run}", innerRun)
	case k.isolation == None:
		return r.fill(dir)
	}
	r.Run = filepath.Join(r.Run, ownDir)
	return r.fill(dir)
}

// confine says how an instance is confined, nil for not at all. It decides
// only; what it names is made by others.
func (k keeping) confine(s shim.Spec, r record, t engine.Template, dir string) *confine.Spec {
	if k.isolation == None {
		return nil
	}
	c := &confine.Spec{ControlGroup: s.Group, Files: maxFiles, Processes: maxProcesses}
	if s.Group == nil { // more than its shim lets pass, which must get to look
		c.Processes, c.Nice = maxProcesses+maxProcesses/16, yielding
	}
	if t.EnvDir != "" {
		c.Interpreter = filepath.Join(t.EnvDir, "bin", "python")
	}
	if r.World {
		c.User, c.Group = r.User, r.User
		c.World = k.world(s, r, t, dir)
		return c
	}
	// Others of the user count too. Who comes close is ended by its shim.
	c.AllProcesses = uint64(threadsOf(os.Geteuid()) + 2*maxProcesses)
	c.SharedUser = true
	c.Reach = &confine.Reach{Read: []string{filepath.Join(dir, rootDir)}, Write: []string{filepath.Join(r.Run, ownDir)}}
	if t.EnvDir != "" {
		c.Reach.Read = append(c.Reach.Read, t.EnvDir)
		c.Reach.Interpreters = []string{c.Interpreter}
	}
	if program := s.Command[0]; filepath.IsAbs(program) {
		c.Reach.Read = append(c.Reach.Read, program)
	}
	if s.Group != nil {
		for _, m := range s.Group.Mounts() {
			c.Reach.Read = append(c.Reach.Read, m.Source)
		}
	}
	if c.Reach.Devices = gpuNodes(k.gpus, r.GPUs, exists); c.Reach.Devices != nil {
		c.Reach.Read = append(c.Reach.Read, gpuFiles...)
	}
	return c
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// world is the file system of an instance's own.
func (k keeping) world(s shim.Spec, r record, t engine.Template, dir string) *confine.World {
	w := &confine.World{At: filepath.Join(dir, worldDir), Hostname: r.ID, Scratch: filepath.Join(dir, scratchDir), Run: innerRun,
		Network: t.Port != 0}
	if t.EnvDir != "" {
		w.Visible = append(w.Visible, t.EnvDir)
		w.Interpreters = []string{filepath.Join(t.EnvDir, "bin", "python")}
	}
	for _, path := range outermost(t.Files) {
		w.Binds = append(w.Binds, confine.Bind{From: filepath.Join(dir, rootDir, path), To: path})
	}
	if program := s.Command[0]; filepath.IsAbs(program) && !within(program, w.Binds) {
		w.Visible = append(w.Visible, program)
	}
	if w.Devices = gpuNodes(k.gpus, r.GPUs, exists); w.Devices != nil {
		w.Visible = append(w.Visible, gpuFiles...)
	}
	if s.Group != nil {
		for _, m := range s.Group.Mounts() {
			w.Binds = append(w.Binds, confine.Bind{From: m.Source, To: m.Target})
		}
	}
	return w
}

// outermost gives the places of the files that are below no other's, relative
// to ${root}: with one comes all below it.
func outermost(files []engine.File) []string {
	var places []string
	for _, f := range files {
		places = append(places, inRoot(f.Path))
	}
	var outer []string
	for i, p := range places {
		inner := false
		for j, other := range places {
			inner = inner || strings.HasPrefix(p, other+"/") || p == other && j < i
		}
		if !inner {
			outer = append(outer, p)
		}
	}
	return outer
}

// inRoot gives a template's path as one below ${root}, absolute in there.
func inRoot(path string) string {
	rest, _ := strings.CutPrefix(path, "${root}")
	return filepath.Clean("/" + rest)
}

func within(path string, binds []confine.Bind) bool {
	for _, b := range binds {
		if strings.HasPrefix(path, b.To+"/") {
			return true
		}
	}
	return false
}

// groupName names the control group over all instances of an engine.
func groupName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "sluice-" + hex.EncodeToString(sum[:6])
}

// Users of instances are taken from where no other software on Linux takes
// any: above what systemd gives to containers, below what some kernels' file
// systems take for a sign. Each owner has a range.
const (
	firstUser     = 0x70000000
	usersPerOwner = 256
	userRanges    = (0x7fffffff - firstUser) / usersPerOwner
)

// claim is what an instance has that no other may have meanwhile.
type claim struct {
	owner string
	user  int      // 0 for none
	gpus  []string // of a living instance
}

// pickUser gives a user that no instance has, from the range of its owner or,
// where the owner has none, from a range that nobody has; 0 when there is none
// left. Engines of different directories begin to look in different places, so
// that two on one machine rarely meet.
func pickUser(dir, owner string, taken []claim) int {
	start := firstRange(dir)
	mine, used, users := -1, map[int]bool{}, map[int]bool{}
	for _, c := range taken {
		if c.user == 0 {
			continue
		}
		n := (c.user - firstUser) / usersPerOwner
		used[n], users[c.user] = true, true
		if c.owner == owner {
			mine = n
		}
	}
	for i := 0; mine < 0 && i < userRanges; i++ {
		if n := (start + i) % userRanges; !used[n] {
			mine = n
		}
	}
	if mine < 0 {
		return 0
	}
	for i := range usersPerOwner {
		if user := firstUser + mine*usersPerOwner + i; !users[user] {
			return user
		}
	}
	return 0
}

func firstRange(dir string) int {
	sum := sha256.Sum256([]byte(dir))
	return int(binary.BigEndian.Uint32(sum[:4]) % userRanges)
}
