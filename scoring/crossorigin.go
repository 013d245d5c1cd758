package scoring

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// CrossOrigin says which pages of browsers may read answers (CORS). It is
// immutable.
type CrossOrigin struct {
	origins []allowedOrigin
	all     bool
	written string // for people to read
}

// allowedOrigin is one of them: as it is written, or a pattern.
type allowedOrigin struct {
	literal string
	pattern *regexp.Regexp
}

const crossMethods = "GET, POST"

// newCrossOrigin reads a list with commas: origins, patterns of them, or "*".
// Whatever holds a character of patterns is one, and what it matches is how an
// origin begins: these are the original's rules.
func newCrossOrigin(list string) (*CrossOrigin, error) {
	c := &CrossOrigin{written: strings.Join(trimmed(list), ", ")}
	for _, origin := range trimmed(list) {
		if origin == "*" {
			origin, c.all = ".*", true
		}
		if !strings.ContainsAny(origin, `*\]?$^[()`) {
			c.origins = append(c.origins, allowedOrigin{literal: origin})
			continue
		}
		pattern, err := regexp.Compile("(?i)^(?:" + origin + ")")
		if err != nil {
			return nil, &sluice.Error{Code: sluice.CodeInvalid, Target: "AML_CORS_ORIGINS",
				Message: fmt.Sprintf("%.200q is no pattern of an origin: %v", origin, err),
				Hint:    "write the origin as it is, or * for all"}
		}
		c.origins = append(c.origins, allowedOrigin{pattern: pattern})
	}
	return c, nil
}

// fields are the headers that tell a browser whether its page may read the
// answer to h, and for OPTIONS what it may send.
func (c *CrossOrigin) fields(h Head) []Field {
	asking, _ := h.Get("Origin")
	allowed, of := c.allow(asking)
	if of == 0 {
		return nil
	}
	var out []Field
	if allowed != "" { // an empty part of the list names no origin, and counts as one
		out = append(out, Field{"Access-Control-Allow-Origin", allowed})
	}
	if private, _ := h.Get("Access-Control-Request-Private-Network"); private == "true" {
		out = append(out, Field{"Access-Control-Allow-Private-Network", "false"})
	}
	method, _ := h.Get("Access-Control-Request-Method")
	if h.Method == "OPTIONS" && method != "" && strings.Contains(crossMethods, strings.ToUpper(method)) {
		if names, _ := h.Get("Access-Control-Request-Headers"); names != "" {
			if list := sortedList(names); list != "" {
				out = append(out, Field{"Access-Control-Allow-Headers", list})
			}
		}
		out = append(out, Field{"Access-Control-Allow-Methods", crossMethods})
	}
	if allowed != "*" && (of > 1 || len(c.origins) > 1 || c.origins[0].pattern != nil) {
		out = append(out, Field{"Vary", "Origin"})
	}
	return out
}

// allow gives an origin that is let in, and of how many. Who names no origin is
// told of one that is.
func (c *CrossOrigin) allow(asking string) (origin string, of int) {
	if asking != "" {
		for _, o := range c.origins {
			if o.pattern != nil && o.pattern.MatchString(asking) || o.pattern == nil && strings.EqualFold(o.literal, asking) {
				return asking, 1
			}
		}
		return "", 0
	}
	if c.all {
		return "*", 1
	}
	var literals []string
	for _, o := range c.origins {
		if o.pattern == nil {
			literals = append(literals, o.literal)
		}
	}
	if len(literals) == 0 {
		return "", 0
	}
	return slices.Min(literals), len(literals)
}

// trimmed gives the parts of a list with commas.
func trimmed(list string) []string {
	parts := strings.Split(list, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func sortedList(list string) string {
	parts := trimmed(list)
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
