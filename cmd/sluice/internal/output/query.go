package output

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	jmespath "github.com/jmespath-community/go-jmespath"
	"github.com/jmespath-community/go-jmespath/pkg/parsing"

	"github.com/sluice-ml/sluice"
)

// Query gives what the JMESPath expression picks from the document. An
// expression that cannot be read is a [sluice.CodeInvalid] error.
func Query(doc any, expression string) (any, error) {
	tree, err := jmespath.NewParser().Parse(expression)
	if err != nil {
		return nil, invalid(expression, err)
	}
	orders := orders{}
	plain := orders.strip(doc)
	orders.literals(tree)
	found, err := jmespath.Search(expression, plain)
	if err != nil {
		return nil, invalid(expression, err)
	}
	return orders.restore(found), nil
}

func invalid(expression string, err error) error {
	return sluice.Errorf(sluice.CodeInvalid, "--query %q: %s", expression, err).
		WithHint("the language is JMESPath, for example --query \"[].name\"; quote it for your shell")
}

// orders remembers in which order the keys of a map stood, by the set of its
// keys: the query engine itself works on plain maps.
type orders map[string][]string

func (o orders) note(keys []string) {
	name := setName(keys)
	if _, known := o[name]; !known {
		o[name] = keys
	}
}

func setName(keys []string) string {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	return strings.Join(keys, "\x00")
}

// strip gives the document as plain maps, with floats for all numbers.
func (o orders) strip(doc any) any {
	switch v := doc.(type) {
	case int64:
		return float64(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = o.strip(item)
		}
		return out
	case Map:
		keys := make([]string, len(v))
		out := make(map[string]any, len(v))
		for i, item := range v {
			keys[i] = item.Key
			out[keys[i]] = o.strip(item.Value)
		}
		o.note(keys)
		return out
	}
	return doc
}

// literals notes the maps that the expression itself makes: {Name: name, …}.
// Their order wins over that of the document.
func (o orders) literals(node parsing.ASTNode) {
	if node.NodeType == parsing.ASTMultiSelectHash {
		var keys []string
		for _, pair := range node.Children {
			if key, ok := pair.Value.(string); ok {
				keys = append(keys, key)
			}
		}
		o[setName(keys)] = keys
	}
	for _, child := range node.Children {
		o.literals(child)
	}
}

func (o orders) restore(found any) any {
	switch v := found.(type) {
	case float64:
		return number(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = o.restore(item)
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = item
		}
		return out
	case map[string]any:
		keys, known := o[setName(slices.Collect(maps.Keys(v)))]
		if !known {
			keys = slices.Sorted(maps.Keys(v))
		}
		out := make(Map, len(keys))
		for i, key := range keys {
			out[i] = Entry{Key: key, Value: o.restore(v[key])}
		}
		return out
	case nil, bool, string:
		return v
	}
	return fmt.Sprint(found)
}

// CheckQuery refuses an expression that cannot be read.
func CheckQuery(expression string) error {
	if _, err := jmespath.NewParser().Parse(expression); err != nil {
		return invalid(expression, err)
	}
	return nil
}
