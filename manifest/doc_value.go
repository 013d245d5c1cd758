package manifest

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// Doc is an object as `show` prints it: fields in the order a person reads
// them. Its values are string, bool, int, float64, nil, []string, []any, Doc
// and map[string]string. It is never altered after it was made.
type Doc []Field

// Field is one field of a [Doc].
type Field struct {
	Name  string
	Value any
}

// Get gives the value of a field, nil when there is none.
func (d Doc) Get(name string) any {
	for _, f := range d {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

// MarshalJSON keeps the order of the fields.
func (d Doc) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, f := range d {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(f.Name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(f.Value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// YAML gives the document as YAML that the readers of this package accept.
func (d Doc) YAML() []byte { return d.node().yaml() }

// MarshalYAML makes a Doc print the same way through a YAML encoder.
func (d Doc) MarshalYAML() ([]byte, error) { return d.YAML(), nil }

// Map gives the document as plain maps and slices, for queries. Their order
// is lost.
func (d Doc) Map() map[string]any {
	out := make(map[string]any, len(d))
	for _, f := range d {
		out[f.Name] = plainValue(f.Value)
	}
	return out
}

func plainValue(v any) any {
	switch v := v.(type) {
	case Doc:
		return v.Map()
	case map[string]string:
		out := make(map[string]any, len(v))
		for k, s := range v {
			out[k] = s
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = s
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = plainValue(item)
		}
		return out
	case int:
		return float64(v) // as JSON would have it
	}
	return v
}

var currentObject = place{flag: "the current object"}

// node gives the document as the tree that the readers read.
func (d Doc) node() *node {
	n := &node{kind: mappingNode, at: currentObject}
	for _, f := range d {
		n.props = append(n.props, prop{name: f.Name, at: currentObject, value: valueNode(f.Value)})
	}
	return n
}

func valueNode(v any) *node {
	literal := func(s string) *node { return &node{kind: scalarNode, text: s, plain: true, at: currentObject} }
	switch v := v.(type) {
	case nil:
		return literal("null")
	case string:
		return textNode(v, currentObject)
	case bool:
		return literal(strconv.FormatBool(v))
	case int:
		return literal(strconv.Itoa(v))
	case float64:
		return literal(strconv.FormatFloat(v, 'g', -1, 64))
	case Doc:
		return v.node()
	case map[string]string:
		n := &node{kind: mappingNode, at: currentObject}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n.props = append(n.props, prop{name: k, at: currentObject, value: textNode(v[k], currentObject)})
		}
		return n
	case []string:
		n := &node{kind: sequenceNode, at: currentObject}
		for _, s := range v {
			n.items = append(n.items, textNode(s, currentObject))
		}
		return n
	case []any:
		n := &node{kind: sequenceNode, at: currentObject}
		for _, item := range v {
			n.items = append(n.items, valueNode(item))
		}
		return n
	}
	panic("manifest: a Doc holds no value of this type")
}

// value gives a tree as the values of a Doc.
func (n *node) value() any {
	switch n.kind {
	case mappingNode:
		d := make(Doc, 0, len(n.props))
		for _, p := range n.props {
			d = append(d, Field{p.name, p.value.value()})
		}
		return d
	case sequenceNode:
		items := make([]any, 0, len(n.items))
		for _, item := range n.items {
			items = append(items, item.value())
		}
		return items
	}
	if n.isNull() {
		return nil
	}
	return n.text
}
