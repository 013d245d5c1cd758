// Package output prints the result of a command the way it was asked for:
// as JSON, YAML, a table or tab-separated values, and only the part that a
// JMESPath expression picks.
//
// [Document] turns any value into the ordered form the rest works on,
// [Query] picks from it, [Print] writes it. The order of keys is that of the
// document, also after a query. Everything is a pure function of its arguments.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Format is a way to print.
type Format string

// The formats. JSONC and YAMLC are JSON and YAML in colour.
const (
	JSON  Format = "json"
	JSONC Format = "jsonc"
	YAML  Format = "yaml"
	YAMLC Format = "yamlc"
	Table Format = "table"
	TSV   Format = "tsv"
	None  Format = "none"
)

// Formats lists every format.
func Formats() []Format { return []Format{JSON, JSONC, None, Table, TSV, YAML, YAMLC} }

// Map is a map whose keys have an order.
type Map []Entry

// Entry is one key of a [Map].
type Entry struct {
	Key   string
	Value any
}

// Options say how to print.
type Options struct {
	Format Format
	Query  string // JMESPath; "" for everything
	Color  bool   // whether the colour formats may use colour
	// Terminal says that a terminal reads it: what came from elsewhere must not
	// steer that.
	Terminal bool
}

// Print writes the part of the value that the query picks. A result that is
// null prints nothing in every format but JSON and YAML without a query.
func Print(w io.Writer, value any, opts Options) error {
	doc, err := Document(value)
	if err != nil {
		return err
	}
	if opts.Query != "" {
		if doc, err = Query(doc, opts.Query); err != nil {
			return err
		}
		if doc == nil {
			return nil
		}
	}
	text, err := render(doc, opts)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

func render(doc any, opts Options) ([]byte, error) {
	switch opts.Format {
	case JSON:
		return renderJSON(doc, plain), nil
	case JSONC:
		return renderJSON(doc, paint(opts.Color)), nil
	case YAML:
		return renderYAML(doc, plain), nil
	case YAMLC:
		return renderYAML(doc, paint(opts.Color)), nil
	case Table:
		return renderTable(doc, opts.Query != ""), nil
	case TSV:
		if opts.Terminal {
			return quiet(renderTSV(doc)), nil
		}
		return renderTSV(doc), nil
	case None:
		return nil, nil
	}
	return nil, fmt.Errorf("%q is not an output format", opts.Format)
}

// Document gives the value as nil, bool, int64, float64, string, []any and
// [Map], and nothing else.
func Document(value any) (any, error) {
	switch v := value.(type) {
	case nil, bool, string, int64:
		return v, nil
	case int:
		return int64(v), nil
	case float64:
		return number(v), nil
	case Map:
		return entries(v)
	case []any:
		return list(v)
	case []string:
		return list(v)
	case map[string]any:
		return sorted(v)
	case map[string]string:
		return sorted(v)
	case map[string]int:
		return sorted(v)
	}
	return throughJSON(value)
}

func entries(m Map) (any, error) {
	out := make(Map, len(m))
	for i, entry := range m {
		value, err := Document(entry.Value)
		if err != nil {
			return nil, err
		}
		out[i] = Entry{Key: entry.Key, Value: value}
	}
	return out, nil
}

func list[T any](items []T) (any, error) {
	out := make([]any, len(items))
	for i, item := range items {
		value, err := Document(item)
		if err != nil {
			return nil, err
		}
		out[i] = value
	}
	return out, nil
}

func sorted[T any](m map[string]T) (any, error) {
	out := make(Map, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		value, err := Document(m[key])
		if err != nil {
			return nil, err
		}
		out = append(out, Entry{Key: key, Value: value})
	}
	return out, nil
}

// throughJSON reads a struct's fields in the order they are declared in.
func throughJSON(value any) (any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("printing the result: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	doc, err := decode(d)
	if err != nil {
		return nil, fmt.Errorf("printing the result: %w", err)
	}
	return doc, nil
}

func decode(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return n, nil
		}
		f, err := t.Float64()
		return f, err
	case json.Delim:
		if t == '[' {
			return decodeList(d)
		}
		return decodeMap(d)
	}
	return token, nil
}

func decodeList(d *json.Decoder) (any, error) {
	out := []any{}
	for d.More() {
		value, err := decode(d)
		if err != nil {
			return nil, err
		}
		out = append(out, value)
	}
	_, err := d.Token()
	return out, err
}

func decodeMap(d *json.Decoder) (any, error) {
	out := Map{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok {
			return nil, fmt.Errorf("a key that is not text: %v", token)
		}
		value, err := decode(d)
		if err != nil {
			return nil, err
		}
		out = append(out, Entry{Key: key, Value: value})
	}
	_, err := d.Token()
	return out, err
}

// number gives a whole float as an integer: JMESPath knows only floats.
func number(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int64(f)
	}
	return f
}
