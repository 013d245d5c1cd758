package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// failing are scripts that fail in each way a script can, and what the command
// has to say of it. alive() is the last sign of life that they give.
var failing = []struct{ name, init, run, says string }{
	{"a module that is missing", "alive()\n    import no_such_module", "", "module no_such_module is not installed"},
	{"init() raises", "alive()\n    raise ValueError('not there')", "", "init() raised ValueError: not there"},
	{"the model file is missing", "alive()\n    open(os.environ.get('AZUREML_MODEL_DIR', '/var/azureml-app/azureml-models') + '/no.pkl')", "", "no.pkl"},
	{"sys.exit", "alive()\n    raise SystemExit(4)", "", "exit code 4"},
	{"os._exit", "alive()\n    os._exit(5)", "", "exit code 5"},
	{"a crash", "alive()\n    import ctypes\n    ctypes.string_at(0)", "", "SIGSEGV"},
	{"memory runs out", "kept = []\n    while True:\n        alive()\n        kept.append(bytearray(64 << 20))\n        kept[-1][:] = b'x' * (64 << 20)", "", "emory"},
	{"run() raises", "pass", "alive()\n    raise KeyError('data')", "run() raised KeyError"},
}

const failingScript = `import os
import socket


def alive():
    socket.create_connection(("127.0.0.1", int(os.environ["ALIVE"]))).close()


def init():
    %s


def run(data):
    %s
`

// causeRows gives how long it takes from the last sign of life of a script until
// the command that waits for it has said why it failed, and has ended.
func causeRows(ctx context.Context, bin string) ([]row, error) {
	s, err := startStack(ctx, bin)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	signs, err := watchSigns()
	if err != nil {
		return nil, err
	}
	defer signs.close()
	if _, err := s.sluice(ctx, "online-endpoint", "create", "-n", "causes", "--auth-mode", "key"); err != nil {
		return nil, err
	}
	// The environment is to be there already.
	if err := s.scoreNothing(ctx); err != nil {
		return nil, err
	}
	longest := row{name: "cause on the command line, from the script's last sign of life, the slowest (bar: 2000)", unit: "ms"}
	rows := []row{longest}
	for n, f := range failing {
		took, err := s.timeCause(ctx, signs, fmt.Sprintf("fails-%d", n), f.init, f.run, f.says)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		ms := float64(took.Microseconds()) / 1000
		rows[0].ours = max(rows[0].ours, ms)
		rows = append(rows, row{"  " + f.name, ms, 0, "ms"})
	}
	return rows, nil
}

func (s *stack) timeCause(ctx context.Context, signs *signs, name, init, run, says string) (time.Duration, error) {
	dir := filepath.Join(s.home, "causes", name)
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o700); err != nil {
		return 0, err
	}
	deployment := fmt.Sprintf(`name: %s
endpoint_name: causes
code_configuration: {code: ./src, scoring_script: score.py}
environment:
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
  conda_file: {dependencies: [pip]}
environment_variables: {ALIVE: "%d"}
instance_type: Standard_DS1_v2
instance_count: 1
`, name, signs.port())
	served := run != ""
	if !served {
		run = "return data"
	}
	for file, text := range map[string]string{"d.yml": deployment, "src/score.py": fmt.Sprintf(failingScript, init, run), "r.json": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			return 0, err
		}
	}
	args := []string{"online-deployment", "create", "-f", filepath.Join(dir, "d.yml")}
	if served {
		if _, err := s.sluice(ctx, args...); err != nil {
			return 0, err
		}
		args = []string{"online-endpoint", "invoke", "-n", "causes", "-d", name, "-r", filepath.Join(dir, "r.json")}
	}
	_, err := s.sluice(ctx, args...)
	ended := time.Now()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		return 0, fmt.Errorf("it was to fail, and came to %v", err)
	}
	if !strings.Contains(err.Error(), says) {
		return 0, fmt.Errorf("it does not say %q: %w", says, err)
	}
	last := signs.last()
	progress("%s: %s after the last sign of life: %s", name, ended.Sub(last), strings.ReplaceAll(err.Error(), "\n", "; "))
	return ended.Sub(last), nil
}

// signs is where scripts show that they live.
type signs struct {
	listener net.Listener
	watching sync.WaitGroup

	mu sync.Mutex
	at time.Time // of the last, guarded by mu
}

func watchSigns() (*signs, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &signs{listener: l}
	s.watching.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.at = time.Now()
			s.mu.Unlock()
			conn.Close()
		}
	})
	return s, nil
}

func (s *signs) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *signs) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *signs) close() {
	s.listener.Close()
	s.watching.Wait()
}
