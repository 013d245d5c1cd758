package parent

import (
	"encoding/json"
	"errors"
	"fmt"
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

// taken gives where a socket really listens: the host of the setting, the port
// that was taken.
func taken(setting string, socket *os.File) string {
	host, _, err := net.SplitHostPort(setting)
	if err != nil {
		return setting
	}
	l, err := net.FileListener(socket)
	if err != nil {
		return setting
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return setting
	}
	return net.JoinHostPort(host, port)
}
