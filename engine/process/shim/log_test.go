package shim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func files(t *testing.T, dir string) (names []string, text string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, entry.Name())
		text += string(content)
	}
	return names, text
}

func TestRotationKeepsTheNewestWholeLines(t *testing.T) {
	dir := t.TempDir()
	r := newRotated(dir, 100, 3)
	var all strings.Builder
	for n := range 60 {
		line := fmt.Sprintf("this is line %d\n", n)
		all.WriteString(line)
		r.Write([]byte(line))
	}
	r.Close()
	names, text := files(t, dir)
	if len(names) != 3 {
		t.Errorf("the files are %v, want 3", names)
	}
	if !strings.HasSuffix(all.String(), text) || len(text) < 2*100 {
		t.Errorf("what is kept is not the end of what was written: %q", text)
	}
	if !strings.HasPrefix(text, "this is line ") {
		t.Errorf("the oldest file begins in the middle of a line: %.30q", text)
	}
}

func TestALongLineIsWrittenAndBounded(t *testing.T) {
	dir := t.TempDir()
	r := newRotated(dir, 100, 3)
	r.Write([]byte("short\n"))
	r.Write(bytes.Repeat([]byte("x"), 3*longLine))
	r.Write([]byte("\nlast\n"))
	r.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Size() > 100+longLine {
			t.Errorf("%s is %d bytes, %v", entry.Name(), info.Size(), err)
		}
	}
	if _, text := files(t, dir); !strings.HasSuffix(text, "x\nlast\n") {
		t.Errorf("the end is %q", text[len(text)-20:])
	}
}

func TestOutputThatCannotBeWrittenIsCountedAndTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	r := newRotated(dir, 1000, 3)
	if n, err := r.Write([]byte("lost\n")); n != 5 || err != nil {
		t.Errorf("writing without a disk: %d, %v; the command must not notice", n, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.Write([]byte("kept\n"))
	r.Close()
	_, text := files(t, dir)
	if want := "\n[sluice: 5 bytes of output were lost here: they could not be written]\nkept\n"; text != want {
		t.Errorf("the log is %q, want %q", text, want)
	}
}

func TestLogNumber(t *testing.T) {
	for name, want := range map[string]int{"000001.log": 1, "123456.log": 123456, "1234567.log": 1234567,
		"000000.log": 0, "1.log": 0, "0000001.log": 0, "000001": 0, "-00001.log": 0, "": 0, "000001.log.gz": 0} {
		if got, ok := LogNumber(name); ok != (want != 0) || ok && got != want {
			t.Errorf("LogNumber(%q) = %d, %v", name, got, ok)
		}
	}
}

// Whatever is written, in whatever pieces: what is kept is the end of it, and
// no file is larger than it may be.
func FuzzRotation(f *testing.F) {
	f.Add([]byte("a\nbb\nccc\n"), 3, uint8(2))
	f.Add([]byte("no line end"), 1, uint8(1))
	f.Add(bytes.Repeat([]byte("line\n"), 100), 64, uint8(7))
	f.Fuzz(func(t *testing.T, text []byte, limit int, piece uint8) {
		if limit < 1 || limit > 1000 || piece == 0 {
			return
		}
		dir := t.TempDir()
		r := newRotated(dir, int64(limit), 3)
		for rest := text; len(rest) > 0; {
			n := min(int(piece), len(rest))
			r.Write(rest[:n])
			rest = rest[n:]
		}
		r.Close()
		names, kept := files(t, dir)
		if len(names) > 3 {
			t.Errorf("%d files", len(names))
		}
		if !strings.HasSuffix(string(text), kept) {
			t.Errorf("kept %q of %q", kept, text)
		}
		if len(text) > 0 && kept == "" {
			t.Errorf("nothing is kept of %q", text)
		}
	})
}
