//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-ml/sluice/engine/process/confine"
)

// The scripts in testdata/hostile attack the machine, Sluice and their
// neighbours, knowing all paths and processes. Each tells what it tried and
// what came of it. Whatever they do, a neighbour answers on, Sluice lives, its
// files are what they were, and nothing is left when they are deleted.

// user is one that no test of ours is beside.
const user = 0x6fff0001

// newUsersInstallation is of an ordinary user, with a Python that everybody may
// read.
func newUsersInstallation(t *testing.T) *installation {
	return newInstallationAs(t, user, func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		cmd.Dir = "/"
		cmd.Env = append(cmd.Env, "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "PYENV_ROOT=/nonexistent")
	})
}

func TestHostileScriptsWithLandlock(t *testing.T) {
	needRoot(t)
	h := newHostile(t, newUsersInstallation(t), "landlock")
	check := h.unharmed()
	h.suite()
	h.watched()
	h.endings()
	check()
}

// Root whose control groups are out of reach: the shim watches instead. That
// root's own files are closed to all others closes nothing to its instances.
func TestHostileScriptsWithoutControlGroups(t *testing.T) {
	needRoot(t)
	const hide = `umask 077 && mount -t tmpfs none /sys/fs/cgroup && exec "$0" "$@"`
	in := newInstallationAs(t, 0, func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"unshare", "-m", "sh", "-c", hide, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/usr/bin/unshare"
	})
	h := newHostile(t, in, "world")
	check := h.unharmed()
	h.step(t, "memory", func() { h.memory() })
	h.step(t, "disk", func() { h.disk() })
	h.step(t, "forks", func() { h.bombs() })
	check()
}

// neighbourService is a program of the machine that listens on an abstract
// socket, as desktops and buses do.
func neighbourService(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("sluice-test-%d", os.Getpid())
	l, err := net.Listen("unix", "@"+name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return name
}

func TestHostileScriptsInWorlds(t *testing.T) {
	needRoot(t)
	h := newHostile(t, newInstallation(t), "world")
	check := h.unharmed()
	h.suite()
	h.bounded()
	h.endings()
	check()
	h.step(t, "closed environment", func() { h.closed() })
}

// closed has an environment that the user of an instance cannot read: the cause
// names it and what to do.
func (h *hostile) closed() {
	envs, err := filepath.Glob(filepath.Join(h.home, "environments", "envs", "*"))
	if err != nil || len(envs) != 1 {
		h.t.Fatalf("there are environments %v, %v", envs, err)
	}
	if err := os.Chmod(envs[0], 0o700); err != nil {
		h.t.Fatal(err)
	}
	defer os.Chmod(envs[0], 0o755)
	out, err := h.deploy("enemy", "talk")
	for _, want := range []string{"cannot be read by the user of the instance", envs[0] + " has mode 0700", "chmod a+rX " + envs[0]} {
		if err == nil || !strings.Contains(out, want) {
			h.t.Errorf("an environment that cannot be read is told without %q: %v\n%s", want, err, out)
		}
	}
	h.gone("talk")
}

// suite is what every kind of isolation withstands.
func (h *hostile) suite() {
	t := h.t
	abstract := "EPERM"
	if !scoped() {
		abstract = "got 'connected'"
	}
	more := map[string]any{"abstract": []string{neighbourService(t)}, "abstract_outcome": abstract, "processes_bounded": true}
	for _, script := range []struct {
		name  string
		least int
	}{{"reads", 100}, {"writes", 120}, {"sockets", 50}, {"kernel", 90}, {"signals", 35}} {
		if script.name == "signals" && h.mode == "landlock" && !scoped() {
			continue // they would arrive
		}
		h.step(t, script.name, func() {
			h.mustDeploy(script.name)
			h.attack(script.name, more, script.least)
			h.scoreVictim()
			h.gone(script.name)
		})
	}
}

// scoped reports whether this kernel keeps signals and abstract sockets. Where
// it does not the engine says so, which a test of its own sees to.
func scoped() bool { return confine.LandlockABI() >= confine.LandlockScopes }

// step is a subtest with the installation's failures as its own.
func (h *hostile) step(t *testing.T, name string, f func()) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		outer := h.t
		h.t, h.installation.t = t, t
		defer func() { h.t, h.installation.t = outer, outer }()
		f()
	})
}

