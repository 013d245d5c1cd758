//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
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
	"time"
)

// The scripts in testdata/hostile attack the machine, Sluice and their
// neighbours, knowing all paths and processes. Each tells what it tried and
// what came of it. Whatever they do, a neighbour answers on, Sluice lives, its
// files are what they were, and nothing is left when they are deleted.

// hostile is an installation with a victim and a place for its enemies.
type hostile struct {
	*installation
	mode           string // "world" or "landlock", as the scripts know it
	uri, victimURI string
	key, victimKey string
}

// instance is what the engine's files say of one.
type instance struct {
	ID     string            `json:"id"`
	Dir    string            `json:"-"`
	Labels map[string]string `json:"labels"`
	Run    string            `json:"run"`
	User   int               `json:"user"`
	Shim   int               `json:"-"`
	PID    int               `json:"-"`
}

func newHostile(t *testing.T, in *installation, mode string) *hostile {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("isolation is tested as root, and CI is not")
		}
		t.Skip("isolation is tested as root")
	}
	h := &hostile{installation: in, mode: mode}
	in.sluice("up", "--detach")
	h.trust()
	dir := filepath.Join(in.home, "..", "scripts")
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS("testdata/hostile")); err != nil {
		t.Fatal(err)
	}
	in.write(filepath.Join(dir, "model", "weights.txt"), "weights")
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errorsJoin(err, os.Chmod(path, 0o755))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"victim", "enemy"} {
		in.sluice("online-endpoint", "create", "-n", name)
	}
	h.uri, h.key = h.reach("enemy")
	h.victimURI, h.victimKey = h.reach("victim")
	if out, err := h.deploy("victim", "victim", "VICTIM_SECRET=s3cr3t-of-the-victim"); err != nil {
		t.Fatalf("deploying the victim: %v\n%s", err, out)
	}
	in.sluice("online-endpoint", "update", "-n", "victim", "--traffic", "victim=100")
	return h
}

func errorsJoin(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (h *hostile) reach(endpoint string) (uri, key string) {
	h.t.Helper()
	uri = strings.TrimSpace(h.sluice("online-endpoint", "show", "-n", endpoint, "--query", "scoring_uri", "-o", "tsv"))
	key = strings.TrimSpace(h.sluice("online-endpoint", "get-credentials", "-n", endpoint, "--query", "primaryKey", "-o", "tsv"))
	return uri, key
}

// deploy deploys a script under its own name and gives what the command said.
func (h *hostile) deploy(endpoint, script string, variables ...string) (string, error) {
	return h.deployAs(endpoint, script, script, "Standard_DS1_v2", variables...)
}

func (h *hostile) deployAs(endpoint, name, script, size string, variables ...string) (string, error) {
	file := filepath.Join(h.home, "..", "scripts", name+".yml")
	text := `name: ` + name + `
endpoint_name: ` + endpoint + `
model: {path: ./model}
code_configuration: {code: ./src, scoring_script: ` + script + `.py}
environment:
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
  conda_file: {dependencies: [python]}
instance_type: ` + size + `
instance_count: 1
request_settings: {request_timeout_ms: 90000}
environment_variables:
  LD_PRELOAD: /tmp/not-there.so
  GODEBUG: inittrace=1
`
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		text += fmt.Sprintf("  %s: %q\n", name, value)
	}
	h.write(file, text)
	if err := os.Chmod(file, 0o644); err != nil {
		h.t.Fatal(err)
	}
	_, trouble, err := h.try("online-deployment", "create", "-f", file)
	return trouble, err
}

// instances are those of a deployment that live, or that ended.
func (h *hostile) instances(deployment string, living bool) []instance {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(h.home, "instances", "*", "copy.json"))
	if err != nil {
		h.t.Fatal(err)
	}
	var all []instance
	for _, file := range files {
		i := instance{Dir: filepath.Dir(file)}
		var state struct {
			Shim, Command struct{ PID int }
			Ended         time.Time
		}
		for name, v := range map[string]any{"copy.json": &i, "state.json": &state} {
			text, err := os.ReadFile(filepath.Join(i.Dir, name))
			if err == nil {
				err = json.Unmarshal(text, v)
			}
			if err != nil {
				continue // just coming, or going
			}
		}
		i.Shim, i.PID = state.Shim.PID, state.Command.PID
		if i.Labels["sluice/deployment"] == deployment && (i.PID != 0 && state.Ended.IsZero()) == living {
			all = append(all, i)
		}
	}
	return all
}

func (h *hostile) living(deployment string) instance {
	h.t.Helper()
	var found instance
	h.until("one instance of "+deployment+" lives", func() bool {
		all := h.instances(deployment, true)
		if len(all) == 1 {
			found = all[0]
		}
		return len(all) == 1
	})
	return found
}

func (h *hostile) worker(i instance) int {
	h.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", i.PID, i.PID))
	for _, task := range tasks(i.PID) {
		if len(bytes.TrimSpace(text)) == 0 {
			text, err = os.ReadFile(task + "/children")
		}
	}
	if err != nil {
		h.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(text) + " 0")[0])
	if err != nil || pid == 0 {
		h.t.Fatalf("process %d has no worker: %v", i.PID, err)
	}
	return pid
}

