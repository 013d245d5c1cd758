package killpoint

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
)

// Call is one kind of durable step.
type Call struct {
	Program string // and its first word, where it has several: "sluice server"
	Name    string // of the system call, without the variants of it
	File    string // below the rig's folder, with * for what differs from run to run; "a -> b" for two
}

// String gives the call as messages name it.
func (c Call) String() string { return c.Program + ": " + c.Name + " " + c.File }

// Writes reports whether it is a call that can be done by half.
func (c Call) Writes() bool { return c.Name == "write" || c.Name == "pwrite" }

// Point is one of those calls: the Nth of its kind, from 1.
type Point struct {
	Call
	N int
}

// String names the point.
func (p Point) String() string { return fmt.Sprintf("%s #%d", p.Call, p.N) }

// random is what differs from run to run in a name, and drawn a name that is
// nothing else.
var (
	random = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{8,}|[0-9]+`)
	drawn  = regexp.MustCompile(`^([0-9a-f]{2}|[0-9a-z]{12,})$`)
)

// shape gives the kind of a file by its path.
func shape(path string) string {
	elems := strings.Split(filepath.ToSlash(path), "/")
	for i, e := range elems {
		if drawn.MatchString(e) {
			elems[i] = "*"
			continue
		}
		elems[i] = random.ReplaceAllString(e, "*")
	}
	return strings.Join(elems, "/")
}

// Sample gives, of every kind of call, the first, the last and so many others,
// drawn by seed. It keeps their order.
func Sample(points []Point, seed uint64, others int) []Point {
	last := map[Call]int{}
	for _, p := range points {
		last[p.Call] = max(last[p.Call], p.N)
	}
	chosen := map[Point]bool{}
	draw := rand.New(rand.NewPCG(seed, 0))
	for _, p := range points {
		n := last[p.Call]
		if p.N != 1 {
			continue
		}
		chosen[p], chosen[Point{p.Call, n}] = true, true
		for range others {
			chosen[Point{p.Call, 1 + draw.IntN(n)}] = true
		}
	}
	var out []Point
	for _, p := range points {
		if chosen[p] {
			out = append(out, p)
		}
	}
	return out
}

// Unsynced gives the renames and links that put a file in place, or a folder of
// files, which was written and not synced before: a machine that dies may have
// the name then and not the bytes. Files of one kind count as one.
func Unsynced(points []Point) (hasty []Point) {
	dirty := map[string]bool{}
	for _, p := range points {
		switch p.Name {
		case "fsync", "unlink":
			delete(dirty, p.File)
		case "rename", "link":
			from, _, _ := strings.Cut(p.File, " -> ")
			for file := range dirty {
				if file == from || strings.HasPrefix(file, from+"/") {
					hasty = append(hasty, p)
					break
				}
			}
		case "mkdir", "symlink", "create":
		default:
			dirty[p.File] = true
		}
	}
	return hasty
}
