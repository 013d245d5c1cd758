// Package args turns the arguments a person typed into the ones a plain flag
// parser understands.
//
// [Rewrite] is a pure pass over the tokens of one command. It gives every long
// flag its full name where a unique prefix was typed (--endpoint for
// --endpoint-name), every short flag its long name, and gathers the tokens
// that follow a flag of several values (--set a=1 b=2) into one. Its output
// has each flag as one token, --name or --name=value, so that nothing after it
// has to guess. It is safe for any number of goroutines.
package args

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// Flag is what the pass has to know about one flag.
type Flag struct {
	Name   string // without dashes
	Short  string // one letter, or ""
	Value  bool   // takes a value
	Many   bool   // takes one or more values, up to the next flag
	Hidden bool   // not offered when a prefix is ambiguous or a name is unknown
}

// Separator stands between the values of one use of a flag that takes many.
// No argument of a process can hold it.
const Separator = "\x00"

// Error says that the arguments cannot be understood.
type Error struct {
	Message string
	Hint    string
}

// Error returns the sentence alone.
func (e *Error) Error() string { return e.Message }

// Rewrite gives the tokens with every flag spelled out. Tokens that are no
// flags keep their order; everything after "--" is left alone. The error, if
// any, is an [*Error].
func Rewrite(tokens []string, flags []Flag) ([]string, error) {
	p := pass{in: tokens, flags: flags}
	for len(p.in) > 0 {
		if err := p.token(); err != nil {
			return nil, err
		}
	}
	return p.out, nil
}

type pass struct {
	in, out []string
	flags   []Flag
}

func (p *pass) token() error {
	t := p.in[0]
	p.in = p.in[1:]
	switch {
	case t == "--":
		p.out = append(append(p.out, t), p.in...)
		p.in = nil
		return nil
	case strings.HasPrefix(t, "--"):
		name, value, given := strings.Cut(t[2:], "=")
		f, err := Find(name, p.flags)
		if err != nil {
			return err
		}
		return p.flag(f, value, given)
	case len(t) > 1 && t[0] == '-':
		return p.shorts(t[1:])
	}
	p.out = append(p.out, t)
	return nil
}

// shorts reads -x, -xVALUE, -x=VALUE and clusters of flags without values.
func (p *pass) shorts(cluster string) error {
	for cluster != "" {
		letter := cluster[:1]
		cluster = cluster[1:]
		i := slices.IndexFunc(p.flags, func(f Flag) bool { return f.Short == letter })
		if i < 0 {
			return &Error{Message: fmt.Sprintf("there is no flag -%s", letter), Hint: "--help lists the flags"}
		}
		f := p.flags[i]
		if f.Value || f.Many {
			value, given := strings.CutPrefix(cluster, "=")
			return p.flag(f, value, given || value != "")
		}
		if strings.HasPrefix(cluster, "=") {
			return p.flag(f, cluster[1:], true)
		}
		p.out = append(p.out, "--"+f.Name)
	}
	return nil
}

func (p *pass) flag(f Flag, value string, given bool) error {
	if !f.Value && !f.Many {
		if given {
			p.out = append(p.out, "--"+f.Name+"="+value)
		} else {
			p.out = append(p.out, "--"+f.Name)
		}
		return nil
	}
	var values []string
	if given {
		values = append(values, value)
	} else if len(p.in) > 0 && !p.known(p.in[0]) {
		values = append(values, p.in[0])
		p.in = p.in[1:]
	} else {
		return &Error{Message: fmt.Sprintf("--%s needs a value", f.Name)}
	}
	for f.Many && len(p.in) > 0 && !looksLikeFlag(p.in[0]) {
		values = append(values, p.in[0])
		p.in = p.in[1:]
	}
	p.out = append(p.out, "--"+f.Name+"="+strings.Join(values, Separator))
	return nil
}

