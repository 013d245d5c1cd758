package scoring

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryUse is what a control group says of its memory, in bytes, and of the
// processes that the kernel killed in it for want of it.
type memoryUse struct {
	limit, peak int64
	kills       int64
}

// use says it in a sentence's own part.
func (m memoryUse) use() string {
	return fmt.Sprintf(": the limit is %d MiB, at most %d MiB were in use", m.limit>>20, m.peak>>20)
}

// readMemory reads a control group of either version. What is not there is 0.
func readMemory(group string) memoryUse {
	if group == "" {
		return memoryUse{}
	}
	read := func(names ...string) string {
		for _, name := range names {
			if text, err := os.ReadFile(filepath.Join(group, name)); err == nil {
				return string(text)
			}
		}
		return ""
	}
	return memoryUse{
		limit: bytesOf(read("memory.max", "memory.limit_in_bytes")),
		peak:  bytesOf(read("memory.peak", "memory.max_usage_in_bytes")),
		kills: killsOf(read("memory.events", "memory.oom_control")),
	}
}

func bytesOf(text string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64) // "max" is no limit
	return n
}

func killsOf(text string) int64 {
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return bytesOf(n)
		}
	}
	return 0
}