// bounded are attacks on what there is only so much of.
func (h *hostile) bounded() {
	t := h.t
	h.step(t, "forks", func() { h.forks() })
	h.step(t, "memory", func() { h.memory() })
	h.step(t, "disk", func() { h.disk() })
	h.step(t, "talk", func() { h.talk() })
}

// fork has a bomb go off that counts how far it comes.
func (h *hostile) fork(what string) {
	h.t.Helper()
	code, body := h.ask("forks", map[string]any{"bomb": what})
	var got struct {
		Started int
		Error   string
	}
	if err := json.Unmarshal(body, &got); code != http.StatusOK || err != nil {
		h.t.Fatalf("a bomb of %s: %d %s", what, code, body)
	}
	if got.Started < 100 || got.Started > 1024 || got.Error == "" {
		h.t.Errorf("a bomb of %s came to %+v, want some hundreds and an error", what, got)
	}
	h.scoreVictim()
}

func (h *hostile) forks() {
	h.mustDeploy("forks")
	h.fork("threads")
	h.fork("processes")
	h.gone("forks")
	h.mustDeploy("forks")
	if code, body := h.ask("forks", map[string]any{"bomb": "let go"}); code != http.StatusOK {
		h.t.Errorf("a bomb that is let go: %d %s", code, body)
	}
	for range 2 {
		h.scoreVictim()
	}
	h.gone("forks")
}

// watched are attacks on what the shim has to bound.
func (h *hostile) watched() {
	t := h.t
	h.step(t, "forks", func() { h.bombs() })
	h.step(t, "memory", func() { h.memory() })
	h.step(t, "talk", func() { h.talk() })
}

// bombs go off where only the shim sees to it that they end. One that stops by
// itself may be over before it looks.
func (h *hostile) bombs() {
	for _, what := range []string{"threads", "processes", "let go"} {
		h.mustDeploy("forks")
		before := h.living("forks")
		code, body := h.ask("forks", map[string]any{"bomb": what})
		stopped := code == http.StatusOK && bytes.Contains(body, []byte(`"error": "`)) && !bytes.Contains(body, []byte(`"error": ""`))
		if what != "threads" || !stopped {
			h.until("an instance with a bomb of "+what+" is ended", func() bool {
				return !slices.ContainsFunc(h.instances("forks", true), func(i instance) bool { return i.ID == before.ID })
			})
		}
		h.scoreVictim()
		h.gone("forks")
	}
}

func (h *hostile) memory() {
	for _, stage := range []string{"import", "init"} {
		out, err := h.deploy("enemy", "memory", "TAKE="+stage)
		if err == nil {
			h.t.Fatalf("a script that takes all memory in its %s is deployed", stage)
		}
		for _, want := range []string{"memory", stage, "3584 MiB", "instance_type"} {
			if !strings.Contains(out, want) {
				h.t.Errorf("memory that ran out in %s is told without %q:\n%s", stage, want, out)
			}
		}
		code := h.sluice("online-deployment", "show", "-e", "enemy", "-n", "memory", "--query", "cause.code", "-o", "tsv")
		if strings.TrimSpace(code) != "OutOfMemory" {
			h.t.Errorf("the cause of memory that ran out in %s is %s", stage, code)
		}
		h.scoreVictim()
		h.gone("memory")
	}
	h.mustDeploy("memory")
	if code, body := h.ask("memory", `"take"`); code == http.StatusOK {
		h.t.Errorf("a request that takes all memory is answered %d %s", code, body)
	}
	h.scoreVictim()
	h.until("the script serves again", func() bool {
		code, body := h.ask("memory", `"x"`)
		return code == http.StatusOK && string(body) == `"spared"`
	})
	h.saysMemory("memory")
	h.gone("memory")
}

// saysMemory checks that a log says that memory ran out: that of the instance
// whose worker was replaced, or that of the instance that was.
func (h *hostile) saysMemory(deployment string) {
	h.t.Helper()
	said := ""
	for _, i := range slices.Concat(h.instances(deployment, true), h.instances(deployment, false)) {
		logs, err := filepath.Glob(filepath.Join(i.Dir, "log", "*.log"))
		if err != nil {
			h.t.Fatal(err)
		}
		for _, log := range logs {
			text, err := os.ReadFile(log)
			if err != nil {
				h.t.Fatal(err)
			}
			said += string(text)
		}
	}
	if !strings.Contains(said, "memory ran out while it was serving: the limit is 3584 MiB") && !strings.Contains(said, "MiB of memory and may have 3584: it was ended") {
		h.t.Errorf("no log says that memory ran out:\n%s", said)
	}
}

