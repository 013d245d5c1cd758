//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// freePort gives a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A backup is taken while requests are answered, models come and go, and what
// nothing needs is pruned. Restored elsewhere it answers at the same address
// under the same key.
func TestBackupUnderLoad(t *testing.T) {
	in := newInstallation(t)
	settings := fmt.Sprintf("api: {listen: 'localhost:%d'}\ngateway: {listen: 'localhost:%d'}\n", freePort(t), freePort(t))
	in.write(filepath.Join(in.home, "sluice.yml"), settings)
	in.sluice("up", "--detach")
	uri, key := in.echo()
	if _, err := in.post(uri, key, "first"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopLoad := in.load(uri, key)
	var changes sync.WaitGroup
	dir := t.TempDir()
	changes.Go(func() {
		file := filepath.Join(dir, "model.bin")
		for n := 1; ctx.Err() == nil; n++ {
			in.write(file, strings.Repeat(fmt.Sprint(n), 1000))
			if _, trouble, err := in.try("model", "create", "-n", "m", "-v", fmt.Sprint(n), "-p", file); err != nil {
				t.Errorf("model create: %v\n%s", err, trouble)
				return
			}
			if _, trouble, err := in.try("prune", "-y"); err != nil {
				t.Errorf("prune: %v\n%s", err, trouble)
				return
			}
		}
	})
	archive := filepath.Join(dir, "b.tar")
	for range 3 {
		in.sluice("backup", "-o", archive)
	}
	if info, err := os.Stat(archive); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", info.Mode(), err)
	}
	stop()
	changes.Wait()
	if sent, failed := stopLoad(); len(failed) > 0 {
		t.Errorf("%d of %d requests failed, want none: %v", len(failed), sent, failed[0])
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("beside the backup there is %v, %v", left, err)
	}
	in.sluice("down")
	in.client.CloseIdleConnections()

	other := newInstallation(t)
	other.sluice("restore", archive, "--force") // its settings were there
	other.sluice("up", "--detach")
	other.trust()
	other.until("the deployment answers", func() bool { _, err := other.post(uri, key, "again"); return err == nil })
	if got := strings.TrimSpace(other.sluice("online-endpoint", "show", "-n", "echo", "--query", "scoring_uri", "-o", "tsv")); got != uri {
		t.Errorf("the address is %s, was %s", got, uri)
	}
	if got := strings.TrimSpace(other.sluice("online-endpoint", "get-credentials", "-n", "echo", "--query", "primaryKey", "-o", "tsv")); got != key {
		t.Error("the key is another")
	}
	if n := strings.TrimSpace(other.sluice("model", "list", "-n", "m", "--query", "length(@)", "-o", "tsv")); n == "0" {
		t.Error("no model came back")
	}
	if _, trouble, err := other.try("restore", archive); err == nil || !strings.Contains(trouble, "Sluice runs in ") {
		t.Errorf("restoring over what runs: %v, %s", err, trouble)
	}
}
