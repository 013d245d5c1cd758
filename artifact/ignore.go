package artifact

import (
	"strings"
)

// alwaysIgnored are names that are never part of a model or code, whatever an
// ignore file says.
var alwaysIgnored = map[string]bool{
	".git":               true,
	"__pycache__":        true,
	".ipynb_checkpoints": true,
	".DS_Store":          true,
}

// ignoreRule is one line of an ignore file, in git's syntax.
type ignoreRule struct {
	negate   bool     // "!": what matches is not ignored after all
	dirOnly  bool     // ends with "/": matches folders only
	segments []string // glob per path segment; "**" stands for any number of them
}

// parseIgnore reads an ignore file. No text is an error: a line that cannot
// match anything matches nothing, as with git.
func parseIgnore(text string) []ignoreRule {
	var rules []ignoreRule
	text = strings.TrimPrefix(text, "\ufeff")
	for line := range strings.SplitSeq(text, "\n") {
		if r, ok := parseIgnoreLine(strings.TrimSuffix(line, "\r")); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

func parseIgnoreLine(line string) (ignoreRule, bool) {
	line = trimTrailingSpaces(line)
	if line == "" || line[0] == '#' {
		return ignoreRule{}, false
	}
	var r ignoreRule
	if line[0] == '!' {
		r.negate = true
		line = line[1:]
	}
	if strings.HasSuffix(line, "/") {
		r.dirOnly = true
		line = line[:len(line)-1]
	}
	anchored := strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return ignoreRule{}, false
	}
	if !anchored {
		r.segments = []string{"**", line}
		return r, true
	}
	r.segments = strings.Split(line, "/")
	if last := len(r.segments) - 1; r.segments[last] == "**" {
		// "a/**" is everything below a, and not a itself.
		r.segments = append(r.segments, "*")
	}
	return r, true
}

// trimTrailingSpaces removes spaces at the end, but one that is quoted with a
// backslash.
func trimTrailingSpaces(s string) string {
	end := len(s)
	for end > 0 && s[end-1] == ' ' {
		end--
	}
	if end == len(s) {
		return s
	}
	slashes := 0
	for i := end; i > 0 && s[i-1] == '\\'; i-- {
		slashes++
	}
	if slashes%2 == 1 {
		end++
	}
	return s[:end]
}

// matches reports whether the rule speaks of the path, given by its segments
// relative to the ignore file's folder.
func (r ignoreRule) matches(path []string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	return matchSegments(r.segments, path)
}

// matchSegments matches a path against globs, "**" being any number of
// segments. Going back to the last "**" only is enough, and keeps the work
// bounded by the product of the lengths.
func matchSegments(globs, path []string) bool {
	g, p := 0, 0
	starG, starP := -1, 0
	for p < len(path) {
		switch {
		case g < len(globs) && globs[g] == "**":
			starG, starP = g, p
			g++
		case g < len(globs) && matchGlob(globs[g], path[p]):
			g, p = g+1, p+1
		case starG >= 0:
			starP++
			g, p = starG+1, starP
		default:
			return false
		}
	}
	for g < len(globs) && globs[g] == "**" {
		g++
	}
	return g == len(globs)
}

// matchGlob matches one name against a glob with *, ?, […] and backslash
// quoting. A malformed glob matches nothing.
func matchGlob(glob, name string) bool {
	g, n := 0, 0
	starG, starN := -1, 0
	for n < len(name) {
		if g < len(glob) && glob[g] == '*' {
			starG, starN = g, n
			g++
			continue
		}
		if width, ok := matchOne(glob[g:], name[n]); ok {
			g, n = g+width, n+1
			continue
		}
		if starG < 0 {
			return false
		}
		starN++
		g, n = starG+1, starN
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}

// matchOne matches one byte against the start of glob, and gives how much of
// glob that used.
func matchOne(glob string, c byte) (width int, ok bool) {
	if glob == "" {
		return 0, false
	}
	switch glob[0] {
	case '?':
		return 1, true
	case '[':
		return matchClass(glob, c)
	case '\\':
		if len(glob) == 1 {
			return 0, false
		}
		return 2, glob[1] == c
	}
	return 1, glob[0] == c
}

// matchClass matches one byte against a bracket expression, with ranges,
// negation by ! or ^, and the named classes of POSIX.
func matchClass(glob string, c byte) (width int, ok bool) {
	i, negate, found := 1, false, false
	if i < len(glob) && (glob[i] == '!' || glob[i] == '^') {
		negate = true
		i++
	}
	for first := true; ; first = false {
		if i >= len(glob) {
			return 0, false
		}
		if glob[i] == ']' && !first {
			break
		}
		if strings.HasPrefix(glob[i:], "[:") {
			if end := strings.Index(glob[i+2:], ":]"); end >= 0 {
				in, known := inNamedClass(glob[i+2:i+2+end], c)
				if !known {
					return 0, false
				}
				found = found || in
				i += end + 4
				continue
			}
		}
		low, next, ok := classByte(glob, i)
		if !ok {
			return 0, false
		}
		high := low
		if next+1 < len(glob) && glob[next] == '-' && glob[next+1] != ']' {
			if high, next, ok = classByte(glob, next+1); !ok {
				return 0, false
			}
		}
		found = found || low <= c && c <= high
		i = next
	}
	return i + 1, found != negate
}

// classByte gives one byte of a bracket expression, unquoted, and where the
// next begins.
func classByte(glob string, i int) (b byte, next int, ok bool) {
	if glob[i] == '\\' {
		i++
		if i >= len(glob) {
			return 0, 0, false
		}
	}
	return glob[i], i + 1, true
}

func inNamedClass(name string, c byte) (in, known bool) {
	lower, upper := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z'
	digit := '0' <= c && c <= '9'
	graph := '!' <= c && c <= '~'
	switch name {
	case "alpha":
		return lower || upper, true
	case "digit":
		return digit, true
	case "alnum":
		return lower || upper || digit, true
	case "lower":
		return lower, true
	case "upper":
		return upper, true
	case "space":
		return c == ' ' || '\t' <= c && c <= '\r', true
	case "blank":
		return c == ' ' || c == '\t', true
	case "punct":
		return graph && !lower && !upper && !digit, true
	case "graph":
		return graph, true
	case "print":
		return graph || c == ' ', true
	case "cntrl":
		return c < ' ' || c == 0x7f, true
	case "xdigit":
		return digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F', true
	}
	return false, false
}

// ignores is the ignore files that hold at one place: of the folder scanned
// and of the folders on the way down.
type ignores []ignoreFile

type ignoreFile struct {
	depth int // how many segments below the scanned folder it lies
	rules []ignoreRule
}

// ignored reports whether a path, by its segments relative to the scanned
// folder, is left out. The deepest file that speaks of it decides, and in it
// the last rule. Folders above it are not asked: the scan does not enter a
// folder that is ignored.
func (g ignores) ignored(path []string, dir bool) bool {
	if alwaysIgnored[path[len(path)-1]] {
		return true
	}
	for i := len(g) - 1; i >= 0; i-- {
		rules := g[i].rules
		for j := len(rules) - 1; j >= 0; j-- {
			if rules[j].matches(path[g[i].depth:], dir) {
				return !rules[j].negate
			}
		}
	}
	return false
}
