package parent

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// maxWords bounds what is read of a child's log to learn why it ended, in bytes.
const maxWords = 64 << 10

// whyEnded gives why a child ended while it started: what it said last, as
// every command of sluice says it, in what it wrote to its log from the offset
// on.
func whyEnded(name string, ended error, log string, from int64) error {
	cause := &sluice.Cause{
		Code:    sluice.CauseServerDown,
		Message: fmt.Sprintf("the %s ended while starting: %v", name, ended),
		Hint:    "its log is " + log,
	}
	f, err := os.Open(log)
	if err != nil {
		return cause
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, from, maxWords))
	if err != nil {
		return cause
	}
	sentence, hint := lastWords(string(text))
	if cut := sentence == "" || text[len(text)-1] != '\n'; cut {
		if room, ok := disk.At(log); ok && room.Bytes == 0 {
			// It could not even say why, or not to the end.
			return sluice.DiskFull(disk.Sentence("the log of the "+name, filepath.Dir(log)), ended)
		}
	}
	if sentence != "" {
		cause.Message = fmt.Sprintf("the %s cannot start: %s", name, sentence)
		if hint != "" {
			cause.Hint = hint
		}
	}
	return cause
}

// lastWords finds the last sentence, and the hint below it, that a command
// ended with.
func lastWords(text string) (sentence, hint string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if said, ok := strings.CutPrefix(line, "sluice: "); ok {
			sentence, hint = said, ""
		} else if said, ok := strings.CutPrefix(line, "  hint: "); ok && sentence != "" {
			hint = said
		}
	}
	return sentence, hint
}
