//go:build unix

package shim

import (
	"github.com/sluice-ml/sluice/engine/process/confine"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/sluice-ml/sluice/engine"
)

func TestTerminationMessageTrustsNothing(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret, "the admin's key")
	for name, test := range map[string]struct {
		make func(path string) error
		want string
	}{
		"nothing":    {func(string) error { return nil }, ""},
		"a message":  {func(p string) error { write(p, "out of cheese\n"); return nil }, "out of cheese"},
		"a link":     {func(p string) error { return os.Symlink(secret, p) }, ""},
		"a folder":   {func(p string) error { return os.Mkdir(p, 0o700) }, ""},
		"a pipe":     {func(p string) error { return syscall.Mkfifo(p, 0o600) }, ""},
		"a cut rune": {func(p string) error { write(p, strings.Repeat("a", engine.MaxExitMessage-1)+"é"); return nil }, strings.Repeat("a", engine.MaxExitMessage-1)},
		"not text":   {func(p string) error { write(p, "a\xff\xfeb"); return nil }, "a?b"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "termination")
			if err := test.make(path); err != nil {
				t.Fatal(err)
			}
			if got := terminationMessage(path); got != test.want {
				t.Errorf("the message is %.80q, want %.80q", got, test.want)
			}
		})
	}
}

func FuzzCleanMessage(f *testing.F) {
	for _, seed := range []string{"", "a", "é", "\xc3", "a\xf0\x9f\x99", "\xff\xff", "\n\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := cleanMessage(text)
		if !utf8.ValidString(got) || len(got) > len(text) {
			t.Errorf("cleaning %q gives %q", text, got)
		}
		if utf8.Valid(text) && got != strings.TrimRight(string(text), "\n") && !strings.HasSuffix(string(text), "\uFFFD") {
			t.Errorf("cleaning %q, which is clean, gives %q", text, got)
		}
	})
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"bin", "plain", "rel/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, mode := range map[string]os.FileMode{"bin/tool": 0o755, "plain/text": 0o644, "rel/bin/here": 0o755, "plain/tool": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, path), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	path := strings.Join([]string{filepath.Join(dir, "plain"), "", "/nonexistent", filepath.Join(dir, "bin"), "rel/bin"}, ":")
	for name, want := range map[string]string{
		"tool":     filepath.Join(dir, "bin/tool"), // not the one that cannot be run
		"here":     filepath.Join(dir, "rel/bin/here"),
		"./x/tool": "./x/tool",
		"/bin/sh":  "/bin/sh",
	} {
		if got, err := confine.LookPath(name, path, dir); got != want || err != nil {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	for name, code := range map[string]int{"absent": notFound, "text": notExecutable, "bin": notFound} {
		if got, err := confine.LookPath(name, path, dir); err == nil || exitCodeOf(err) != code {
			t.Errorf("%s is %q, %v; want an error with code %d", name, got, err, code)
		}
	}
}
