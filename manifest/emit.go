package manifest

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// yaml gives the document as YAML in block style. Plain scalars stay as they
// were written where that is safe, everything else is quoted, so that reading
// the text gives the same tree.
func (n *node) yaml() []byte {
	var b bytes.Buffer
	n.emit(&b, 0)
	return b.Bytes()
}

// emit writes the value at the start of a line.
func (n *node) emit(b *bytes.Buffer, indent int) {
	switch {
	case n.kind == mappingNode && len(n.props) > 0:
		for i, p := range n.props {
			if i > 0 {
				writeIndent(b, indent)
			}
			b.WriteString(scalarText(p.name, false))
			b.WriteByte(':')
			p.value.emitAfter(b, indent, p.value.kind == sequenceNode)
		}
	case n.kind == sequenceNode && len(n.items) > 0:
		for i, item := range n.items {
			if i > 0 {
				writeIndent(b, indent)
			}
			b.WriteByte('-')
			if item.inline() {
				b.WriteByte(' ')
				b.WriteString(item.inlineText())
				b.WriteByte('\n')
				continue
			}
			b.WriteByte(' ')
			item.emit(b, indent+2)
		}
	default:
		b.WriteString(n.inlineText())
		b.WriteByte('\n')
	}
}

// emitAfter writes the value of a property: on the line when it fits there,
// else below. A list stands in the column of its key.
func (n *node) emitAfter(b *bytes.Buffer, indent int, list bool) {
	if n.inline() {
		b.WriteByte(' ')
		b.WriteString(n.inlineText())
		b.WriteByte('\n')
		return
	}
	b.WriteByte('\n')
	if !list {
		indent += 2
	}
	writeIndent(b, indent)
	n.emit(b, indent)
}

func writeIndent(b *bytes.Buffer, n int) { b.WriteString(strings.Repeat(" ", n)) }

func (n *node) inline() bool {
	return n.kind == scalarNode || len(n.items) == 0 && len(n.props) == 0
}

func (n *node) inlineText() string {
	switch n.kind {
	case mappingNode:
		return "{}"
	case sequenceNode:
		return "[]"
	}
	if n.isNull() {
		return "null"
	}
	return scalarText(n.text, n.plain)
}

var (
	// safePlain needs no quotes anywhere a block scalar may stand.
	safePlain = regexp.MustCompile(`^[A-Za-z0-9_/.$][A-Za-z0-9_/.$+=>~^@(),;!*-]*(:[A-Za-z0-9_/.$+=>~^@(),;!*-]+)*( [A-Za-z0-9_/.$+=>~^(),;*-]+)*$`)
	// otherKind looks like a number, a truth value, null or a date.
	otherKind = regexp.MustCompile(`(?i)^([-+.]?[0-9][-+0-9_.:exoabcdf tz]*|[-+]?\.(inf|nan)|true|false|yes|no|on|off|y|n|null|~|=|<<)$`)
	// plainNumber is a number or truth value as it may stand without quotes.
	plainNumber = regexp.MustCompile(`^[-+]?[0-9.][0-9a-zA-Z_.+-]*$`)
)

// scalarText gives a scalar as it is written. plain says that it may be taken
// for a number, a truth value or null, as it was where it came from.
func scalarText(s string, plain bool) string {
	switch {
	case plain && (safePlain.MatchString(s) || plainNumber.MatchString(s)):
		return s
	case !plain && safePlain.MatchString(s) && !otherKind.MatchString(s):
		return s
	}
	return strconv.Quote(s)
}

// sorted gives the tree with the properties of every mapping in order, which
// makes equal content equal text.
func (n *node) sorted() *node {
	out := *n
	out.items, out.props = nil, nil
	for _, item := range n.items {
		out.items = append(out.items, item.sorted())
	}
	for _, p := range n.props {
		p.value = p.value.sorted()
		out.props = append(out.props, p)
	}
	slices.SortStableFunc(out.props, func(a, b prop) int { return cmp.Compare(a.name, b.name) })
	return &out
}
