package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/home"
	"github.com/sluice-ml/sluice/identity"
)

// stack is a whole Sluice of our own, in a folder of its own, on free ports.
type stack struct {
	bin, home string
	status    struct {
		PID            int    `json:"pid"`
		GatewayPID     int    `json:"gatewayPid"`
		ParentPID      int    `json:"parentPid"`
		APIAddress     string `json:"apiAddress"`
		GatewayAddress string `json:"gatewayAddress"`
	}
	client *arm.Client
}

func startStack(ctx context.Context, bin string) (*stack, error) {
	// The path must stay short: sockets live below it.
	home, err := os.MkdirTemp("", "sluice-bench")
	if err != nil {
		return nil, err
	}
	// Programs of its own tell its processes from everybody else's.
	s := &stack{bin: filepath.Join(home, "bin"), home: home}
	if err := os.CopyFS(s.bin, os.DirFS(bin)); err != nil {
		return nil, err
	}
	settings := "api: {listen: 'localhost:0'}\ngateway: {listen: 'localhost:0'}\n"
	if err := os.WriteFile(filepath.Join(home, "sluice.yml"), []byte(settings), 0o600); err != nil {
		return nil, err
	}
	if _, err := s.sluice(ctx, "up", "--detach"); err != nil {
		s.stop()
		return nil, err
	}
	out, err := s.sluice(ctx, "status", "-o", "json")
	if err == nil {
		err = json.Unmarshal(out, &s.status)
	}
	if err == nil {
		err = s.connect()
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *stack) connect() error {
	dir := home.Dir(s.home)
	credential, err := identity.ReadCredential(dir.Credential())
	if err != nil {
		return err
	}
	s.client, err = arm.NewClient(arm.Options{BaseURL: s.status.APIAddress, Credential: credential.Token,
		CAFile: dir.CA()})
	return err
}

// sluice runs one command against this stack.
func (s *stack) sluice(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "sluice"), args...)
	cmd.Env = append(os.Environ(), "SLUICE_HOME="+s.home)
	var out, trouble bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &trouble
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("sluice %s: %w\n%s", args[0], err, trouble.Bytes())
	}
	return out.Bytes(), nil
}

func (s *stack) stop() {
	if s.client != nil {
		s.client.Close()
	}
	if _, err := s.sluice(context.Background(), "down"); err != nil {
		progress("stopping: %v", err)
	}
	os.RemoveAll(s.home)
}
