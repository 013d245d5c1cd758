package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluice-ml/sluice"
)

// Patch is one change to a document, made with --set, --add or --remove.
// Patches apply in the order given. A path is dotted, with list indices
// (a.b[0].c); a name that holds dots stands in double quotes (properties."a.b").
type Patch struct {
	op     string // "--set", "--add", "--remove"
	path   []step
	value  *node
	remove int // index for --remove, -1 without
}

// step is one part of a path: a property, or an index when name is "".
type step struct {
	name  string
	index int
}

// ParseSet reads the argument of --set, path=value. The value is a JSON
// literal, else text; forceText takes it as text always.
func ParseSet(arg string, forceText bool) (Patch, error) {
	path, value, ok := cutPath(arg)
	if !ok {
		return Patch{}, badFlag("--set", "%s has no =: write --set path=value", quoteShort(arg))
	}
	steps, err := parsePath("--set", path)
	if err != nil {
		return Patch{}, err
	}
	n, err := flagValue(value, place{flag: "--set " + shorten(path)}, forceText)
	return Patch{op: "--set", path: steps, value: n, remove: -1}, err
}

// ParseAdd reads the arguments of one --add: a path to a list, then what to
// append to it: a JSON literal, text, or key=value pairs that make one mapping
// (or are added to the mapping the path leads to).
func ParseAdd(args []string, forceText bool) (Patch, error) {
	if len(args) == 1 {
		if path, value, ok := cutPath(args[0]); ok {
			args = []string{path, value}
		}
	}
	if len(args) < 2 {
		return Patch{}, badFlag("--add", "it needs a path and a value: write --add path value, or --add path key=value")
	}
	steps, err := parsePath("--add", args[0])
	if err != nil {
		return Patch{}, err
	}
	at := place{flag: "--add " + shorten(args[0])}
	value := &node{kind: mappingNode, at: at}
	for _, arg := range args[1:] {
		key, text, pair := cutPath(arg)
		if !pair || json.Valid([]byte(arg)) {
			if len(args) > 2 {
				return Patch{}, badFlag("--add", "%s is not key=value", quoteShort(arg))
			}
			n, err := flagValue(arg, at, forceText)
			return Patch{op: "--add", path: steps, value: n, remove: -1}, err
		}
		n, err := flagValue(text, at, forceText)
		if err != nil {
			return Patch{}, err
		}
		value.put(strings.Trim(key, `"`), at, n)
	}
	return Patch{op: "--add", path: steps, value: value, remove: -1}, nil
}

// ParseRemove reads the arguments of one --remove: a path, and for a list the
// index of the item to take out.
func ParseRemove(args []string) (Patch, error) {
	if len(args) < 1 || len(args) > 2 {
		return Patch{}, badFlag("--remove", "it needs a path and, for a list, an index")
	}
	steps, err := parsePath("--remove", args[0])
	if err != nil {
		return Patch{}, err
	}
	p := Patch{op: "--remove", path: steps, remove: -1}
	if len(args) == 2 {
		i, err := strconv.Atoi(args[1])
		if err != nil || i < 0 {
			return Patch{}, badFlag("--remove", "%s is not an index: expected a whole number of at least 0", quoteShort(args[1]))
		}
		p.remove = i
	}
	return p, nil
}

func badFlag(flag, format string, args ...any) error {
	c := place{flag: flag}.cause(sluice.CauseBadValue, "", format, args...)
	return &sluice.Error{Code: sluice.CodeInvalid, Message: c.Message, Target: flag, Cause: c}
}

// cutPath cuts at the first = outside quotes.
func cutPath(arg string) (path, value string, ok bool) {
	quoted := false
	for i := range len(arg) {
		switch {
		case arg[i] == '"':
			quoted = !quoted
		case arg[i] == '=' && !quoted:
			return arg[:i], arg[i+1:], true
		}
	}
	return arg, "", false
}

// flagValue reads what stands after the =: JSON when it is JSON, else text. A
// number or truth value keeps its source text.
func flagValue(value string, at place, forceText bool) (*node, error) {
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		return nil, badFlag(at.flag, "the value is not text")
	}
	if forceText || !json.Valid([]byte(value)) {
		return textNode(value, at), nil
	}
	n, err := parse("", []byte(value)) // JSON is YAML
	if err != nil {
		return nil, badFlag(at.flag, "%s", strings.TrimPrefix(err.Error(), ":"))
	}
	n.walk(func(n *node) {
		n.at = at
		for i := range n.props {
			n.props[i].at = at
		}
	})
	return n, nil
}

// walk visits n and everything below it.
func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, item := range n.items {
		item.walk(visit)
	}
	for _, p := range n.props {
		p.value.walk(visit)
	}
}

func parsePath(flag, path string) ([]step, error) {
	bad := func(why string) ([]step, error) {
		return nil, badFlag(flag, "%s is not a path: %s; write for example tags.team or data[0].name", quoteShort(path), why)
	}
	if !utf8.ValidString(path) || strings.ContainsRune(path, 0) {
		return bad("it is not text")
	}
	var steps []step
	for rest := path; ; {
		switch {
		case rest == "":
			return bad("a name is missing")
		case rest[0] == '[' && len(steps) > 0:
			inside, after, ok := strings.Cut(rest[1:], "]")
			i, err := strconv.Atoi(inside)
			if !ok || err != nil || i < 0 || i > maxNodes {
				return bad("an index is a whole number in brackets")
			}
			steps, rest = append(steps, step{index: i}), after
		case rest[0] == '"':
			name, after, ok := strings.Cut(rest[1:], `"`)
			if !ok || name == "" {
				return bad("a quote is not closed")
			}
			steps, rest = append(steps, step{name: name}), after
		default:
			end := strings.IndexAny(rest, `.[]"`)
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return bad("a name is missing")
			}
			steps, rest = append(steps, step{name: rest[:end]}), rest[end:]
		}
		if len(steps) > maxDepth {
			return bad("it is too long")
		}
		if rest == "" {
			return steps, nil
		}
		if rest[0] == '.' {
			rest = rest[1:]
			if strings.HasPrefix(rest, "[") {
				return bad("an index follows its list directly")
			}
		} else if rest[0] != '[' {
			return bad("names are separated by dots")
		}
	}
}

