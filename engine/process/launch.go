package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/cgroup"
	"github.com/sluice-ml/sluice/engine/process/shim"
)

const basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// launch starts a copy in the background: its files first, then its shim.
func (e *Engine) launch(id string) {
	ctx, cancel := context.WithCancel(e.ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.launching[id] != nil {
		cancel()
		return
	}
	e.starts.Add(1)
	spawned := e.spawn(func() {
		defer e.starts.Done()
		err := e.start(ctx, id)
		stopped := ctx.Err() != nil
		cancel()
		if err != nil && !stopped {
			e.failStart(id, err)
		}
		e.mu.Lock()
		delete(e.launching, id)
		e.mu.Unlock()
		e.loop.Wake()
	})
	if !spawned {
		e.starts.Done()
		cancel()
		return
	}
	e.launching[id] = cancel
}

func (e *Engine) inLaunch() map[string]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	busy := make(map[string]bool, len(e.launching))
	for id := range e.launching {
		busy[id] = true
	}
	return busy
}

// stopLaunch gives up starting a copy, if that is still going on.
func (e *Engine) stopLaunch(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if cancel := e.launching[id]; cancel != nil {
		cancel()
	}
}

// startError is why a copy could not be started, with the reason to list.
type startError struct {
	reason engine.Reason
	error
}

func (e startError) Unwrap() error { return e.error }

func (e *Engine) failStart(id string, err error) {
	end := ending{At: e.now(), Phase: engine.Failed, Reason: engine.Exited, Message: "It could not be started: " + err.Error() + "."}
	var why startError
	if errors.As(err, &why) {
		end.Reason = why.reason
	}
	if disk.IsFull(err) {
		end.Reason = engine.DiskFull
		end.Message = "It could not be started: " + disk.Sentence("what it needs", e.instanceDir(id)) + " (" + err.Error() + ")."
	}
	if disk.HasFailed(err) {
		end.Message = "It could not be started: " + disk.Refusal("what it needs", e.instanceDir(id), err) + " (" + err.Error() + ")."
	}
	if err := e.update(id, func(r *record) { r.End = &end }); err != nil {
		e.log.Error("recording that an instance could not be started", "instance", id, "because", end.Message, "error", err)
		e.pause(lookEvery) // it will be started again: not without pause
	}
}

// start prepares a copy and starts its shim, and returns once the shim has
// started the command. It may be done again after it was cut off anywhere.
func (e *Engine) start(ctx context.Context, id string) error {
	dir := e.instanceDir(id)
	var r record
	var t engine.Template
	if err := errors.Join(readJSON(filepath.Join(dir, copyFile), &r), readJSON(filepath.Join(dir, templateFile), &t)); err != nil {
		return err
	}
	if err := e.makeFolders(r, dir); err != nil {
		return err
	}
	if err := e.placeFiles(ctx, dir, t.Files, r.fill(dir)); err != nil {
		return startError{engine.FilesMissing, err}
	}
	spec, err := e.spec(r, t, dir)
	if err != nil {
		return err
	}
	if err := shim.WriteJSON(filepath.Join(dir, shim.SpecFile), spec); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return e.startShim(ctx, r, dir)
}

