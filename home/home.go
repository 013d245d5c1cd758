// Package home knows where Sluice keeps its state on one machine, and how it
// is configured there.
//
// A [Dir] names every file below $SLUICE_HOME, so that no other package spells
// a path; [Config] is sluice.yml with every default. Both are plain values.
package home

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-ml/sluice/disk"
)

// Dir is the root of the state on this machine.
type Dir string

// Find gives the state directory: $SLUICE_HOME, else /var/lib/sluice for root,
// else ~/.sluice. The result is absolute; it need not exist.
func Find() (Dir, error) {
	if d := os.Getenv("SLUICE_HOME"); d != "" {
		abs, err := filepath.Abs(d)
		return Dir(abs), err
	}
	if os.Geteuid() == 0 {
		return "/var/lib/sluice", nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding the state directory: %w (set SLUICE_HOME)", err)
	}
	return Dir(filepath.Join(user, ".sluice")), nil
}

// maxPath bounds the path of the state directory, in bytes: the sockets below
// it must fit into the 103 that every system allows for one.
const maxPath = 86

// Make creates the directory tree, readable by its owner only.
func (d Dir) Make() error {
	if len(d) > maxPath {
		return fmt.Errorf("the path of the state directory %s has %d bytes: sockets below it need one of at most %d (set SLUICE_HOME)",
			d, len(d), maxPath)
	}
	for _, dir := range []string{string(d), d.Run(), d.Logs(), d.Artifacts(), d.Environments(), d.Instances(), d.Routes()} {
		err := os.MkdirAll(dir, 0o700)
		if disk.IsFull(err) || disk.HasFailed(err) {
			return disk.Explain("the state directory", string(d), err)
		}
		if err != nil {
			return fmt.Errorf("making the state directory: %w (set SLUICE_HOME to a folder that can be written)", err)
		}
	}
	return nil
}

func (d Dir) join(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

func (d Dir) Config() string       { return d.join("sluice.yml") }          // settings, written by the user
func (d Dir) Database() string     { return d.join("sluice.db") }           // resources, history, operations
func (d Dir) CA() string           { return d.join("ca.pem") }              // the local CA's certificate
func (d Dir) CAKey() string        { return d.join("ca-key.pem") }          // 0600
func (d Dir) Bundle() string       { return d.join("ca-bundle.pem") }       // the system's roots and ours
func (d Dir) Credential() string   { return d.join("admin.json") }          // the admin credential, 0600
func (d Dir) SealKey() string      { return d.join("seal.key") }            // seals endpoint keys, 0600
func (d Dir) Artifacts() string    { return d.join("artifacts") }           // content-addressed files
func (d Dir) Environments() string { return d.join("environments") }        // Python environments by lock hash
func (d Dir) Instances() string    { return d.join("instances") }           // what the process engine runs
func (d Dir) Routes() string       { return d.join("routes") }              // the gateway's own copy
func (d Dir) Logs() string         { return d.join("logs") }                // parent, server, gateway
func (d Dir) Run() string          { return d.join("run") }                 // sockets, locks and pids
func (d Dir) FeedSocket() string   { return d.join("run", "feed.sock") }    // server → gateway routes, gateway → server load
func (d Dir) ServerSocket() string { return d.join("run", "server.sock") }  // hand-over of the server's listener
func (d Dir) GatewaySock() string  { return d.join("run", "gateway.sock") } // likewise the gateway's
func (d Dir) ServerLock() string   { return d.join("run", "server.lock") }  // held while a server lives
func (d Dir) GatewayLock() string  { return d.join("run", "gateway.lock") } // likewise a gateway
func (d Dir) ParentLock() string   { return d.join("run", "parent.lock") }  // held while a parent lives
func (d Dir) State() string        { return d.join("run", "state.json") }   // pids and addresses, for `status`
