package environment

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/sluice-ml/sluice"
)

// Version is the version of a Python interpreter.
type Version struct {
	Major int `json:"major"`
	Minor int `json:"minor"`
	Patch int `json:"patch"`
}

// String gives the version with its patch.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Series gives the version without its patch: what wheels are made for.
func (v Version) Series() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Compare orders versions, as cmp.Compare does.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// The Pythons that the scoring server runs.
var (
	oldestPython = Version{3, 8, 0}
	newestPython = Version{3, 14, 0}
	// commonPython is preferred where a spec leaves the choice: nearly every
	// package has wheels for it.
	commonPython = Version{3, 12, 0}
)

// Pin says which Pythons a spec accepts. The zero value accepts every one.
type Pin struct {
	text    string
	clauses []clause
}

type clause struct {
	op string // "=", "!=", "<", "<=", ">", ">="
	v  []int  // one to three numbers; "=" matches by prefix
}

// String gives the pin as it was written.
func (p Pin) String() string { return p.text }

var pinClause = regexp.MustCompile(`^(==|=|!=|<=|>=|<|>|~=)?\s*(\d{1,3}(?:\.\d{1,3}){0,2})(\.\*|\*)?$`)

// parsePin reads a version constraint of conda or pip on Python itself.
func parsePin(text string) (Pin, error) {
	text = strings.TrimSpace(text)
	p := Pin{text: strings.TrimLeft(text, "= ")}
	if text == "" || text == "*" {
		return Pin{}, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		m := pinClause.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return p, sluice.Errorf(sluice.CodeInvalid, "python %q is not a version that can be pinned", text).
				WithHint("write python=3.11, or a range such as python>=3.10,<3.13")
		}
		c := clause{op: m[1]}
		for n := range strings.SplitSeq(m[2], ".") {
			i, _ := strconv.Atoi(n)
			c.v = append(c.v, i)
		}
		switch c.op {
		case "", "==":
			c.op = "="
		case "~=":
			// ~=3.10 is >=3.10 and 3.*; ~=3.10.2 is >=3.10.2 and 3.10.*
			if len(c.v) > 1 {
				p.clauses = append(p.clauses, clause{"=", c.v[:len(c.v)-1]})
			}
			c.op = ">="
		}
		p.clauses = append(p.clauses, c)
	}
	return p, nil
}

// Accepts reports whether the pin holds for v.
func (p Pin) Accepts(v Version) bool {
	for _, c := range p.clauses {
		if !c.accepts(v) {
			return false
		}
	}
	return true
}

func (c clause) accepts(v Version) bool {
	have := []int{v.Major, v.Minor, v.Patch}
	order := 0
	for i, n := range c.v {
		if order = cmp.Compare(have[i], n); order != 0 {
			break
		}
	}
	switch c.op {
	case "=":
		return order == 0
	case "!=":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0 // ">="
}

// wanted gives the version that the pin is about, for finding the nearest.
func (p Pin) wanted() Version {
	v := commonPython
	for _, c := range p.clauses {
		v = Version{Major: c.v[0], Minor: commonPython.Minor}
		if len(c.v) > 1 {
			v.Minor = c.v[1]
		}
		if len(c.v) > 2 {
			v.Patch = c.v[2]
		}
		if c.op == "<" && len(c.v) == 2 {
			v.Minor--
		}
		if c.op == "=" {
			break
		}
	}
	return v
}

// anyPatch gives the pin with the patches of its "=" clauses left open, and
// whether that changed it.
func (p Pin) anyPatch() (Pin, bool) {
	loose := Pin{text: p.text}
	changed := false
	for _, c := range p.clauses {
		if c.op == "=" && len(c.v) == 3 {
			c.v = c.v[:2]
			changed = true
		}
		loose.clauses = append(loose.clauses, c)
	}
	return loose, changed
}
