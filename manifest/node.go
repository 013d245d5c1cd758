package manifest

import (
	"slices"
	"strings"
)

// node is one value of a document, with the place it was written at. A tree
// of nodes has no sharing: every alias was copied when the text was read.
type node struct {
	kind  nodeKind
	text  string  // of a scalar, as written (escapes of quoted ones resolved)
	plain bool    // a scalar without quotes: it may be a number, a truth value or null
	items []*node // of a sequence
	props []prop  // of a mapping, in the order written
	at    place
}

type nodeKind uint8

const (
	scalarNode nodeKind = iota
	mappingNode
	sequenceNode
)

// prop is one property of a mapping.
type prop struct {
	name  string
	at    place // of the name
	value *node
}

// place is where a value was written: in a file, or in a flag.
type place struct {
	file      string
	line, col int
	flag      string // "--set traffic.blue"; file is "" then
}

func textNode(text string, at place) *node { return &node{kind: scalarNode, text: text, at: at} }

func (n *node) isNull() bool {
	if n == nil {
		return true
	}
	if n.kind != scalarNode || !n.plain {
		return false
	}
	switch n.text {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

// empty reports whether the value says nothing: null, {} or [].
func (n *node) empty() bool {
	return n.isNull() || n.kind == mappingNode && len(n.props) == 0 || n.kind == sequenceNode && len(n.items) == 0
}

// index gives where the property stands in the mapping, -1 when it does not.
func (n *node) index(name string) int {
	return slices.IndexFunc(n.props, func(p prop) bool { return p.name == name })
}

// get gives the value of a property, nil when n is no mapping or has none.
func (n *node) get(name string) *node {
	if n == nil || n.kind != mappingNode {
		return nil
	}
	if i := n.index(name); i >= 0 {
		return n.props[i].value
	}
	return nil
}

// find follows a dotted path of property names.
func (n *node) find(path string) *node {
	for n != nil {
		// A name may hold dots itself: properties."azureml.unpack".
		if whole := n.get(path); whole != nil {
			return whole
		}
		name, rest, more := strings.Cut(path, ".")
		if !more {
			return nil
		}
		n, path = n.get(name), rest
	}
	return nil
}

// put sets a property, in place when it is there already.
func (n *node) put(name string, at place, value *node) {
	if i := n.index(name); i >= 0 {
		n.props[i].at, n.props[i].value = at, value
		return
	}
	n.props = append(n.props, prop{name: name, at: at, value: value})
}

// describe names the value in a message, shortened.
func (n *node) describe() string {
	switch {
	case n.kind == mappingNode:
		return "a mapping"
	case n.kind == sequenceNode:
		return "a list"
	case n.isNull():
		return "empty"
	}
	return quoteShort(n.text)
}

// replaced are the properties that a merge takes whole: a split that names
// only green must not leave traffic on blue.
var replaced = map[string]bool{"traffic": true, "mirror_traffic": true}

// merge lays over on top of base and gives the result: mappings property by
// property, anything else replaced. A null takes the property away.
func merge(base, over *node) *node {
	if base == nil || base.kind != mappingNode || over.kind != mappingNode {
		return over
	}
	out := *base
	out.at = over.at
	out.props = slices.Clone(base.props)
	for _, p := range over.props {
		i := out.index(p.name)
		switch {
		case i < 0:
			out.props = append(out.props, p)
		case p.value.isNull():
			out.props = slices.Delete(out.props, i, i+1)
		case replaced[p.name]:
			out.props[i] = p
		default:
			out.props[i] = prop{name: p.name, at: p.at, value: merge(out.props[i].value, p.value)}
		}
	}
	return &out
}