// makeFolders makes what the shim and the command will need of folders.
func (e *Engine) makeFolders(r record, dir string) error {
	if err := e.makeRun(dir, r.Run); err != nil {
		return err
	}
	if !r.World {
		return os.Mkdir(filepath.Join(r.Run, ownDir), 0o700)
	}
	for _, name := range []string{worldDir, scratchDir} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// placeFiles makes the template's files, below ${root}, read-only.
func (e *Engine) placeFiles(ctx context.Context, dir string, files []engine.File, fill *strings.Replacer) error {
	root := filepath.Join(dir, rootDir)
	if err := removeTree(root); err != nil {
		return err
	}
	if err := os.Mkdir(root, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if e.config.Materialize == nil {
			return errors.New("this engine has no artifact store to take files from")
		}
		at, err := below(root, root, fill.Replace(f.Path))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := e.config.Materialize(ctx, f.Digest, at); err != nil {
			return fmt.Errorf("placing %s at %s: %w", f.Digest, f.Path, err)
		}
	}
	return makeReadOnly(root)
}

// spec is what the shim is told to run. On the way it makes the control group.
func (e *Engine) spec(r record, t engine.Template, dir string) (shim.Spec, error) {
	fill := e.keep.inside(r, dir)
	run := fill.Replace("${run}")
	path := basePath
	if t.EnvDir != "" {
		path = filepath.Join(t.EnvDir, "bin") + ":" + path
	}
	env := map[string]string{"PATH": path, "HOME": run, "TMPDIR": run, "LANG": "C.UTF-8"}
	for k, v := range t.Env {
		env[k] = fill.Replace(v)
	}
	maps.Copy(env, map[string]string{"SLUICE_TERMINATION_FILE": filepath.Join(run, termination), instanceVar: r.ID})
	maps.Copy(env, e.keep.gpuVars(r))
	s := shim.Spec{Instance: r.ID, Env: env, Dir: fill.Replace(t.Dir), Termination: filepath.Join(run, termination)}
	if s.Dir == "" {
		s.Dir = run
	}
	for _, arg := range t.Command {
		s.Command = append(s.Command, fill.Replace(arg))
	}
	limit := e.keep.memoryLimit(t.Resources)
	if r.World {
		s.Scratch = &shim.Scratch{Path: filepath.Join(dir, scratchDir), Size: limit / scratchShare, User: r.User, Group: r.User}
		s.Termination = filepath.Join(s.Scratch.Path, termination)
	}
	if err := e.bound(&s, limit, t.Resources.CPU); err != nil {
		return s, err
	}
	if group := memoryGroup(s.Group, r.World); group != "" {
		env[memoryGroupVar] = group
	}
	s.Confine = e.keep.confine(s, r, t, dir)
	if socket, ok := strings.CutPrefix(r.Address, "unix://"); ok && s.Confine != nil {
		s.Listen, s.Port = socket, t.Port
	}
	return s, nil
}

// bound has the memory and the threads of a command bounded, by its control
// group or else by its shim.
func (e *Engine) bound(s *shim.Spec, limit int64, cpu float64) error {
	if e.keep.groups == nil {
		s.Memory, s.Threads = limit, maxProcesses
		return nil
	}
	limits := cgroup.Limits{Memory: limit, CPU: cpu, PIDs: maxProcesses}
	g, err := e.keep.groups.Make(s.Instance, limits)
	if errors.Is(err, fs.ErrNotExist) { // another engine that was closed has taken the empty group along
		var again *cgroup.Root
		if again, err = cgroup.Open(groupName(e.dir), e.keep.memory); err == nil {
			g, err = again.Make(s.Instance, limits)
		}
	}
	if err != nil {
		return err
	}
	s.Group = &g
	// A control group need not have both.
	if !g.Bounds("memory.max") && !g.Bounds("memory.limit_in_bytes") {
		s.Memory = limit
	}
	if !g.Bounds("pids.max") {
		s.Threads = maxProcesses
	}
	return nil
}

// memoryGroupVar tells a command where it finds what its control group says of
// its memory: the files are the kernel's.
const memoryGroupVar = "SLUICE_MEMORY_GROUP"

func memoryGroup(g *cgroup.Group, world bool) string {
	if g == nil {
		return ""
	}
	for _, m := range g.Mounts() {
		if _, err := os.Stat(filepath.Join(m.Source, memoryFile(m.Target))); err != nil {
			continue
		}
		if world {
			return m.Target
		}
		return m.Source
	}
	return ""
}

// memoryFile is one that a control group with memory has, by its version.
func memoryFile(mountedAt string) string {
	if filepath.Base(mountedAt) == "memory" {
		return "memory.limit_in_bytes"
	}
	return "memory.max"
}

// termination is the file in ${run} for a command's last words.
const termination = "termination"

// instanceVar marks what an instance starts.
const instanceVar = "SLUICE_INSTANCE"

// startShim starts the shim in a session of its own and waits until it has
// started the command, or has ended. From then on its files tell everything.
func (e *Engine) startShim(ctx context.Context, r record, dir string) error {
	messages, err := os.OpenFile(filepath.Join(dir, "shim.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer messages.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	ready, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	argv := append(append([]string(nil), e.config.Shim...), dir)
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir:   dir,
		Env:   []string{"PATH=" + basePath, shim.ReadyVar + "=3"},
		Files: []*os.File{null, messages, messages, readyW},
		Sys:   shimAttributes(r.World),
	})
	readyW.Close()
	if err != nil {
		return fmt.Errorf("starting the shim: %w", err)
	}
	pid := p.Pid
	p.Release()
	// An engine that is closed here leaves the shim to start the command by
	// itself. A copy that is told to end here is told again below.
	closed := context.AfterFunc(e.ctx, func() { ready.Close() })
	io.Copy(io.Discard, ready)
	if !closed() {
		return e.ctx.Err()
	}
	return e.started(r.ID, dir, pid)
}

// started checks what became of a shim that said it was ready or ended.
func (e *Engine) started(id, dir string, pid int) error {
	holder, err := shim.Holder(dir)
	if err != nil {
		return err
	}
	state, err := shim.ReadState(dir)
	if err != nil {
		return err
	}
	if holder != pid {
		e.collect(pid)
	}
	var r record
	if err := readJSON(filepath.Join(dir, copyFile), &r); err != nil {
		return err
	}
	asked := !r.Told.IsZero()
	switch {
	case holder != 0 && asked:
		return e.signal(id, polite)
	case holder == 0 && state == nil && !asked:
		return fmt.Errorf("the shim ended at once: %s", firstLine(filepath.Join(dir, "shim.log")))
	}
	return nil
}

// firstLine gives the first words of a file, for a message.
func firstLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 500))
	if err != nil || len(text) == 0 {
		return "it left no message"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// makeReadOnly takes the right to write from a tree, its folders last, and lets
// everybody read it: an instance has a user of its own.
func makeReadOnly(root string) error {
	var folders []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			folders = append(folders, path)
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		mode := fs.FileMode(0o444) // whatever our own mask is
		if info.Mode()&0o111 != 0 {
			mode = 0o555
		}
		if info.Mode().Perm() == mode {
			return nil
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		return err
	}
	for _, path := range folders {
		if err := os.Chmod(path, 0o555); err != nil {
			return err
		}
	}
	return nil
}

// pause waits, at most until the engine is closed.
func (e *Engine) pause(d time.Duration) {
	select {
	case <-e.ctx.Done():
	case <-time.After(d):
	}
}
