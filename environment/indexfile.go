package environment

import (
	"net/url"
	"regexp"
	"strings"
)

// maxIndexFiles bounds the files of one package that are looked at.
const maxIndexFiles = 50_000

// indexFile is one file that the index has of a package.
type indexFile struct {
	version  string
	wheel    bool
	tags     [3]string // Python, ABI, platform; each may be several with dots between
	requires string    // Requires-Python
}

var (
	pipLink       = regexp.MustCompile(`^\s*(?:Found link|Skipping link|Link requires).*?(https?://\S+?|file:\S+?)(?:[#\s]|$)`)
	pipRequires   = regexp.MustCompile(`\(requires-python:\s*([^)]*)\)`)
	pipNotFetched = regexp.MustCompile(`Could not fetch URL (\S+): (.*?)(?: - skipping)?$`)
	wheelName     = regexp.MustCompile(`^([A-Za-z0-9_.]+)-([A-Za-z0-9_.+!]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl$`)
	sourceName    = regexp.MustCompile(`-(\d[^-/]*)\.(?:tar\.gz|zip|tar\.bz2)$`)
)

// readIndexFile reads what pip says of one file.
func readIndexFile(line string) (f indexFile, ok bool) {
	m := pipLink.FindStringSubmatch(line)
	if m == nil {
		return f, false
	}
	if r := pipRequires.FindStringSubmatch(line); r != nil {
		f.requires = strings.ReplaceAll(r[1], "&gt;", ">")
	}
	name := m[1][strings.LastIndexByte(m[1], '/')+1:]
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	if w := wheelName.FindStringSubmatch(name); w != nil {
		f.version, f.wheel, f.tags = w[2], true, [3]string{w[3], w[4], w[5]}
		return f, true
	}
	if s := sourceName.FindStringSubmatch(name); s != nil {
		f.version = s[1]
		return f, true
	}
	return f, false
}

// fits reports whether the file is a wheel for a Python on a platform, as
// sysconfig names it.
func (f indexFile) fits(python Version, platform string) bool {
	if !f.wheel || !fitsPlatform(f.tags[2], platform) {
		return false
	}
	if pin, err := parsePin(f.requires); err == nil && !pin.Accepts(python) {
		return false
	}
	digits := strings.ReplaceAll(python.Series(), ".", "")
	for tag := range strings.SplitSeq(f.tags[0], ".") {
		switch {
		case tag == "py3" || tag == "cp"+digits || tag == "py"+digits:
			return true
		case f.tags[1] == "abi3" && strings.HasPrefix(tag, "cp3"):
			least, err := parsePin(">=3." + strings.TrimPrefix(tag, "cp3"))
			if err == nil && least.Accepts(python) {
				return true
			}
		}
	}
	return false
}

// fitsPlatform reports whether one of a wheel's platforms is this one, as far
// as their names tell.
func fitsPlatform(tags, platform string) bool {
	arch := platform[strings.LastIndexByte(platform, '-')+1:]
	for tag := range strings.SplitSeq(tags, ".") {
		switch {
		case tag == "any":
			return true
		case strings.HasPrefix(platform, "linux"):
			if (strings.HasPrefix(tag, "manylinux") || strings.HasPrefix(tag, "linux")) && strings.HasSuffix(tag, "_"+arch) {
				return true
			}
		case strings.HasPrefix(platform, "macosx"):
			if strings.HasPrefix(tag, "macosx") && (strings.HasSuffix(tag, "_"+arch) || strings.HasSuffix(tag, "_universal2")) {
				return true
			}
		}
	}
	return false
}

var exactSpecifier = regexp.MustCompile(`==\s*([^\s,;]+)`)

// exactVersion gives the version that a requirement pins, "" for none.
func exactVersion(requirement string) string {
	if m := exactSpecifier.FindStringSubmatch(requirement); m != nil {
		return m[1]
	}
	return ""
}

// isVersion reports whether v is the version wanted, which may end in .*; any
// is when it is "".
func isVersion(v, wanted string) bool {
	prefix, open := strings.CutSuffix(wanted, "*")
	return wanted == "" || v == wanted || open && strings.HasPrefix(v+".", prefix)
}
