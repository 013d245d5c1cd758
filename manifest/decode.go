package manifest

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-ml/sluice"
)

// decoder reads nodes into values and collects what is wrong on the way.
type decoder struct {
	root       *node
	origin     place  // of the whole, for what is missing
	dir        string // what relative paths resolve against, absolute
	shownDir   string // the same as the user typed it
	skipScript bool
	causes     Causes
	dropped    int
	warnings   []Warning
	// meant are the paths of properties that a misspelled one probably stands
	// for: their absence is not reported on top.
	meant  map[string]bool
	faulty map[*node]bool  // values that a fault was reported at
	listed map[string]bool // objects whose known properties a hint has listed
}

// properties says, for each property an object has, how it is read. A nil
// reader is for read-only output: accepted, because show prints it, and ignored.
type properties map[string]func(*node)

// object reads a mapping. what names it in messages, for example
// "request_settings", "" for the document itself.
func (d *decoder) object(n *node, what string, known properties) {
	if n.isNull() {
		return
	}
	if n.kind != mappingNode {
		hint := ""
		if what == "" && strings.Contains(n.text, ":") {
			hint = "write key: value, with a space after the colon"
		}
		d.badHint(n, hint, "%s is %s: expected a mapping of properties", orDocument(what), n.describe())
		return
	}
	for _, p := range n.props {
		read, ok := known[p.name]
		switch {
		case !ok:
			d.unknown(p, what, known)
		case read != nil && !p.value.isNull():
			read(p.value)
		}
	}
}

func orDocument(what string) string {
	if what == "" {
		return "the document"
	}
	return what
}

func (d *decoder) unknown(p prop, what string, known properties) {
	var settable []string
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if known[name] != nil && name != "$schema" {
			settable = append(settable, name)
		}
	}
	hint := didYouMean(p.name, settable)
	if hint == "" && !d.listed[what] {
		hint = "known properties: " + strings.Join(settable, ", ")
		d.listed[what] = true
	}
	for _, near := range sluice.Nearest(p.name, settable, 2) {
		d.meant[dotted(what, near)] = true
	}
	in := ""
	if what != "" {
		in = " in " + what
	}
	d.add(p.at.cause(sluice.CauseUnknownProperty, hint, "unknown property %s%s", quoteShort(p.name), in))
}

func (d *decoder) add(c *sluice.Cause) {
	if len(d.causes) == maxCauses {
		d.dropped++
		return
	}
	d.causes = append(d.causes, c)
}

func (d *decoder) bad(n *node, format string, args ...any) {
	d.badHint(n, "", format, args...)
}

func (d *decoder) badHint(n *node, hint, format string, args ...any) {
	d.faulty[n] = true
	d.add(n.at.cause(sluice.CauseBadValue, hint, format, args...))
}

func (d *decoder) warn(n *node, property, message string) {
	d.warnings = append(d.warnings, Warning{Property: property, Message: message, File: n.at.file, Line: n.at.line})
}

// addError adds the cause an error holds.
func (d *decoder) addError(err error) {
	var c *sluice.Cause
	if !errors.As(err, &c) {
		c = d.origin.cause(sluice.CauseBadValue, "", "%s", err.Error())
	}
	d.add(c)
}

// err gives what was collected, nil when nothing was.
func (d *decoder) err() error {
	if len(d.causes) == 0 {
		return nil
	}
	if d.dropped > 0 {
		last := d.causes[len(d.causes)-1]
		d.causes[len(d.causes)-1] = &sluice.Cause{Code: last.Code, File: last.File,
			Message: strconv.Itoa(d.dropped+1) + " more problems, not shown"}
		d.dropped = 0
	}
	d.inOrder()
	return d.causes
}