// apply makes the change to the document.
func (p Patch) apply(root *node) error {
	at := place{flag: p.op + " " + pathText(p.path)}
	last := len(p.path) - 1
	n := root
	for i, s := range p.path[:last] {
		next, err := n.enter(s, p.path[i+1], at, p.op != "--remove")
		if err != nil {
			return err
		}
		if next == nil {
			return noSuch(at, pathText(p.path[:i+1]))
		}
		n = next
	}
	switch p.op {
	case "--set":
		return n.assign(p.path[last], p.value, at)
	case "--add":
		return p.add(n, at)
	}
	return p.takeOut(n, at)
}

// enter goes one step down. With create, what is absent or no container comes
// into being with the shape the step after asks for.
func (n *node) enter(s, after step, at place, create bool) (*node, error) {
	child, err := n.child(s, at)
	if err != nil || !create || child != nil && child.kind != scalarNode {
		return child, err
	}
	child = &node{kind: mappingNode, at: at}
	if after.name == "" {
		child.kind = sequenceNode
	}
	return child, n.assign(s, child, at)
}

// child gives the value at a step, nil when it is absent.
func (n *node) child(s step, at place) (*node, error) {
	switch {
	case s.name != "" && n.kind == mappingNode:
		return n.get(s.name), nil
	case s.name == "" && n.kind == sequenceNode:
		if s.index < len(n.items) {
			return n.items[s.index], nil
		}
		return nil, nil
	}
	return nil, mismatch(s, n, at)
}

func mismatch(s step, n *node, at place) error {
	if s.name == "" {
		return at.cause(sluice.CauseBadValue, "", "[%d] asks for an item, but there is %s", s.index, n.describe())
	}
	return at.cause(sluice.CauseBadValue, "", "%s asks for a property, but there is %s", s.name, n.describe())
}

func noSuch(at place, path string) error {
	return at.cause(sluice.CauseBadValue, "", "there is no %s", path)
}

// assign sets the value at a step; an index one past the end appends.
func (n *node) assign(s step, value *node, at place) error {
	switch {
	case s.name != "" && n.kind == mappingNode:
		n.put(s.name, at, value)
	case s.name == "" && n.kind == sequenceNode && s.index < len(n.items):
		n.items[s.index] = value
	case s.name == "" && n.kind == sequenceNode && s.index == len(n.items):
		n.items = append(n.items, value)
	case s.name == "" && n.kind == sequenceNode:
		return at.cause(sluice.CauseBadValue, "", "[%d] is past the end: the list has %d items", s.index, len(n.items))
	default:
		return mismatch(s, n, at)
	}
	return nil
}

func (p Patch) add(n *node, at place) error {
	last := p.path[len(p.path)-1]
	target, err := n.child(last, at)
	if err != nil {
		return err
	}
	switch {
	case target.isNull() && p.value.kind == mappingNode && mapProperties[last.name]:
		return n.assign(last, p.value, at)
	case target.isNull():
		return n.assign(last, &node{kind: sequenceNode, items: []*node{p.value}, at: at}, at)
	case target.kind == sequenceNode:
		target.items = append(target.items, p.value)
	case target.kind == mappingNode && p.value.kind == mappingNode:
		for _, more := range p.value.props {
			target.put(more.name, at, more.value)
		}
	default:
		return at.cause(sluice.CauseBadValue, "", "it is %s: --add appends to a list or adds key=value to a mapping", target.describe())
	}
	return nil
}

// mapProperties are the properties that hold a mapping of the user's own
// names: --add to an absent one begins a mapping, to any other a list.
var mapProperties = map[string]bool{"tags": true, "properties": true, "traffic": true, "mirror_traffic": true,
	"environment_variables": true, "flavors": true, "collections": true}

func (p Patch) takeOut(n *node, at place) error {
	last := p.path[len(p.path)-1]
	target, err := n.child(last, at)
	if err != nil {
		return err
	}
	if target == nil {
		return noSuch(at, pathText(p.path))
	}
	if p.remove >= 0 {
		if target.kind != sequenceNode || p.remove >= len(target.items) {
			what := target.describe()
			if target.kind == sequenceNode {
				what = "a list of " + strconv.Itoa(len(target.items))
			}
			return at.cause(sluice.CauseBadValue, "", "there is no item %d: it is %s", p.remove, what)
		}
		target.items = slices.Delete(target.items, p.remove, p.remove+1)
		return nil
	}
	if last.name == "" {
		n.items = slices.Delete(n.items, last.index, last.index+1)
		return nil
	}
	i := n.index(last.name)
	n.props = slices.Delete(n.props, i, i+1)
	return nil
}

// pathText gives a path as it is typed.
func pathText(path []step) string {
	var b strings.Builder
	for _, s := range path {
		switch {
		case s.name == "":
			fmt.Fprintf(&b, "[%d]", s.index)
			continue
		case b.Len() > 0:
			b.WriteByte('.')
		}
		if strings.ContainsAny(s.name, ".[]=") {
			fmt.Fprintf(&b, "%q", s.name)
		} else {
			b.WriteString(s.name)
		}
	}
	return shorten(b.String())
}
