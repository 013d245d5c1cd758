package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/sluice-ml/sluice"
)

// Decode reads one JSON value of at most limit bytes into v. Unknown fields
// are ignored, names match in any case, and a comma before a closing bracket
// is forgiven, because published samples have them. An empty body leaves v as
// it is. The error is a *sluice.Error: CodeTooLarge or CodeInvalid.
func Decode(r io.Reader, limit int64, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return sluice.Errorf(sluice.CodeInvalid, "reading the request body: %w", err)
	}
	if int64(len(b)) > limit {
		return sluice.Errorf(sluice.CodeTooLarge, "the request body is over %d bytes", limit)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	err = json.Unmarshal(b, v)
	if _, syntax := errors.AsType[*json.SyntaxError](err); syntax {
		err = json.Unmarshal(forgiveCommas(b), v)
	}
	if err == nil {
		return nil
	}
	if domain, ok := errors.AsType[*sluice.Error](err); ok {
		return domain
	}
	return sluice.Errorf(sluice.CodeInvalid, "the request body is not the JSON expected here: %w", err)
}

// forgiveCommas gives b without the commas that only white space parts from a
// closing bracket.
func forgiveCommas(b []byte) []byte {
	out := make([]byte, 0, len(b))
	inString := false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case inString && c == '\\' && i+1 < len(b):
			out = append(out, c)
			i++
			c = b[i]
		case c == '"':
			inString = !inString
		case c == ',' && !inString:
			next := bytes.TrimLeft(b[i+1:], " \t\r\n")
			if len(next) > 0 && (next[0] == '}' || next[0] == ']') {
				continue
			}
		}
		out = append(out, c)
	}
	return out
}

// Strings is a map of strings that also reads other scalars, as text: 1 as
// "1", true as "true". A null value is left out. It is never written as null.
type Strings map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (s *Strings) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	if raw == nil {
		return nil
	}
	*s = make(Strings, len(raw))
	for k, v := range raw {
		text, err := scalar(v)
		if err != nil {
			return sluice.Errorf(sluice.CodeInvalid, "%.80q must be a string", k)
		}
		if text != nil {
			(*s)[k] = *text
		}
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (s Strings) MarshalJSON() ([]byte, error) {
	if s == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]string(s))
}

// scalar gives a JSON scalar as text, nil for null.
func scalar(v json.RawMessage) (*string, error) {
	switch v[0] {
	case 'n':
		return nil, nil
	case '"':
		var s string
		err := json.Unmarshal(v, &s)
		return &s, err
	case '{', '[':
		return nil, errors.New("not a scalar")
	}
	s := string(v)
	return &s, nil
}

// Int is a whole number that also reads "3" and 3.0.
type Int int

// UnmarshalJSON implements json.Unmarshaler.
func (n *Int) UnmarshalJSON(b []byte) error {
	text, err := scalar(b)
	if err != nil || text == nil {
		return err
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(*text), 64)
	if err != nil || f != float64(int32(f)) {
		return sluice.Errorf(sluice.CodeInvalid, "%.40s is not a whole number", b)
	}
	*n = Int(f)
	return nil
}

func integer(n int) *Int { return (*Int)(&n) }

func (n *Int) or(otherwise int) int {
	if n == nil {
		return otherwise
	}
	return int(*n)
}

// Shares is a map from a deployment to its percent of the traffic.
type Shares map[string]int

// UnmarshalJSON implements json.Unmarshaler.
func (s *Shares) UnmarshalJSON(b []byte) error {
	var raw map[string]Int
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	if raw == nil {
		return nil
	}
	*s = make(Shares, len(raw))
	for k, v := range raw {
		(*s)[k] = int(v)
	}
	return nil
}

// enum finds value among the canonical spellings, without regard to case,
// hyphens and underscores. "" gives the default, which stands first.
func enum(field, value string, canonical ...string) (string, error) {
	if value == "" {
		return canonical[0], nil
	}
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
	}
	for _, c := range canonical {
		if plain(c) == plain(value) {
			return c, nil
		}
	}
	e := sluice.Errorf(sluice.CodeInvalid, "%s is %.60q: it must be one of %s", field, value, strings.Join(canonical, ", "))
	e.Target = field
	return "", e
}

// capital gives s with its first letter in upper case: "enabled" to "Enabled".
func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// encode is for values that always marshal.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("arm: %T always marshals: %v", v, err))
	}
	return b
}
