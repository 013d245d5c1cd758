package environment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// downloads is what is being downloaded, in words.
type downloads struct {
	size        map[string]int64 // in bytes, of each package that was begun
	now         []string         // those under way
	have, known int64            // bytes
}

// began notes a package with its size as a tool spells it.
func (d *downloads) began(name, size string) {
	d.size[name] = readSize(size)
	d.known += d.size[name]
	d.now = append(d.now, name)
}

func (d *downloads) ended(name string) {
	d.have += d.size[name]
	d.now = slices.DeleteFunc(d.now, func(n string) bool { return n == name })
}

// String names what is under way, and how much of all that is known is there.
func (d *downloads) String() string {
	names := strings.Join(d.now, ", ")
	if d.known == 0 {
		return names
	}
	return strings.TrimSpace(fmt.Sprintf("%.1f of %.1f MiB %s", float64(d.have)/(1<<20), float64(d.known)/(1<<20), names))
}

// readSize reads a size such as 17.4MiB; 0 for what is none.
func readSize(text string) int64 {
	for unit, factor := range map[string]float64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		number, ok := strings.CutSuffix(strings.TrimSpace(text), unit)
		if n, err := strconv.ParseFloat(strings.TrimSpace(number), 64); ok && err == nil && n >= 0 && n < 1<<20 {
			return int64(n * factor)
		}
	}
	return 0
}
