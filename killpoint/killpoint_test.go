//go:build linux

package killpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice/killpoint"
)

// workVar makes this program, started again by a test, write below a folder.
const workVar = "SLUICE_KILLPOINT_TEST"

func TestMain(m *testing.M) {
	if dir := os.Getenv(workVar); dir != "" {
		do := work
		if filepath.Base(dir) == "at" {
			do = workAt
		}
		if err := do(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// work takes every kind of step.
func work(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "12345"), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "new"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("abcdef")
	_, errAt := f.WriteAt([]byte("ghijkl"), 6)
	return errors.Join(err, errAt, f.Truncate(100), f.Sync(),
		os.Link(f.Name(), filepath.Join(dir, "second")),
		os.Rename(f.Name(), filepath.Join(dir, "12345", "done")),
		os.Remove(filepath.Join(dir, "second")),
		exec.Command("/bin/sh", "-c", "echo hello >> "+filepath.Join(dir, "child")).Run())
}

// workAt writes a file at offsets and syncs it twice, whether that succeeds or
// not, before it goes.
func workAt(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for at, text := range []string{"one", "two"} {
		if _, err := f.WriteAt([]byte(text), int64(3*at)); err != nil {
			return err
		}
		_ = f.Sync()
	}
	return os.Remove(path)
}

func start(t *testing.T, rig *killpoint.Rig, dir string) (out string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", workVar+"="+dir)
	cmd.Stdout = &b
	if err := rig.Start(cmd); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	return b.String(), err
}

func TestEveryStepIsSeen(t *testing.T) {
	dir := t.TempDir()
	rig := killpoint.New(t, dir)
	if out, err := start(t, rig, dir); err != nil {
		t.Fatal(err, out)
	}
	var got []string
	for _, p := range rig.Points() {
		got = append(got, p.String())
	}
	var want []string
	for _, step := range []string{"mkdir *", "create new", "write new", "pwrite new", "truncate new", "fsync new",
		"link new -> second", "rename new -> */done", "unlink second"} {
		want = append(want, "killpoint.test: "+step+" #1")
	}
	want = append(want, "sh: create child #1", "sh: write child #1")
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestFaults(t *testing.T) {
	dir := t.TempDir()
	rig := killpoint.New(t, dir)
	if _, err := start(t, rig, dir); err != nil {
		t.Fatal(err)
	}
	points := rig.Points()
	for _, p := range points {
		for _, f := range []killpoint.Fault{killpoint.Kill, killpoint.Torn, killpoint.Fail(unix.EIO), killpoint.Fail(unix.EROFS)} {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			rig.At(p, f)
			out, err := start(t, rig, dir)
			if hits := rig.Hits(); !slices.Equal(hits, []killpoint.Point{p}) {
				t.Errorf("%s, %s: hit %v", p, f, hits)
			}
			if err == nil {
				t.Errorf("%s, %s: nothing happened", p, f)
			}
			says := map[killpoint.Fault]string{killpoint.Fail(unix.EIO): "input/output error", killpoint.Fail(unix.EROFS): "read-only file system"}[f]
			if p.Program != "sh" && (says == "" && out != "" || !strings.Contains(out, says)) {
				t.Errorf("%s, %s: the program says %q", p, f, out)
			}
			if f != killpoint.Torn || p.Program == "sh" {
				continue
			}
			want := map[string]string{"write": "abc", "pwrite": "abcdefghi"}[p.Name]
			if got, err := os.ReadFile(filepath.Join(dir, "new")); want != "" && (err != nil || string(got) != want) {
				t.Errorf("%s, %s: the file holds %q (%v), want %q", p, f, got, err, want)
			}
		}
	}
}

// A fault that lasts is over when it is taken away.
func TestUntilDisarmed(t *testing.T) {
	dir := t.TempDir()
	rig := killpoint.New(t, dir)
	rig.Every(func(killpoint.Point) bool { return true }, killpoint.Fail(unix.EROFS))
	if out, err := start(t, rig, dir); err == nil || !strings.Contains(out, "read-only file system") {
		t.Errorf("got %q, %v", out, err)
	}
	rig.Disarm()
	if out, err := start(t, rig, dir); err != nil {
		t.Errorf("with nothing in the way: %v %s", err, out)
	}
}

func TestUnsynced(t *testing.T) {
	step := func(name, file string) killpoint.Point {
		return killpoint.Point{Call: killpoint.Call{Program: "p", Name: name, File: file}, N: 1}
	}
	hasty, folder := step("rename", "b -> c"), step("rename", "d -> e")
	got := killpoint.Unsynced([]killpoint.Point{
		step("write", "a"), step("fsync", "a"), step("rename", "a -> x"),
		step("pwrite", "b"), hasty,
		step("mkdir", "d"), step("write", "d/one"), step("write", "d/two"), step("fsync", "d/one"), folder,
		step("write", "gone"), step("unlink", "gone"), step("rename", "gone -> y"),
	})
	if !slices.Equal(got, []killpoint.Point{hasty, folder}) {
		t.Errorf("got %v", got)
	}
}

func TestSample(t *testing.T) {
	a, b := killpoint.Call{Program: "p", Name: "write", File: "a"}, killpoint.Call{Program: "p", Name: "fsync", File: "b"}
	var all []killpoint.Point
	for n := 1; n <= 50; n++ {
		all = append(all, killpoint.Point{Call: a, N: n})
		if n == 3 {
			all = append(all, killpoint.Point{Call: b, N: 1})
		}
	}
	got := killpoint.Sample(all, 7, 1)
	if len(got) < 3 || len(got) > 4 || got[0].N != 1 || got[len(got)-1].N != 50 || !slices.Contains(got, killpoint.Point{Call: b, N: 1}) {
		t.Errorf("got %v", got)
	}
	if again := killpoint.Sample(all, 7, 1); !slices.Equal(got, again) {
		t.Errorf("the same seed gives %v and %v", got, again)
	}
}
