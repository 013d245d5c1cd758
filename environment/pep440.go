package environment

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// release is a version of a package, as far as choosing a source needs it: the
// tools decide everything else.
type release struct {
	text    string
	epoch   int
	numbers []int
	// stage orders what shares the numbers: development, alpha, beta and
	// candidate before the release, which is 0, and what follows it after.
	stage, count int
}

var releaseForm = regexp.MustCompile(`(?i)^v?(?:(\d{1,4})!)?(\d{1,9}(?:\.\d{1,9}){0,9})(?:[-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?(\d{0,9}))?(?:(?:-|[-_.]?(post|rev|r)[-_.]?)(\d{1,9}))?(?:[-_.]?(dev)[-_.]?(\d{0,9}))?(?:\+[a-z0-9._-]*)?$`)

func parseRelease(text string) (release, bool) {
	m := releaseForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return release{}, false
	}
	r := release{text: text}
	r.epoch, _ = strconv.Atoi(m[1])
	for n := range strings.SplitSeq(m[2], ".") {
		i, _ := strconv.Atoi(n)
		r.numbers = append(r.numbers, i)
	}
	for len(r.numbers) > 1 && r.numbers[len(r.numbers)-1] == 0 {
		r.numbers = r.numbers[:len(r.numbers)-1]
	}
	switch {
	case m[3] != "":
		r.stage = map[byte]int{'a': -3, 'b': -2, 'c': -1, 'r': -1, 'p': -1}[strings.ToLower(m[3])[0]]
		r.count, _ = strconv.Atoi(m[4])
	case m[6] != "":
		r.stage = 1
		r.count, _ = strconv.Atoi(m[6])
	case m[7] != "":
		r.stage = -4
		r.count, _ = strconv.Atoi(m[8])
	}
	return r, true
}

func (r release) compare(o release) int {
	return cmp.Or(cmp.Compare(r.epoch, o.epoch), slices.Compare(r.numbers, o.numbers), cmp.Compare(r.stage, o.stage), cmp.Compare(r.count, o.count))
}

var specifierClause = regexp.MustCompile(`^(===|==|~=|!=|<=|>=|<|>)\s*([^\s,*]+?)(\.\*)?$`)

// satisfies reports whether a version meets a requirement's constraint, as far
// as it can be read; what cannot be is left to the tools.
func satisfies(r release, specifier string) bool {
	specifier, _, _ = strings.Cut(specifier, ";")
	pinned := false
	for clause := range strings.SplitSeq(strings.Trim(specifier, "() "), ",") {
		m := specifierClause.FindStringSubmatch(strings.TrimSpace(clause))
		if m == nil {
			continue
		}
		want, ok := parseRelease(m[2])
		if !ok {
			continue
		}
		pinned = pinned || want.stage < 0
		order := r.compare(want)
		prefix := m[3] != "" && hasPrefix(r, m[2])
		var holds bool
		switch m[1] {
		case "==", "===":
			holds = order == 0 || prefix
		case "!=":
			holds = order != 0 && !prefix
		case "<=":
			holds = order <= 0
		case ">=":
			holds = order >= 0
		case "<":
			holds = order < 0
		case ">":
			holds = order > 0
		case "~=":
			i := strings.LastIndexByte(m[2], '.')
			holds = order >= 0 && i > 0 && hasPrefix(r, m[2][:i])
		}
		if !holds {
			return false
		}
	}
	return pinned || r.stage >= 0
}

// hasPrefix reports whether a version's numbers begin with those written.
func hasPrefix(r release, written string) bool {
	for i, n := range strings.Split(written, ".") {
		want, err := strconv.Atoi(n)
		have := 0
		if i < len(r.numbers) {
			have = r.numbers[i]
		}
		if err != nil || have != want {
			return false
		}
	}
	return true
}