// known reports whether the token is a flag of this command: such a one is
// never the value of the flag before it, whatever else with a dash may be.
func (p *pass) known(t string) bool {
	if !looksLikeFlag(t) {
		return false
	}
	if name, ok := strings.CutPrefix(t, "--"); ok {
		name, _, _ = strings.Cut(name, "=")
		_, err := Find(name, p.flags)
		return err == nil
	}
	return len(t) == 2 && slices.ContainsFunc(p.flags, func(f Flag) bool { return f.Short == t[1:] })
}

// looksLikeFlag tells a flag from a value that starts with a dash: "-" alone
// and negative numbers are values.
func looksLikeFlag(t string) bool {
	if len(t) < 2 || t[0] != '-' {
		return false
	}
	c := t[1]
	return c == '-' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// Find gives the flag whose name is, or as the only one starts with, name.
func Find(name string, flags []Flag) (Flag, error) {
	var fits []Flag
	for _, f := range flags {
		if f.Name == name {
			return f, nil
		}
		if name != "" && !f.Hidden && strings.HasPrefix(f.Name, name) {
			fits = append(fits, f)
		}
	}
	switch len(fits) {
	case 1:
		return fits[0], nil
	case 0:
		return Flag{}, unknown(name, flags)
	}
	names := make([]string, len(fits))
	for i, f := range fits {
		names[i] = "--" + f.Name
	}
	slices.Sort(names)
	return Flag{}, &Error{
		Message: fmt.Sprintf("--%s could be any of %s", name, strings.Join(names, ", ")),
		Hint:    "write one of them out",
	}
}

func unknown(name string, flags []Flag) error {
	var names []string
	for _, f := range flags {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	e := &Error{Message: fmt.Sprintf("there is no flag --%s", name), Hint: "--help lists the flags"}
	if near := sluice.Nearest(name, names, 2); len(near) > 0 {
		e.Hint = "did you mean --" + strings.Join(near, " or --") + "?"
	}
	return e
}

// Groups is the value of a flag that takes many: one group for each use of
// the flag. It is a flag value for the parser that reads Rewrite's output.
type Groups [][]string

// Set adds the values of one use of the flag.
func (g *Groups) Set(joined string) error {
	*g = append(*g, strings.Split(joined, Separator))
	return nil
}

// String gives all values, for help texts.
func (g *Groups) String() string { return strings.Join(g.All(), " ") }

// Type names the value in help texts.
func (g *Groups) Type() string { return "values" }

// All gives the values of all groups in order.
func (g *Groups) All() []string {
	var all []string
	for _, group := range *g {
		all = append(all, group...)
	}
	return all
}

// Shares reads percentages such as "blue=90 green=10", in one token or in
// several. No token at all, and one that is empty, mean no shares.
func Shares(tokens []string) (map[string]int, error) {
	shares := map[string]int{}
	for _, token := range tokens {
		for _, pair := range strings.FieldsFunc(token, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\n' }) {
			name, percent, err := share(pair)
			if err != nil {
				return nil, err
			}
			if _, twice := shares[name]; twice {
				return nil, &Error{Message: fmt.Sprintf("deployment %s stands twice in the traffic", name)}
			}
			shares[name] = percent
		}
	}
	return shares, nil
}

var errShare = errors.New("not a share")

func share(pair string) (string, int, error) {
	name, text, ok := strings.Cut(pair, "=")
	percent, err := digits(strings.TrimSuffix(text, "%"))
	if !ok || name == "" || err != nil {
		return "", 0, &Error{Message: fmt.Sprintf("%q is not a share of traffic", pair), Hint: `write --traffic "blue=90 green=10"`}
	}
	if percent > 100 {
		return "", 0, &Error{Message: fmt.Sprintf("traffic of deployment %s is %d: a share is 0 to 100 percent", name, percent)}
	}
	return strings.ToLower(name), percent, nil
}

// digits reads at most nine digits: no sign, no fraction.
func digits(s string) (int, error) {
	if s == "" || len(s) > 9 {
		return 0, errShare
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, errShare
		}
		n = n*10 + int(c-'0')
	}
	return n, nil
}

// Many marks the flag as one that takes many values.
func (g *Groups) Many() {}
