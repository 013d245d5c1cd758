package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memory gives the sum of the proportional set sizes of the processes and of
// the shims that hold them, in bytes; nil when it cannot be known. A process
// that has ended meanwhile counts nothing.
func memory(pids []int) any {
	own := map[int]bool{}
	for _, pid := range pids {
		if pid <= 0 {
			continue
		}
		own[pid] = true
		if above := parentOf(pid); above > 1 && isSluice(above) {
			own[above] = true
		}
	}
	var sum int64
	known := false
	for pid := range own {
		if n, ok := pss(pid); ok {
			sum += n
			known = true
		}
	}
	if !known {
		return nil
	}
	return sum
}

// isSluice reports whether the process runs one of the two programs.
func isSluice(pid int) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	base := filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	return err == nil && (base == "sluice" || base == "sluice-runner")
}

func parentOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in brackets, may hold anything; the fields follow the last one.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	n, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return n
}

func pss(pid int) (int64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, false
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}