// inOrder puts what is wrong with the file into the file's order: it is found
// in another one. What has no place in it keeps its own.
func (d *decoder) inOrder() {
	var slots []int
	var placed Causes
	for i, c := range d.causes {
		if c.File == d.origin.file && c.Column > 0 {
			slots, placed = append(slots, i), append(placed, c)
		}
	}
	slices.SortStableFunc(placed, func(a, b *sluice.Cause) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	for i, slot := range slots {
		d.causes[slot] = placed[i]
	}
}

// check reports an error of the domain at the property it is about: its
// Target is a path in the document.
func (d *decoder) check(err error) {
	if err == nil {
		return
	}
	at, hint, code := d.origin, "", sluice.CauseBadValue
	var e *sluice.Error
	if errors.As(err, &e) {
		hint = e.Hint
		if e.Cause != nil {
			code = e.Cause.Code
		}
		// An object that is there may lack the property: then it is the place.
		for path := e.Target; path != ""; {
			if n := d.root.find(path); n != nil {
				at = n.at
				break
			}
			path = path[:max(0, strings.LastIndexByte(path, '.'))]
		}
	}
	d.add(at.cause(code, hint, "%s", err.Error()))
}

// missing reports a property that must be in the object n, by its path in the
// document.
func (d *decoder) missing(n *node, property, hint string) {
	if d.meant[property] {
		return
	}
	at := n.at
	if n == d.root {
		at = d.origin
	}
	d.add(at.cause(sluice.CauseBadValue, hint, "%s is missing", property))
}

// text reads a scalar as a string, whatever it looks like: version: 1.0 is "1.0".
func (d *decoder) text(to *string, what string) func(*node) {
	return func(n *node) {
		if n.kind != scalarNode {
			d.bad(n, "%s is %s: expected text", what, n.describe())
			return
		}
		*to = n.text
	}
}

// truth reads true or false, in any case, quoted or not.
func (d *decoder) truth(to *bool, what string) func(*node) {
	return func(n *node) {
		switch {
		case n.kind == scalarNode && strings.EqualFold(n.text, "true"):
			*to = true
		case n.kind == scalarNode && strings.EqualFold(n.text, "false"):
			*to = false
		default:
			d.bad(n, "%s is %s: expected true or false", what, n.describe())
		}
	}
}

// whole reads a whole number of at least least and at most most.
func (d *decoder) whole(to *int, what string, least, most int) func(*node) {
	return func(n *node) {
		v, err := 0, error(nil)
		if n.kind == scalarNode {
			v, err = strconv.Atoi(n.text)
		}
		switch {
		case n.kind != scalarNode || err != nil:
			d.bad(n, "%s is %s: expected a whole number%s", what, n.describe(), boundsText(least, most))
		case v < least || v > most:
			d.bad(n, "%s is %d: expected a whole number%s", what, v, boundsText(least, most))
		default:
			*to = v
		}
	}
}

func boundsText(least, most int) string {
	if most == math.MaxInt32 {
		return " of at least " + strconv.Itoa(least)
	}
	return " from " + strconv.Itoa(least) + " to " + strconv.Itoa(most)
}

// number reads a number from 0 to 1.
func (d *decoder) fraction(to *float64, what string) func(*node) {
	return func(n *node) {
		v, err := 0.0, error(nil)
		if n.kind == scalarNode {
			v, err = strconv.ParseFloat(n.text, 64)
		}
		if n.kind != scalarNode || err != nil || !(v >= 0 && v <= 1) {
			d.bad(n, "%s is %s: expected a number from 0 to 1", what, n.describe())
			return
		}
		*to = v
	}
}

// choice reads one of the values, in any case and with camelCase for
// snake_case, and gives it as spelled in values.
func choice[T ~string](d *decoder, to *T, what string, values ...T) func(*node) {
	return func(n *node) {
		names := make([]string, len(values))
		for i, v := range values {
			names[i] = string(v)
			if n.kind == scalarNode && strings.EqualFold(plainWord(n.text), plainWord(string(v))) {
				*to = v
				return
			}
		}
		hint := ""
		if n.kind == scalarNode {
			hint = didYouMean(n.text, names)
		}
		d.badHint(n, hint, "%s is %s: expected %s", what, n.describe(), orList(names))
	}
}

func plainWord(s string) string { return strings.NewReplacer("_", "", "-", "").Replace(s) }

func orList(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// texts reads a map of names to scalars, each kept as it was written.
func (d *decoder) texts(to *map[string]string, what string) func(*node) {
	return func(n *node) {
		if n.kind != mappingNode {
			d.bad(n, "%s is %s: expected a mapping of names to text", what, n.describe())
			return
		}
		out := map[string]string{}
		for _, p := range n.props {
			if p.value.kind != scalarNode {
				d.bad(p.value, "%s.%s is %s: expected text", what, shorten(p.name), p.value.describe())
				continue
			}
			out[p.name] = p.value.text
			if p.value.isNull() {
				out[p.name] = ""
			}
		}
		if len(out) > 0 {
			*to = out
		}
	}
}

// list reads a list of scalars; a bare scalar is a list of one.
func (d *decoder) list(to *[]string, what string) func(*node) {
	return func(n *node) {
		items := n.items
		if n.kind == scalarNode {
			items = []*node{n}
		} else if n.kind == mappingNode {
			d.bad(n, "%s is a mapping: expected a list", what)
			return
		}
		for _, item := range items {
			if item.kind != scalarNode {
				d.bad(item, "%s holds %s: expected text", what, item.describe())
				continue
			}
			*to = append(*to, item.text)
		}
	}
}