func (h *hostile) disk() {
	const limit = 3584 << 20 // of a Standard_DS1_v2
	h.mustDeploy("disk")
	taken, shm := h.taken(), used(h.t, "/dev/shm")
	code, body := h.ask("disk", map[string]any{"most": 2 * limit, "most_files": 300_000})
	var told map[string]struct {
		Written int64
		Error   string
	}
	if err := json.Unmarshal(body, &told); code != http.StatusOK || err != nil {
		h.t.Fatalf("filling the disk: %d %s", code, body)
	}
	var sum int64
	for where, got := range told {
		if got.Error != "ENOSPC" {
			h.t.Errorf("filling %s came to %+v, want no space to be left", where, got)
		}
		if where != "files" {
			sum += got.Written
		}
	}
	if sum < limit/4 || sum > limit/2 {
		h.t.Errorf("%d MiB were written, want about half of the memory", sum>>20)
	}
	if now := h.taken(); now > taken+sum/2 {
		h.t.Errorf("%d MiB of the machine's disk are gone", (now-taken)>>20)
	}
	if now := used(h.t, "/dev/shm"); now > shm+sum/2 {
		h.t.Errorf("%d MiB of the machine's /dev/shm are gone", (now-shm)>>20)
	}
	h.scoreVictim()
	h.gone("disk")
}

func used(t *testing.T, path string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Blocks-s.Bfree) * s.Bsize
}

func (h *hostile) talk() {
	h.mustDeploy("talk")
	own := h.living("talk")
	code, body := h.ask("talk", map[string]any{"seconds": 3})
	written, err := strconv.ParseInt(strings.TrimSpace(string(body)), 10, 64)
	if code != http.StatusOK || err != nil || written < 20<<20 {
		h.t.Errorf("talking without end: %d %s", code, body)
	}
	var kept int64
	err = filepath.WalkDir(own.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().IsRegular() && strings.HasSuffix(d.Name(), ".log") {
			kept += info.Size()
		}
		return nil
	})
	if err != nil || kept > 60<<20 || kept == 0 {
		h.t.Errorf("%d MiB of log are kept of %d MiB written (%v)", kept>>20, written>>20, err)
	}
	h.scoreVictim()
	h.gone("talk")
}

// endings are attacks on the end of an instance.
func (h *hostile) endings() {
	t := h.t
	h.step(t, "daemon", func() {
		h.mustDeploy("daemon")
		own := h.living("daemon")
		if code, body := h.ask("daemon", `"`+own.ID+`-daemon"`); code != http.StatusOK {
			h.t.Fatalf("leaving daemons behind: %d %s", code, body)
		}
		h.until("the daemons run", func() bool { return len(h.named(own.ID+"-daemon")) == 3 })
		h.gone("daemon")
		if left := h.named(own.ID + "-daemon"); len(left) > 0 {
			h.t.Errorf("daemons %v are left", left)
		}
	})
	h.step(t, "everybody it may", func() {
		if h.mode == "landlock" && !scoped() {
			return
		}
		h.mustDeploy("signals")
		before := h.living("signals")
		facts := h.facts("signals")
		facts["all"] = true
		if code, body := h.ask("signals", facts); code == http.StatusOK {
			h.t.Errorf("one that has killed all it may answers %s", body)
		}
		// With a user of its own that was itself; else it was refused.
		h.until("it is replaced", func() bool {
			all := h.instances("signals", true)
			return len(all) == 1 && (all[0].ID != before.ID || h.mode == "landlock")
		})
		h.scoreVictim()
		h.gone("signals")
	})
	aim := filepath.Join(h.home, "admin.json")
	for _, trick := range []string{"link", "pipe", "folder", "gigabytes", "forged", "closed"} {
		h.step(t, "last words, "+trick, func() {
			out, err := h.deploy("enemy", "lastwords", "TRICK="+trick, "AIM="+aim)
			if err == nil || !strings.Contains(out, "these are its last words") {
				h.t.Errorf("a script that failed with %s in the place of its last words: %v\n%s", trick, err, out)
			}
			if strings.Contains(out, "\x1b") {
				h.t.Errorf("control characters reach the terminal: %q", out)
			}
			h.gone("lastwords")
		})
	}
}

// named are the processes with a word on their command line.
func (h *hostile) named(word string) []string {
	h.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		h.t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err != nil || !bytes.Contains(text, []byte(word))
	})
}
