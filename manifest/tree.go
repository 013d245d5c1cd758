package manifest

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/sluice-ml/sluice"
)

// treeBuilder turns the parser's tree into nodes.
type treeBuilder struct {
	file    string
	lines   []byte // the whole text, for quoting a line
	anchors map[string]*node
	nodes   int
}

func (p *treeBuilder) build(n ast.Node, depth int) (*node, error) {
	p.nodes++
	if p.nodes > maxNodes || depth > 2*maxDepth {
		return nil, p.failAt(n.GetToken(), "aliases make the document too large", "write the values out instead")
	}
	at := p.at(n.GetToken())
	switch n := n.(type) {
	case *ast.MappingNode:
		return p.buildMapping(n.Values, at, depth)
	case *ast.MappingValueNode:
		return p.buildMapping([]*ast.MappingValueNode{n}, at, depth)
	case *ast.SequenceNode:
		out := &node{kind: sequenceNode, at: at}
		for _, v := range n.Values {
			item, err := p.build(v, depth+1)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, item)
		}
		return out, nil
	case *ast.AnchorNode:
		return p.buildAnchor(n, depth)
	case *ast.AliasNode:
		return p.buildAlias(n)
	case *ast.TagNode:
		return p.buildTag(n, depth)
	case *ast.LiteralNode:
		return &node{kind: scalarNode, text: n.Value.Value, at: at}, nil
	case *ast.StringNode:
		quoted := n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType
		if !quoted && strings.Contains(n.Value, ": ") {
			// The parser takes a line that is indented wrongly for more text.
			return nil, p.failAt(n.GetToken(), "the YAML does not parse at "+quoteShort(n.Value)+": a text without quotes holds ': '",
				"check how the lines are indented, or put the text into quotes")
		}
		return &node{kind: scalarNode, text: n.Value, plain: !quoted, at: at}, nil
	case *ast.NullNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return &node{kind: scalarNode, text: strings.TrimSpace(n.GetToken().Value), plain: true, at: at}, nil
	}
	return nil, p.failAt(n.GetToken(), "this kind of value is not used in a manifest", "")
}

func (p *treeBuilder) buildMapping(values []*ast.MappingValueNode, at place, depth int) (*node, error) {
	out := &node{kind: mappingNode, at: at}
	if len(values) > 0 {
		out.at = p.at(values[0].Key.GetToken())
	}
	seen := make(map[string]place, len(values))
	var merged []*node
	for _, mv := range values {
		value, err := p.build(mv.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if mv.Key.IsMergeKey() {
			more, err := p.mergeSources(value)
			if err != nil {
				return nil, err
			}
			merged = append(merged, more...)
			continue
		}
		key, err := p.build(mv.Key, depth+1)
		if err != nil {
			return nil, err
		}
		if key.kind != scalarNode {
			return nil, p.failAt(mv.Key.GetToken(), "a key must be a plain word", "write key: value")
		}
		if first, twice := seen[key.text]; twice {
			return nil, p.fail(key.at, fmt.Sprintf("%s stands twice: first on line %d, again on line %d",
				quoteShort(key.text), first.line, key.at.line), "keep one of the two")
		}
		seen[key.text] = key.at
		out.props = append(out.props, prop{name: key.text, at: key.at, value: value})
	}
	addMerged(out, seen, merged)
	return out, nil
}

// mergeSources gives the mappings that a merge key (<<) names.
func (p *treeBuilder) mergeSources(value *node) ([]*node, error) {
	sources := []*node{value}
	if value.kind == sequenceNode {
		sources = value.items
	}
	for _, s := range sources {
		if s.kind != mappingNode {
			return nil, p.fail(s.at, "<< merges "+s.describe(), "<< takes a mapping or a list of mappings, for example <<: *defaults")
		}
	}
	return sources, nil
}

// addMerged adds what merge keys bring: a property written in the mapping
// itself wins, then the earliest source.
func addMerged(out *node, seen map[string]place, sources []*node) {
	for _, s := range sources {
		for _, more := range s.props {
			if _, there := seen[more.name]; there {
				continue
			}
			seen[more.name] = more.at
			out.props = append(out.props, more)
		}
	}
}

func (p *treeBuilder) buildAnchor(n *ast.AnchorNode, depth int) (*node, error) {
	value, err := p.build(n.Value, depth)
	if err != nil {
		return nil, err
	}
	// Only now does the name exist, so that a value cannot contain itself.
	p.anchors[n.Name.GetToken().Value] = value
	return value, nil
}

func (p *treeBuilder) buildAlias(n *ast.AliasNode) (*node, error) {
	name := n.Value.GetToken().Value
	target, ok := p.anchors[name]
	if !ok {
		names := make([]string, 0, len(p.anchors))
		for known := range p.anchors {
			names = append(names, known)
		}
		hint := "define it above with &" + shorten(name)
		if near := sluice.Nearest(name, names, 1); len(near) > 0 {
			hint = "did you mean *" + near[0] + "?"
		}
		return nil, p.failAt(n.GetToken(), "no anchor is named "+quoteShort(name), hint)
	}
	copied := p.copy(target)
	if copied == nil {
		return nil, p.failAt(n.GetToken(), "aliases make the document too large", "write the values out instead")
	}
	return copied, nil
}

// copy copies a tree against the budget of nodes; nil when that is used up.
func (p *treeBuilder) copy(n *node) *node {
	p.nodes++
	if p.nodes > maxNodes {
		return nil
	}
	out := *n
	out.items, out.props = nil, nil
	for _, item := range n.items {
		c := p.copy(item)
		if c == nil {
			return nil
		}
		out.items = append(out.items, c)
	}
	for _, f := range n.props {
		if f.value = p.copy(f.value); f.value == nil {
			return nil
		}
		out.props = append(out.props, f)
	}
	return &out
}

// buildTag understands the tags of the core schema, which change nothing but
// whether a scalar is taken for a string.
func (p *treeBuilder) buildTag(n *ast.TagNode, depth int) (*node, error) {
	tag := n.Start.Value
	switch tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!":
	default:
		return nil, p.failAt(n.GetToken(), "the tag "+quoteShort(tag)+" is not used in a manifest", "leave the tag out")
	}
	if n.Value == nil {
		return &node{kind: scalarNode, plain: tag != "!!str", at: p.at(n.GetToken())}, nil
	}
	value, err := p.build(n.Value, depth+1)
	if err != nil {
		return nil, err
	}
	if value.kind == scalarNode && (tag == "!!str" || tag == "!") {
		value.plain = false
	}
	return value, nil
}
