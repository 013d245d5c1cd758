package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// PrintLine prints the part of the value that the query picks as JSON without
// line breaks: each element of a list on a line of its own, so that results
// that come one after the other can be read as they come.
func PrintLine(w io.Writer, value any, query string) error {
	doc, err := Document(value)
	if err != nil {
		return err
	}
	if query != "" {
		if doc, err = Query(doc, query); err != nil || doc == nil {
			return err
		}
	}
	items, ok := doc.([]any)
	if !ok {
		items = []any{doc}
	}
	var b bytes.Buffer
	for _, item := range items {
		if err := json.Compact(&b, renderJSON(item, plain)); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
		b.WriteByte('\n')
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}