func tasks(pid int) []string {
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	return all
}

// facts is what an enemy knows, which is all there is to know.
func (h *hostile) facts(deployment string) map[string]any {
	h.t.Helper()
	s, victim, own := h.state(), h.living("victim"), h.living(deployment)
	ownShim := own.Shim
	if h.mode == "world" {
		ownShim = 1
	}
	return map[string]any{
		"mode": h.mode, "home": h.home, "runner": filepath.Join(h.programs, "sluice-runner"),
		"homes": []string{"/home/someone", filepath.Join(h.home, "..", "scripts")},
		"processes": map[string]int{"the server": s.PID, "the gateway": s.GatewayPID, "the parent": s.ParentPID,
			"a neighbour's shim": victim.Shim, "a neighbour's scoring server": victim.PID, "a neighbour's worker": h.worker(victim), "its own shim": ownShim},
		"victim": map[string]string{"dir": victim.Dir},
		"sockets": map[string]string{"the feed": filepath.Join(h.home, "run", "feed.sock"), "the server": filepath.Join(h.home, "run", "server.sock"),
			"the gateway": filepath.Join(h.home, "run", "gateway.sock"), "a neighbour": filepath.Join(victim.Run, "http.sock"),
			"itself": filepath.Join(own.Run, "http.sock")},
		"urls": map[string]string{"the API": s.APIAddress + "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/sluice/providers/Microsoft.MachineLearningServices/workspaces/default/onlineEndpoints?api-version=2023-10-01",
			"a neighbour's endpoint": h.victimURI, "the metrics of the gateway": s.GatewayAddress + "/metrics", "the metrics of the server": s.APIAddress + "/metrics"},
	}
}

// ask scores on a deployment of the enemy's endpoint.
func (h *hostile) ask(deployment string, facts any) (int, []byte) {
	h.t.Helper()
	text, err := json.Marshal(facts)
	if err != nil {
		h.t.Fatal(err)
	}
	if s, ok := facts.(string); ok {
		text = []byte(s)
	}
	req, err := http.NewRequest(http.MethodPost, h.uri, bytes.NewReader(text))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.key)
	req.Header.Set("azureml-model-deployment", deployment)
	resp, err := h.client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, body
}

// attack has a script try what it can and judges what came of it.
func (h *hostile) attack(deployment string, more map[string]any, least int) {
	h.t.Helper()
	facts := h.facts(deployment)
	for k, v := range more {
		facts[k] = v
	}
	code, body := h.ask(deployment, facts)
	var told []struct {
		Attempt, Outcome string
		Wanted           []string
	}
	if err := json.Unmarshal(body, &told); code != http.StatusOK || err != nil {
		h.t.Fatalf("%s answers %d %s (%v)\n%s", deployment, code, body, err, h.logs(deployment))
	}
	if len(told) < least {
		h.t.Errorf("%s tried %d things only, want %d", deployment, len(told), least)
	}
	// What a deployment sets in its environment has reached nobody but it.
	if text, err := os.ReadFile(filepath.Join(h.living(deployment).Dir, "shim.log")); err != nil || len(text) > 0 {
		h.t.Errorf("the shim of %s says %q (%v)", deployment, text, err)
	}
	for _, a := range told {
		if !slices.Contains(a.Wanted, a.Outcome) {
			h.t.Errorf("%s: %s: %s, want %v", deployment, a.Attempt, a.Outcome, a.Wanted)
		}
	}
}

func (h *hostile) logs(deployment string) string {
	out, _, _ := h.try("online-deployment", "get-logs", "-e", "enemy", "-n", deployment, "--lines", "40")
	return out
}

// unharmed checks on all that must not change, between before and the end of
// the test's enemies.
func (h *hostile) unharmed() (check func()) {
	h.t.Helper()
	before, victim, files, taken := h.state(), h.scoreVictim(), h.fingerprint(), h.taken()
	return func() {
		h.t.Helper()
		if after := h.scoreVictim(); after != victim {
			h.t.Errorf("the victim was %s and is %s", victim, after)
		}
		if after := h.state(); after != before {
			h.t.Errorf("Sluice's processes were %+v and are %+v", before, after)
		}
		for path, was := range files {
			if is := h.fingerprint()[path]; is != was {
				h.t.Errorf("%s was %s and is %s", path, was, is)
			}
		}
		const logs = 64 << 20 // of an instance, kept for an hour
		if now := h.taken(); now > taken+20*logs {
			h.t.Errorf("Sluice took %d MiB of the disk and takes %d", taken>>20, now>>20)
		}
	}
}

// scoreVictim is what the victim answers, which is the same as long as it
// lives.
func (h *hostile) scoreVictim() string {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodPost, h.victimURI, strings.NewReader("n"))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.victimKey)
	began := time.Now()
	resp, err := h.client.Do(req)
	if err != nil {
		h.t.Fatalf("the victim: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		h.t.Fatalf("the victim answers %s %s (%v)", resp.Status, body, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		h.t.Errorf("the victim took %s to answer", took)
	}
	return string(body)
}

