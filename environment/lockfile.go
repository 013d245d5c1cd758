package environment

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// builderVersion is part of everything that is hashed. It changes when the
// same input would give another environment.
const builderVersion = 1

// lockedPackage is one line of a lock.
type lockedPackage struct {
	name    string // normalised
	version string // "" for one with an address
	url     string
	hashes  []string // "sha256:…", sorted
	built   string   // the key it was built under; "" for a wheel of an index
}

// renderLock writes a lock. Its bytes name the environment, so they hold all
// that makes it: the Python, the platform, and every package with its digests.
func renderLock(python Version, platform string, packages []lockedPackage) string {
	slices.SortFunc(packages, func(a, b lockedPackage) int { return cmp.Compare(a.name, b.name) })
	var b strings.Builder
	fmt.Fprintf(&b, "# environment lock, version %d\n# python %s\n# platform %s\n", builderVersion, python, platform)
	for _, p := range packages {
		if p.built != "" {
			fmt.Fprintf(&b, "%s%s %s\n", builtLine, p.name, p.built)
		}
		if p.url != "" {
			fmt.Fprintf(&b, "%s @ %s", p.name, p.url)
		} else {
			fmt.Fprintf(&b, "%s==%s", p.name, p.version)
		}
		for _, h := range p.hashes {
			fmt.Fprintf(&b, " \\\n    --hash=%s", h)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// builtLine starts the line before a package that was built from source.
const builtLine = "# built from source: "

// lockedFor reports whether a lock was made for an interpreter.
func lockedFor(lock string, i Interpreter) bool {
	return strings.HasPrefix(lock, renderLock(i.Version, i.Platform, nil))
}

var (
	lockLine = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?(?:==([^\s;\\]+)|\s*@\s*([^\s;\\]+))`)
	lockHash = regexp.MustCompile(`--hash=(sha256:[0-9a-f]{64})`)
)

// parseLock reads a lock, ours or one that uv wrote.
func parseLock(text string) ([]lockedPackage, error) {
	var packages []lockedPackage
	built := map[string]string{}
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if said, ok := strings.CutPrefix(line, builtLine); ok {
			if name, key, _ := strings.Cut(said, " "); hexDigest.MatchString(key) {
				built[name] = key
			}
		}
		if line == "" || line[0] == '#' || line[0] == '-' {
			continue
		}
		m := lockLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("reading lock: %q is not a package with a version", shorten(line))
		}
		p := lockedPackage{name: normalName(m[1]), version: m[2], url: m[3]}
		p.built = built[p.name]
		for _, h := range lockHash.FindAllStringSubmatch(line, -1) {
			p.hashes = append(p.hashes, h[1])
		}
		if len(p.hashes) == 0 {
			return nil, fmt.Errorf("reading lock: %s has no digest", p.name)
		}
		slices.Sort(p.hashes)
		p.hashes = slices.Compact(p.hashes)
		packages = append(packages, p)
	}
	return packages, nil
}
