//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

// partsHere gives how many parts of large files have arrived.
func (in *installation) partsHere() int {
	lists, err := filepath.Glob(filepath.Join(in.home, "artifacts", "parts", "*", "have"))
	if err != nil {
		in.t.Fatal(err)
	}
	n := 0
	for _, list := range lists {
		if text, err := os.ReadFile(list); err == nil {
			n += strings.Count(string(text), ".\n")
		}
	}
	return n
}

// start starts a command and gives what ends it, with all it said.
func (in *installation) start(args ...string) (cmd *exec.Cmd, wait func() (string, error)) {
	in.t.Helper()
	cmd = exec.Command(filepath.Join(in.programs, "sluice"), args...)
	cmd.Env = append(os.Environ(), "SLUICE_HOME="+in.home)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	return cmd, func() (string, error) {
		err := cmd.Wait()
		return out.String(), err
	}
}

// sentParts counts the parts that a command with --debug has sent.
func sentParts(said string) int { return strings.Count(said, "/parts/") }

// A large upload that is interrupted, or whose server is killed, sends no part
// twice that has arrived.
func TestABrokenUploadGoesOn(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	const parts = 8
	model := filepath.Join(filepath.Dir(in.home), "large.bin")
	if err := os.WriteFile(model, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(model, (parts-1)*32<<20+5); err != nil {
		t.Fatal(err)
	}
	create := []string{"model", "create", "-n", "large", "-p", model, "--debug"}

	// Ctrl-C, while the server stands still: what has arrived by then is all.
	cmd, wait := in.start(create...)
	in.until("a part has arrived", func() bool { return in.partsHere() > 0 })
	server := in.state().PID
	if err := syscall.Kill(server, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	here := in.partsHere()
	if here == parts {
		t.Fatal("it was too fast")
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	said, err := wait()
	if err == nil || !strings.Contains(said, "the same command goes on where it was") {
		t.Errorf("it ended with %v and said\n%s", err, said)
	}
	if err := syscall.Kill(server, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}

	// The same command again, and its server is killed in the midst of it.
	_, wait = in.start(create...)
	in.until("another part has arrived", func() bool { return in.partsHere() > here })
	kill(t, in.state().PID)
	said, err = wait()
	if err != nil {
		t.Fatalf("it ended with %v and said\n%s", err, said)
	}
	// Those on their way when the server was killed were sent twice.
	if sent := sentParts(said); sent > parts-here+uploadWorkersInFlight {
		t.Errorf("with %d of %d parts there, %d were sent:\n%s", here, parts, sent, said)
	}
	if got := in.sluice("model", "show", "-n", "large", "-v", "1", "--query", "name", "-o", "tsv"); got != "large\n" {
		t.Errorf("the model is %q", got)
	}
	if left := in.partsHere(); left != 0 {
		t.Errorf("%d parts are left", left)
	}
}

// uploadWorkersInFlight is how many parts are on their way at once, each of
// which may be tried a few times while the server comes back.
const uploadWorkersInFlight = 4

// A folder that is deployed keeps its own name below AZUREML_MODEL_DIR, without
// what its .amlignore names, and nothing in it can be written.
func TestAModelFolderKeepsItsName(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	dir := filepath.Join(in.home, "echo")
	for path, text := range map[string]string{"weights/a.txt": "a", "weights/sub/b.txt": "b", "weights/sub/c.tmp": "c", "weights/.amlignore": "*.tmp\n"} {
		in.write(filepath.Join(dir, path), text)
	}
	uri, key := in.echoWith("model: {path: ./weights}\n", `import os

def init():
    pass

def run(data):
    top = os.environ["AZUREML_MODEL_DIR"]
    found = []
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            found.append([os.path.relpath(path, top), os.stat(path).st_mode & 0o222])
    return sorted(found)
`)
	got, err := in.ask(uri, key)
	want := `[["weights/.amlignore", 0], ["weights/a.txt", 0], ["weights/sub/b.txt", 0]]`
	if err != nil || got != want {
		t.Errorf("below AZUREML_MODEL_DIR lies %s, %v, want %s", got, err, want)
	}
}

func (in *installation) ask(uri, key string) (string, error) {
	req, err := http.NewRequestWithContext(in.t.Context(), http.MethodPost, uri, strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := in.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// age makes everything as if it was last used two hours ago.
func (in *installation) age() {
	in.t.Helper()
	long := time.Now().Add(-2 * time.Hour)
	for _, folder := range []string{"artifacts", "environments"} {
		err := filepath.WalkDir(filepath.Join(in.home, folder), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil || info.Mode()&fs.ModeSymlink != 0 {
				return err
			}
			modified := info.ModTime()
			if folder == "environments" {
				modified = long
			}
			return os.Chtimes(path, long, modified)
		})
		if err != nil {
			in.t.Fatal(err)
		}
	}
}

func (in *installation) prune(args ...string) (got sluice.Pruned) {
	in.t.Helper()
	if err := json.Unmarshal([]byte(in.sluice(append([]string{"prune"}, args...)...)), &got); err != nil {
		in.t.Fatal(err)
	}
	return got
}

// TestPruneTakesWhatIsLeftOver prunes beside a deployment that serves, which
// must be startable from nothing afterwards, and once more when it is gone.
func TestPruneTakesWhatIsLeftOver(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	uri, key := in.echo()
	in.age()
	if got := in.prune("-y"); got != (sluice.Pruned{}) {
		t.Errorf("of what serves it took %+v", got)
	}
	worker, err := in.post(uri, key, "one")
	if err != nil {
		t.Fatal(err)
	}
	in.sluice("down")
	in.sluice("up", "--detach")
	uri = strings.TrimSpace(in.sluice("online-endpoint", "show", "-n", "echo", "--query", "scoring_uri", "-o", "tsv"))
	in.until("it answers again", func() bool {
		again, err := in.post(uri, key, "two")
		return err == nil && again != worker
	})
	in.sluice("online-endpoint", "delete", "-n", "echo", "-y")
	in.age()
	dry := in.prune("--dry-run")
	did := in.prune("-y")
	if dry.DryRun = false; did != dry || did.Files == 0 || did.Environments != 1 || did.Bytes == 0 {
		t.Errorf("it took %+v, and announced %+v", did, dry)
	}
	if left, err := os.ReadDir(filepath.Join(in.home, "environments", "envs")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// And all of it can be had again.
	uri, key = in.echo()
	if _, err := in.post(uri, key, "three"); err != nil {
		t.Error(err)
	}
}
