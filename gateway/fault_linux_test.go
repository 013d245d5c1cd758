package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/killpoint"
)

// childRoutes makes this program keep copies of routes in that folder.
const childRoutes = "SLUICE_GATEWAY_TEST_ROUTES"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childRoutes); dir != "" {
		if err := keepRoutes(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func routesNamed(name string, version int64) sluice.Routes {
	r := iris(version)
	r.Endpoint, r.UID = name, strings.Repeat("long", 3000) // of several pages
	return r
}

// keepRoutes keeps one endpoint's routes twice, and another's until they go.
func keepRoutes(dir string) error {
	s := &shelf{dir: dir, log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1)}
	if _, err := s.load(); err != nil {
		return err
	}
	for _, r := range []sluice.Routes{routesNamed("stays", 1), routesNamed("goes", 1), routesNamed("stays", 2)} {
		if err := s.write(keyOf(r.Workspace, r.Endpoint), &r); err != nil {
			return err
		}
	}
	return s.write(key{"default", "goes"}, nil)
}

// Each step of keeping a copy is once the last of the gateway, and once one that
// fails: whatever is then there is whole, and what is left of a kill is removed
// by the next.
func TestFaultAtEachStepOfKeepingRoutes(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "routes")
	rig := killpoint.New(t, root)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	keep := func() (says string, err error) {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		child := exec.CommandContext(t.Context(), self)
		child.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", childRoutes+"="+dir)
		child.Stdout, child.Stderr = &out, &out
		if err := rig.Start(child); err != nil {
			t.Fatal(err)
		}
		err = child.Wait()
		return out.String(), err
	}
	if says, err := keep(); err != nil {
		t.Fatal(err, says)
	}
	points := rig.Points()
	if len(points) < 12 {
		t.Errorf("only %d steps were seen: %v", len(points), points)
	}
	if hasty := killpoint.Unsynced(points); len(hasty) > 0 {
		t.Errorf("not synced: %v", hasty)
	}
	for _, p := range points {
		for _, fault := range []killpoint.Fault{killpoint.Kill, killpoint.Torn, killpoint.Fail(unix.EIO), killpoint.Fail(unix.ENOSPC)} {
			at := fmt.Sprintf("%s, %s", p, fault)
			rig.At(p, fault)
			says, err := keep()
			if len(rig.Hits()) == 0 || err == nil {
				t.Errorf("%s: %v", at, err)
			}
			if !fault.Kills() && !strings.Contains(says, "the disk ") {
				t.Errorf("%s: not a clear error: %s", at, says)
			}
			var log bytes.Buffer
			s := &shelf{dir: dir, log: slog.New(slog.NewTextHandler(&log, nil)), wake: make(chan struct{}, 1)}
			all, err := s.load()
			if err != nil || log.Len() > 0 {
				t.Errorf("%s: the next gateway: %v, %s", at, err, log.String())
			}
			for _, r := range all {
				if r.UID != routesNamed("", 0).UID || r.Endpoint != "stays" && r.Endpoint != "goes" {
					t.Errorf("%s: there is %s version %d", at, r.Endpoint, r.Version)
				}
			}
			if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
				t.Errorf("%s: %v is left (%v)", at, left, err)
			}
		}
	}
}
