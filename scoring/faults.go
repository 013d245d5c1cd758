package scoring

import (
	"bytes"
	"io"
	"os"
	"strings"
	"time"
)

// faults is where a worker's fault handler writes: the stacks of a crash, where
// it stands when it is asked, and who ended it by os._exit. It is memory without
// a name, of a size that cannot grow, so the kernel counts it as the instance's
// and a script that fills it fills nothing else. What is in it is the script's to
// forge: it is read up to bounds and believed for this worker only.
type faults struct {
	memory *segment
	file   *os.File
}

const (
	faultsSize = 1 << 20   // many threads may stand before the one that crashed
	stackSize  = 128 << 10 // of the answer to one question
)

func newFaults() (*faults, error) {
	memory, err := newSegment(faultsSize)
	if err != nil {
		return nil, err
	}
	return &faults{memory: memory, file: memory.file}, nil
}

// text gives what was written, at most the given number of bytes of it.
func (f *faults) text(most int64) string {
	var text []byte
	part := make([]byte, 16<<10)
	for int64(len(text)) < min(most, faultsSize) {
		n, err := f.file.ReadAt(part, int64(len(text)))
		end := bytes.IndexByte(part[:n], 0)
		if end >= 0 {
			n = end
		}
		text = append(text, part[:n]...)
		if end >= 0 || err != nil { // there is no more; or it is closed, which means empty
			break
		}
	}
	return string(text)
}

// forget empties it. The worker's offset is ours too: it writes from the
// beginning again.
func (f *faults) forget() {
	_, _ = f.file.WriteAt(make([]byte, len(f.text(faultsSize))), 0)
	_, _ = f.file.Seek(0, io.SeekStart)
}

// isEnding reports whether the worker has written something that must not be
// lost: it is ending.
func isEnding(text string) bool {
	return strings.Contains(text, headCrash) || strings.Contains(text, headExit)
}

const (
	lookAtAnswer = 20 * time.Millisecond
	answerWithin = 25 // looks
)

// stack asks the worker where its main thread stands, and gives its calls,
// innermost first. It takes some 40 ms, and half a second when no answer comes.
// One question may be asked at a time.
func (f *faults) stack(p *process) []stackFrame {
	if isEnding(f.text(faultsSize)) {
		return nil
	}
	f.forget()
	p.askStack()
	before := ""
	for range answerWithin {
		time.Sleep(lookAtAnswer)
		// The answer has no end mark; it is written in one go.
		now := f.text(stackSize)
		if now != "" && now == before {
			return stackIn(now)
		}
		before = now
	}
	return nil
}

func (f *faults) close() { f.memory.close() }
