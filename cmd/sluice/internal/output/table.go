package output

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxFlat bounds, in bytes, the text of a map that is shown inside a table.
const maxFlat = 40

// renderTable gives a table with an underlined header. A document is a table
// of one row, a list one of many. What does not fit a cell has no column; nor
// have id and type, unless a query asked for them.
func renderTable(doc any, queried bool) []byte {
	rows, ok := doc.([]any)
	if !ok {
		rows = []any{doc}
	}
	var t grid
	for _, row := range rows {
		t.row()
		switch v := row.(type) {
		case Map:
			for _, item := range v {
				key := item.Key
				if !queried && (key == "id" || key == "type") {
					continue
				}
				t.put(title(key), item.Value)
			}
		case []any:
			for i, item := range v {
				t.put("Column"+strconv.Itoa(i+1), item)
			}
		default:
			t.put("Result", v)
		}
	}
	return t.text()
}

// title gives scoring_uri as Scoring_uri: a key stays recognisable in the
// header, for use in a query.
func title(key string) string {
	r, n := utf8.DecodeRuneInString(key)
	return string(unicode.ToUpper(r)) + key[n:]
}

// grid is a table whose columns appear as cells name them.
type grid struct {
	columns []string
	rows    []map[string]string
}

func (g *grid) row() { g.rows = append(g.rows, map[string]string{}) }

func (g *grid) put(column string, value any) {
	text, ok := cell(value)
	if value == nil {
		return
	}
	if !ok {
		if text, ok = flat(value); !ok {
			return
		}
	}
	column = oneLine(column)
	if !slices.Contains(g.columns, column) {
		g.columns = append(g.columns, column)
	}
	g.rows[len(g.rows)-1][column] = oneLine(short(text))
}

// short gives a reference by full id as one by name: a table is for reading,
// and the path before is the same in every row.
func short(text string) string {
	id, ok := strings.CutPrefix(text, "azureml:/subscriptions/")
	if !ok {
		return text
	}
	parts := strings.Split(id, "/")
	if n := len(parts); n > 4 && parts[n-2] == "versions" {
		return "azureml:" + parts[n-3] + ":" + parts[n-1]
	}
	return text
}

// flat gives a small map of scalars as "blue=90 green=10".
func flat(value any) (string, bool) {
	m, ok := value.(Map)
	if !ok || len(m) == 0 {
		return "", false
	}
	parts := make([]string, len(m))
	for i, item := range m {
		text, ok := cell(item.Value)
		if !ok {
			return "", false
		}
		parts[i] = item.Key + "=" + text
	}
	text := strings.Join(parts, " ")
	return text, len(text) <= maxFlat
}

// oneLine keeps control characters out of a cell.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

func (g *grid) text() []byte {
	if len(g.columns) == 0 {
		return nil
	}
	widths := make([]int, len(g.columns))
	for i, column := range g.columns {
		widths[i] = utf8.RuneCountInString(column)
		for _, row := range g.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[column]))
		}
	}
	var b bytes.Buffer
	line := func(cell func(i int) string) {
		var s strings.Builder
		for i := range g.columns {
			text := cell(i)
			s.WriteString(text + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+2))
		}
		b.WriteString(strings.TrimRight(s.String(), " ") + "\n")
	}
	line(func(i int) string { return g.columns[i] })
	line(func(i int) string { return strings.Repeat("-", widths[i]) })
	for _, row := range g.rows {
		line(func(i int) string { return row[g.columns[i]] })
	}
	return b.Bytes()
}
