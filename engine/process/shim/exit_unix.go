//go:build unix

package shim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/confine"
)

// Exit codes of a command that could not be started, as shells give them.
const (
	notExecutable = 126
	notFound      = 127
)

func exitOf(status syscall.WaitStatus) *engine.Exit {
	if !status.Signaled() {
		return &engine.Exit{Code: status.ExitStatus()}
	}
	name := unix.SignalName(status.Signal())
	if name == "" {
		name = fmt.Sprintf("SIG%d", int(status.Signal()))
	}
	return &engine.Exit{Code: 128 + int(status.Signal()), Signal: name}
}

func exitCodeOf(err error) int {
	var f *confine.Failure
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &f) && f.Missing {
		return notFound
	}
	return notExecutable
}

// terminationMessage reads what the command left behind. The file is the
// command's to make: it may be a link to something of ours, a pipe that nobody
// writes to, or endless.
func terminationMessage(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text, _ := io.ReadAll(io.LimitReader(f, engine.MaxExitMessage))
	return cleanMessage(text)
}

// cleanMessage makes text that was cut at a byte valid again, in no more bytes.
func cleanMessage(text []byte) string {
	if r, size := utf8.DecodeLastRune(text); r == utf8.RuneError && size == 1 {
		for i := 1; i <= min(utf8.UTFMax, len(text)); i++ {
			if utf8.RuneStart(text[len(text)-i]) {
				text = text[:len(text)-i]
				break
			}
		}
	}
	return strings.TrimRight(strings.ToValidUTF8(string(text), "?"), "\n")
}
