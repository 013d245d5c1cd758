package store

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/sluice-ml/sluice"
)

// cursor is the place of one resource in a list's order: everything the order
// goes by, so that the place stays when the resource does not.
type cursor struct {
	Query     string `json:"q"` // digest of the query the place belongs to
	Name      string `json:"n"` // folded, as are the others
	Born      int64  `json:"b"`
	Workspace string `json:"w"`
	Version   string `json:"v,omitempty"`
}

// maxToken bounds what is decoded of a token, in bytes.
const maxToken = 8 << 10

// token gives the cursor as text for [sluice.Page.Next].
func (c cursor) token(q sluice.Query) string {
	c.Query = digest(q)
	text, _ := json.Marshal(c) // strings and an integer always have a JSON form
	return base64.RawURLEncoding.EncodeToString(text)
}

// parseToken reads a token, which comes from a stranger.
func parseToken(q sluice.Query) (cursor, error) {
	bad := func(why string) (cursor, error) {
		return cursor{}, sluice.Errorf(sluice.CodeInvalid, "the continuation token %s", why).
			WithHint("list again from the first page")
	}
	if len(q.After) > maxToken {
		return bad("is too long")
	}
	text, err := base64.RawURLEncoding.DecodeString(q.After)
	if err != nil {
		return bad("is not one that Sluice gave")
	}
	var c cursor
	if err := json.Unmarshal(text, &c); err != nil {
		return bad("is not one that Sluice gave")
	}
	if !isText(c.Name) || !isText(c.Workspace) || !isText(c.Version) {
		return bad("is not one that Sluice gave")
	}
	if c.Query != digest(q) {
		return bad("belongs to another list")
	}
	return c, nil
}

// digest tells queries apart, so that a token is not used with another one.
// It guards against mistakes only: a token grants nothing.
func digest(q sluice.Query) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %q %q %t", strings.ToLower(q.Workspace), q.Kind, strings.ToLower(q.Prefix), strings.ToLower(q.Name), q.Newest)
	return fmt.Sprintf("%x", h.Sum64())
}

// selection gives the statement that answers q, and its arguments.
func selection(q sluice.Query) (string, []any, error) {
	if sluice.New(q.Kind) == nil {
		return "", nil, sluice.Errorf(sluice.CodeInvalid, "%q is not a kind of resource", q.Kind)
	}
	if !isText(q.Workspace) || !isText(q.Name) || !isText(q.Prefix) || q.Limit < 0 {
		return "", nil, sluice.Errorf(sluice.CodeInvalid, "the query for every %s has a value that cannot be", kindWords(q.Kind))
	}
	var args []any
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	where := []string{"kind = " + arg(string(q.Kind))}
	if q.Workspace != "" {
		where = append(where, "workspace = "+arg(strings.ToLower(q.Workspace)))
	}
	if q.Name != "" {
		where = append(where, "name = "+arg(strings.ToLower(q.Name)))
	}
	if q.Prefix != "" {
		prefix := strings.ToLower(q.Prefix)
		where = append(where, "name >= "+arg(prefix))
		if end := afterPrefix(prefix); end != "" {
			where = append(where, "name < "+arg(end))
		}
	}
	order, beyond := "name, born, workspace, version", ">"
	if q.Newest {
		order, beyond = "born DESC, name DESC, workspace DESC, version DESC", "<"
	}
	if q.After != "" {
		c, err := parseToken(q)
		if err != nil {
			return "", nil, err
		}
		if q.Newest {
			where = append(where, fmt.Sprintf("(born, name, workspace, version) %s (%s, %s, %s, %s)",
				beyond, arg(c.Born), arg(c.Name), arg(c.Workspace), arg(c.Version)))
		} else {
			where = append(where, fmt.Sprintf("(name, born, workspace, version) %s (%s, %s, %s, %s)",
				beyond, arg(c.Name), arg(c.Born), arg(c.Workspace), arg(c.Version)))
		}
	}
	text := "SELECT workspace, name, version, born, " + columns + " FROM resources WHERE " +
		strings.Join(where, " AND ") + " ORDER BY " + order
	if q.Limit > 0 {
		text += " LIMIT " + arg(min(int64(q.Limit), math.MaxInt32)+1)
	}
	return text, args, nil
}

// afterPrefix gives the least text that is greater, byte by byte, than every
// text with the prefix; "" when there is none. UTF-8 keeps the order of code
// points, so it is the prefix with its last one raised.
func afterPrefix(prefix string) string {
	for prefix != "" {
		r, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case r == utf8.MaxRune:
			continue
		case r == 0xD7FF:
			r = 0xE000 // the code points between are no characters
		default:
			r++
		}
		return prefix + string(r)
	}
	return ""
}
