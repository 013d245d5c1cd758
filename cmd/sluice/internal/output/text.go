package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// painter colours a piece of JSON or YAML by what it is.
type painter func(kind rune, text string) string

// The kinds a painter tells apart.
const (
	kindKey    = 'k'
	kindString = 's'
	kindOther  = 'o'
)

func plain(_ rune, text string) string { return text }

func paint(color bool) painter {
	if !color {
		return plain
	}
	return func(kind rune, text string) string {
		switch kind {
		case kindKey:
			return "\x1b[34m" + text + "\x1b[0m"
		case kindString:
			return "\x1b[32m" + text + "\x1b[0m"
		}
		return "\x1b[33m" + text + "\x1b[0m"
	}
}

func renderJSON(doc any, paint painter) []byte {
	var b bytes.Buffer
	writeJSON(&b, doc, "", paint)
	b.WriteByte('\n')
	return b.Bytes()
}

func writeJSON(b *bytes.Buffer, doc any, indent string, paint painter) {
	deeper := indent + "  "
	switch v := doc.(type) {
	case string:
		b.WriteString(paint(kindString, quote(v)))
	case []any:
		if len(v) == 0 {
			b.WriteString("[]")
			return
		}
		b.WriteString("[\n")
		for i, item := range v {
			b.WriteString(deeper)
			writeJSON(b, item, deeper, paint)
			endItem(b, i == len(v)-1)
		}
		b.WriteString(indent + "]")
	case Map:
		if len(v) == 0 {
			b.WriteString("{}")
			return
		}
		b.WriteString("{\n")
		for i, item := range v {
			b.WriteString(deeper + paint(kindKey, quote(item.Key)) + ": ")
			writeJSON(b, item.Value, deeper, paint)
			endItem(b, i == len(v)-1)
		}
		b.WriteString(indent + "}")
	default:
		b.WriteString(paint(kindOther, scalar(v)))
	}
}

func endItem(b *bytes.Buffer, last bool) {
	if !last {
		b.WriteByte(',')
	}
	b.WriteByte('\n')
}

// quote gives a JSON string, with <, > and & as they are.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return strconv.Quote(s)
	}
	return spellControls(strings.TrimSuffix(b.String(), "\n"))
}

// spellControls spells out the control characters that JSON may leave as they
// are, and that terminals obey.
func spellControls(s string) string {
	isControl := func(r rune) bool { return r >= 0x7f && r < 0xa0 }
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isControl(r) {
			b.WriteString(escape(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// scalar gives a value that is neither text, list nor map, as JSON spells it.
func scalar(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		if text, err := json.Marshal(v); err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(v)
}

// cell gives a scalar as people read it, and whether it is one.
func cell(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []any, Map:
		return "", false
	}
	return scalar(v), true
}

// renderTSV gives one line per element. Text is raw, a list within a line is
// its length, a map within a line is empty.
func renderTSV(doc any) []byte {
	rows, ok := doc.([]any)
	if !ok {
		if doc == nil {
			return nil
		}
		rows = []any{doc}
	}
	var b bytes.Buffer
	for _, row := range rows {
		var fields []string
		switch v := row.(type) {
		case Map:
			for _, item := range v {
				fields = append(fields, field(item.Value))
			}
		case []any:
			for _, item := range v {
				fields = append(fields, field(item))
			}
		default:
			fields = []string{field(v)}
		}
		b.WriteString(strings.Join(fields, "\t"))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// quiet puts blanks in the place of control characters.
func quiet(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, text)
}

func field(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case []any:
		return strconv.Itoa(len(v))
	case Map:
		return ""
	}
	text, _ := cell(v)
	return text
}
