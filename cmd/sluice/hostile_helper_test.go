//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

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

// needRoot is the first line of each test: CI is root, and a test of isolation
// that it skips has failed.
func needRoot(t *testing.T) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "isolation is attacked as root"
	} else if runtime.GOARCH != "amd64" {
		why = "the scripts call the kernel of amd64 by number"
	}
	if why != "" && os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	if why != "" {
		t.Skip(why)
	}
}

func newHostile(t *testing.T, in *installation, mode string) *hostile {
	t.Helper()
	h := &hostile{installation: in, mode: mode}
	in.sluice("up", "--detach")
	h.trust()
	dir := filepath.Join(in.home, "..", "scripts")
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS("testdata/hostile")); err != nil {
		t.Fatal(err)
	}
	in.write(filepath.Join(dir, "model", "weights.txt"), "weights")
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(path, 0o755))
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

func (h *hostile) reach(endpoint string) (uri, key string) {
	h.t.Helper()
	uri = strings.TrimSpace(h.sluice("online-endpoint", "show", "-n", endpoint, "--query", "scoring_uri", "-o", "tsv"))
	key = strings.TrimSpace(h.sluice("online-endpoint", "get-credentials", "-n", endpoint, "--query", "primaryKey", "-o", "tsv"))
	return uri, key
}

// deploy deploys a script under its own name and gives what the command said.
func (h *hostile) deploy(endpoint, script string, variables ...string) (string, error) {
	h.t.Helper()
	file := filepath.Join(h.home, "..", "scripts", script+".yml")
	text := `name: ` + script + `
endpoint_name: ` + endpoint + `
model: {path: ./model}
code_configuration: {code: ./src, scoring_script: ` + script + `.py}
environment:
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
  conda_file: {dependencies: [python]}
instance_type: Standard_DS1_v2
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
			for _, at := range []string{"sluice-*", "*/sluice-*", "*/*/sluice-*"} {
				if groups, _ := filepath.Glob("/sys/fs/cgroup/" + at + "/" + id); len(groups) > 0 {
					return false
				}
			}
			return true
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
