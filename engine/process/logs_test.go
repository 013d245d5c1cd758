package process

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice/engine/process/shim"
)

func writeLog(t *testing.T, dir string, number int, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, shim.LogName(number)), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTailGoesOverFiles(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("x", 100_000)
	writeLog(t, dir, 3, "c1\nc2\n")
	writeLog(t, dir, 4, "d1\n"+long+"\nd3\n")
	writeLog(t, dir, 5, "")
	writeLog(t, dir, 7, "e1\npart")
	if err := os.WriteFile(filepath.Join(dir, "other"), []byte("not a log\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := "c1\nc2\nd1\n" + long + "\nd3\ne1\npart"
	lines := strings.SplitAfter(all, "\n")
	for n := range len(lines) + 3 {
		l := &logReader{dir: dir, ctx: t.Context(), cancel: func() {}}
		if err := l.seek(n); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(l)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		want := all
		if n > 0 && n < len(lines) {
			want = strings.Join(lines[len(lines)-n:], "")
		}
		if string(got) != want {
			t.Errorf("the last %d lines are %d bytes, %.40q; want %d, %.40q", n, len(got), got, len(want), want)
		}
	}
}

func TestTailOfNothing(t *testing.T) {
	for _, text := range []string{"", "\n", "one", "one\n"} {
		dir := t.TempDir()
		writeLog(t, dir, 1, text)
		l := &logReader{dir: dir, ctx: t.Context(), cancel: func() {}}
		if err := l.seek(1); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(l)
		if err != nil || string(got) != text {
			t.Errorf("the last line of %q is %q, %v", text, got, err)
		}
		l.Close()
	}
}

// Following goes on over files that are begun, and removed, while it reads.
func TestFollowingOverRotation(t *testing.T) {
	dir := t.TempDir()
	over := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	l := &logReader{dir: dir, ctx: ctx, cancel: cancel, ended: func() (bool, error) {
		select {
		case <-over:
			return true, nil
		default:
			return false, nil
		}
	}}
	defer l.Close()
	read := make(chan string)
	go func() {
		text, err := io.ReadAll(l)
		if err != nil {
			t.Error(err)
		}
		read <- string(text)
	}()
	var want strings.Builder
	for n := 1; n <= 5; n++ {
		text := fmt.Sprintf("in file %d\n", n)
		writeLog(t, dir, n, text)
		want.WriteString(text)
	}
	close(over)
	if got := <-read; got != want.String() {
		t.Errorf("following gave %q, want %q", got, want.String())
	}
}

// A reader goes on from a position over files that went meanwhile, and says
// that it could not read everything.
func TestGoingOnWhereFilesWent(t *testing.T) {
	dir := t.TempDir()
	for n := 3; n <= 6; n++ {
		writeLog(t, dir, n, fmt.Sprintf("%d\n", n))
	}
	open := func(from string) *logReader {
		l := &logReader{dir: dir, ctx: t.Context(), cancel: func() {}}
		if err := l.goOn(from); err != nil {
			t.Fatal(err)
		}
		return l
	}
	for from, want := range map[string]string{
		"0:0": "3\n4\n5\n6\n false", "3:0": "3\n4\n5\n6\n false", "3:2": "4\n5\n6\n false", "4:1": "\n5\n6\n false",
		"2:7": "3\n4\n5\n6\n true", "6:2": " false", "6:99": " false", "9:0": " true",
	} {
		l := open(from)
		text, err := io.ReadAll(l)
		if got := fmt.Sprint(string(text), " ", l.Lost()); err != nil || got != want || l.Lost() {
			t.Errorf("from %s: %q, %v; want %q, said once", from, got, err, want)
		}
		l.Close()
	}

	l := open("3:0")
	defer l.Close()
	if _, err := l.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{4, 5} {
		if err := os.Remove(filepath.Join(dir, shim.LogName(n))); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(l)
	if string(text) != "6\n" || err != nil || !l.Lost() || l.Position(1) != "6:1" {
		t.Errorf("after two files went: %q, %v, at %s", text, err, l.Position(1))
	}
}
