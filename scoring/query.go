package scoring

import (
	"strings"
	"unicode/utf8"
)

// queryValue gives the first value of a field of a query string, read as
// leniently as the original's framework does.
func queryValue(query, name string) (string, bool) {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if pair != "" && unquotePlus(key) == name {
			return unquotePlus(value), true
		}
	}
	return "", false
}

// unquotePlus takes the escapes out of a text. What is none stays, and bytes
// that are not UTF-8 are escaped in the result.
func unquotePlus(text string) string {
	raw := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '+':
			raw = append(raw, ' ')
		case text[i] == '%' && i+2 < len(text) && unhex(text[i+1]) >= 0 && unhex(text[i+2]) >= 0:
			raw = append(raw, byte(unhex(text[i+1])<<4|unhex(text[i+2])))
			i += 2
		default:
			raw = append(raw, text[i])
		}
	}
	if utf8.Valid(raw) {
		return string(raw)
	}
	var b strings.Builder
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		if r == utf8.RuneError && n == 1 {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'%', digits[raw[0]>>4], digits[raw[0]&15]})
		} else {
			b.Write(raw[:n])
		}
		raw = raw[n:]
	}
	return b.String()
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