// fingerprint is the content and mode of what nobody may change.
func (h *hostile) fingerprint() map[string]string {
	h.t.Helper()
	prints := map[string]string{}
	for _, name := range []string{"admin.json", "seal.key", "ca.pem", "ca-key.pem", "sluice.yml", "sluice.db", "run", "run/feed.sock", "environments/envs/*/pyvenv.cfg",
		"environments/envs/*/bin/python", "environments/envs/*", "artifacts/*", "../bin/*", "."} {
		paths, err := filepath.Glob(filepath.Join(h.home, name))
		if err != nil {
			h.t.Fatal(err)
		}
		for _, path := range paths {
			info, err := os.Stat(path)
			if err != nil {
				h.t.Fatal(err)
			}
			prints[path] = fmt.Sprint(info.Mode(), info.Sys().(*syscall.Stat_t).Uid)
			if text, err := os.ReadFile(path); err == nil && name != "sluice.db" {
				prints[path] += fmt.Sprintf(" %x", sha256.Sum256(text))
			}
		}
	}
	return prints
}

// taken is what the installation takes of the disk, in bytes.
func (h *hostile) taken() (sum int64) {
	h.t.Helper()
	filepath.WalkDir(filepath.Dir(h.home), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone while we look
		}
		if info, err := d.Info(); err == nil {
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return sum
}

// gone deletes a deployment of the enemy's and checks that nothing of it is
// left: no process of its users, of its environment or of its name, no group.
func (h *hostile) gone(deployment string) {
	h.t.Helper()
	users := map[int]bool{}
	var ids []string
	for _, i := range slices.Concat(h.instances(deployment, true), h.instances(deployment, false)) {
		users[i.User] = true
		ids = append(ids, i.ID)
	}
	h.sluice("online-deployment", "delete", "-e", "enemy", "-n", deployment, "-y")
	delete(users, 0)
	h.until("no process of "+deployment+" is left", func() bool { return len(h.leftovers(users, ids)) == 0 })
	for _, id := range ids {
		h.until("no control group of "+id+" is left", func() bool {
			groups, _ := filepath.Glob("/sys/fs/cgroup/*/sluice-*/" + id)
			return len(groups) == 0
		})
	}
}

// leftovers are processes of these users, or that were started by one of these
// instances.
func (h *hostile) leftovers(users map[int]bool, ids []string) []int {
	h.t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		h.t.Fatal(err)
	}
	var left []int
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		text, _ := os.ReadFile(dir + "/environ")
		command, _ := os.ReadFile(dir + "/cmdline")
		mine := users[int(info.Sys().(*syscall.Stat_t).Uid)]
		for _, id := range ids {
			mine = mine || bytes.Contains(text, []byte("SLUICE_INSTANCE="+id)) || bytes.Contains(command, []byte(id))
		}
		if stat, err := os.ReadFile(dir + "/stat"); err == nil && mine && !bytes.Contains(stat, []byte(") Z ")) {
			left = append(left, pid)
		}
	}
	return left
}

func (h *hostile) mustDeploy(script string, variables ...string) {
	h.t.Helper()
	if out, err := h.deploy("enemy", script, variables...); err != nil {
		h.t.Fatalf("deploying %s: %v\n%s", script, err, out)
	}
}

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
	h := newHostile(t, newUsersInstallation(t), "landlock")
	check := h.unharmed()
	h.suite("EPERM")
	h.watched()
	h.endings()
	check()
}

// Root whose control groups are out of reach: the shim watches instead. That
// root's own files are closed to all others closes nothing to its instances.
func TestHostileScriptsWithoutControlGroups(t *testing.T) {
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
	h := newHostile(t, newInstallation(t), "world")
	check := h.unharmed()
	h.suite("EPERM")
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
func (h *hostile) suite(abstract string) {
	t := h.t
	more := map[string]any{"abstract": []string{neighbourService(t)}, "abstract_outcome": abstract, "processes_bounded": true}
	for _, script := range []struct {
		name  string
		least int
	}{{"reads", 100}, {"writes", 120}, {"sockets", 50}, {"kernel", 90}, {"signals", 35}} {
		h.step(t, script.name, func() {
			h.mustDeploy(script.name)
			h.attack(script.name, more, script.least)
			h.scoreVictim()
			h.gone(script.name)
		})
	}
}

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

// bombs go off where only the shim sees to it that they end.
func (h *hostile) bombs() {
	for _, what := range []string{"threads", "processes", "let go"} {
		h.mustDeploy("forks")
		before := h.living("forks")
		h.ask("forks", map[string]any{"bomb": what}) // it may be ended before it answers
		h.until("an instance with a bomb of "+what+" is ended", func() bool {
			return !slices.ContainsFunc(h.instances("forks", true), func(i instance) bool { return i.ID == before.ID })
		})
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
