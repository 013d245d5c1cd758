package output

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"
)

// renderYAML writes block style. Text stands plain only where no YAML reader
// could take it for anything else; a few lines of text become a block.
func renderYAML(doc any, paint painter) []byte {
	var b bytes.Buffer
	switch v := doc.(type) {
	case Map:
		writeYAMLMap(&b, v, "", paint)
	case []any:
		writeYAMLList(&b, v, "", paint)
	default:
		writeYAMLScalar(&b, v, "", paint)
	}
	return b.Bytes()
}

func writeYAMLMap(b *bytes.Buffer, m Map, indent string, paint painter) {
	if len(m) == 0 {
		b.WriteString("{}\n")
	}
	for i, entry := range m {
		if i > 0 {
			b.WriteString(indent)
		}
		b.WriteString(paint(kindKey, yamlText(entry.Key)) + ":")
		writeYAMLUnder(b, entry.Value, indent, paint)
	}
}

// writeYAMLUnder writes the value of a key that stands at indent.
func writeYAMLUnder(b *bytes.Buffer, value any, indent string, paint painter) {
	switch v := value.(type) {
	case Map:
		if len(v) > 0 {
			b.WriteString("\n" + indent + "  ")
			writeYAMLMap(b, v, indent+"  ", paint)
			return
		}
	case []any:
		if len(v) > 0 {
			b.WriteString("\n" + indent)
			writeYAMLList(b, v, indent, paint)
			return
		}
	}
	b.WriteByte(' ')
	writeYAMLScalar(b, value, indent, paint)
}

func writeYAMLList(b *bytes.Buffer, list []any, indent string, paint painter) {
	if len(list) == 0 {
		b.WriteString("[]\n")
	}
	for i, item := range list {
		if i > 0 {
			b.WriteString(indent)
		}
		b.WriteString("- ")
		switch v := item.(type) {
		case Map:
			writeYAMLMap(b, v, indent+"  ", paint)
		case []any:
			writeYAMLList(b, v, indent+"  ", paint)
		default:
			writeYAMLScalar(b, v, indent, paint)
		}
	}
}

func writeYAMLScalar(b *bytes.Buffer, value any, indent string, paint painter) {
	switch v := value.(type) {
	case Map:
		b.WriteString("{}\n")
	case []any:
		b.WriteString("[]\n")
	case string:
		if blockText(v) {
			b.WriteString("|\n")
			for line := range strings.Lines(v) {
				b.WriteString(strings.TrimRight(indent+"  "+line, " "))
			}
			return
		}
		b.WriteString(paint(kindString, yamlText(v)) + "\n")
	default:
		b.WriteString(paint(kindOther, scalar(v)) + "\n")
	}
}

// blockLine is a line that a literal block carries unchanged.
var blockLine = regexp.MustCompile(`^[^\s](.*[^\s])?$`)

// blockText reports whether the text may stand as a literal block: whole
// printable lines, none of which starts or ends with blank space in a way that
// a block would have to spell out.
func blockText(s string) bool {
	if !strings.HasSuffix(s, "\n") || strings.Count(s, "\n") < 2 {
		return false
	}
	for i, line := range strings.Split(strings.TrimSuffix(s, "\n"), "\n") {
		for _, r := range line {
			if !unicode.IsPrint(r) {
				return false
			}
		}
		if i == 0 && !blockLine.MatchString(line) || line == "" || strings.TrimSpace(line) == "" || strings.HasSuffix(line, " ") {
			return false
		}
	}
	return true
}

var (
	plainText = regexp.MustCompile(`^[A-Za-z_/][-A-Za-z0-9_./@+:]*( [-A-Za-z0-9_./@+(][-A-Za-z0-9_./@+:(),']*)*$`)
	wordLike  = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|null|y|n|\.?nan|[-+]?\.?inf)$`)
)

// yamlText gives text on one line: plain if it is surely text, else in double
// quotes, with JSON's escapes, which are YAML's too.
func yamlText(s string) string {
	if plainText.MatchString(s) && !wordLike.MatchString(s) && !strings.Contains(s, ": ") && !strings.HasSuffix(s, ":") {
		return s
	}
	return yamlQuote(s)
}

// yamlQuote spells out what JSON may leave as it is and YAML may not.
func yamlQuote(s string) string {
	var b strings.Builder
	for _, r := range quote(s) {
		if r > 0x7e && (!unicode.IsPrint(r) || r == '\ufeff') || r == 0x7f {
			b.WriteString(escape(r))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func escape(r rune) string {
	const hex = "0123456789abcdef"
	digits, letter := 4, "u"
	if r > 0xffff {
		digits, letter = 8, "U"
	}
	out := make([]byte, digits)
	for i := digits - 1; i >= 0; i-- {
		out[i] = hex[r&15]
		r >>= 4
	}
	return `\` + letter + string(out)
}
