package parent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ml/sluice/home"
)

// State is what runs here, kept in a file for `sluice status` and every other
// command that has to find the API.
type State struct {
	PID            int       `json:"pid"` // the server's
	GatewayPID     int       `json:"gatewayPid"`
	ParentPID      int       `json:"parentPid"`
	APIAddress     string    `json:"apiAddress"`
	GatewayAddress string    `json:"gatewayAddress"`
	StartedAt      time.Time `json:"startedAt"`
	Version        string    `json:"version"`
}

// ReadState gives the last state written. That it is there does not mean that
// anything runs. The error is fs.ErrNotExist when nothing was started, or all
// was stopped properly.
func ReadState(d home.Dir) (State, error) {
	text, err := os.ReadFile(d.State())
	if err != nil {
		return State{}, err
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return State{}, fmt.Errorf("reading %s: %w", d.State(), err)
	}
	return s, nil
}

// write replaces the file in one step.
func (s State) write(path string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "state-")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// publicURL gives the URL of a listening socket as users write it: the host of
// the setting, the port that was really taken.
func publicURL(setting string, socket *os.File) string {
	host, port, err := net.SplitHostPort(setting)
	if err != nil {
		return ""
	}
	if l, err := net.FileListener(socket); err == nil {
		_, port, _ = net.SplitHostPort(l.Addr().String())
		l.Close()
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		host = "localhost"
	}
	return "https://" + net.JoinHostPort(host, port)
}

// Exists reports whether the error of ReadState means that a state was there.
func Exists(err error) bool { return !errors.Is(err, fs.ErrNotExist) }
