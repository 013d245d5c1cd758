package environment

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"

	"github.com/sluice-ml/sluice"
)

// Bounds on a conda file, whose reader recurses and keeps a path per value.
const (
	maxCondaTokens = 20_000
	maxCondaDepth  = 12
	maxCondaMarks  = 100_000 // bytes that can start or end a token
)

// condaKeys are what a conda file may say.
var condaKeys = []string{"name", "prefix", "channels", "dependencies", "variables"}

// conda takes a conda file into the plan.
func (p *planner) conda(text string) error {
	body, err := parseConda(text)
	if err != nil || body == nil {
		return err
	}
	values, ok := mappingValues(body)
	if !ok {
		return condaError(body.GetToken(), "a conda file is a mapping with dependencies")
	}
	for _, v := range values {
		switch key := scalar(v.Key); key {
		case "name", "prefix":
		case "channels":
			p.channels(v.Value)
		case "dependencies":
			err = p.condaDependencies(v.Value)
		case "variables":
			err = p.variables(v.Value)
		default:
			// A slip would leave the packages out and say so nowhere near.
			if near := sluice.Nearest(key, condaKeys, 1); len(near) > 0 {
				return condaError(v.Key.GetToken(), "%q is not a key of a conda file: did you mean %s?", shorten(key), near[0])
			}
			p.notice("%q in the conda file means nothing here, nor to conda", shorten(key))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseConda gives the body of a conda file, nil when it is empty.
func parseConda(text string) (ast.Node, error) {
	tokens, err := scanConda(text)
	if err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, yamlError(err)
	}
	var body ast.Node
	for _, d := range file.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType || d.Body.Type() == ast.NullType {
			continue
		}
		if body != nil {
			return nil, condaError(d.Body.GetToken(), "a second document starts here")
		}
		body = d.Body
	}
	return body, nil
}

// scanConda cuts the text into tokens and refuses what the parser should not
// be handed: too much, too deep, or what a conda file has no use for.
func scanConda(text string) (token.Tokens, error) {
	marks := 0
	for _, b := range []byte(text) {
		if strings.IndexByte("[]{},:?-&*!#|>%@`'\"\n\r", b) >= 0 {
			marks++
		}
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || marks > maxCondaMarks {
		return nil, condaError(nil, "the conda file is not a text that YAML can be read from")
	}
	var s scanner.Scanner
	s.Init(strings.TrimPrefix(text, "\ufeff"))
	var tokens token.Tokens
	for {
		some, err := s.Scan()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, yamlError(err)
		}
		tokens.Add(some...)
		if len(tokens) > maxCondaTokens {
			return nil, condaError(nil, "the conda file has too many parts")
		}
	}
	return tokens, checkCondaTokens(tokens)
}

// checkCondaTokens bounds the depth. In block style it is at most the number of
// columns in use at once.
func checkCondaTokens(tokens token.Tokens) error {
	var columns []int
	flow := 0
	for i, t := range tokens {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.AnchorType, token.AliasType, token.TagType, token.MappingKeyType, token.MergeKeyType, token.InvalidType:
			return condaError(t, "%q is YAML that a conda file has no use for", shorten(t.Value))
		}
		key := i+1 < len(tokens) && tokens[i+1].Type == token.MappingValueType
		if flow == 0 && (key || t.Type == token.SequenceEntryType) {
			for len(columns) > 0 && columns[len(columns)-1] >= t.Position.Column {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, t.Position.Column)
		}
		if len(columns)+flow > maxCondaDepth {
			return condaError(t, "the conda file is nested deeper than %d levels", maxCondaDepth)
		}
	}
	return nil
}

// condaError says what is wrong with the conda file, and where.
func condaError(at *token.Token, format string, args ...any) error {
	c := &sluice.Cause{Code: sluice.CauseYAMLSyntax, Message: fmt.Sprintf(format, args...), File: "conda_file"}
	if at != nil && at.Position != nil {
		c.Line, c.Column = at.Position.Line, at.Position.Column
	}
	return &sluice.Error{Code: sluice.CodeInvalid, Message: c.Error(), Target: "conda_file", Cause: c}
}

// yamlError says what the parser found wrong.
func yamlError(err error) error {
	var located interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &located) {
		return condaError(located.GetToken(), "the conda file is not YAML: %s", shorten(located.GetMessage()))
	}
	return condaError(nil, "the conda file is not YAML")
}

// mappingValues gives the entries of a mapping, which the parser spells in two
// ways.
func mappingValues(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// scalar gives the text of a single value, as written; "" for none.
func scalar(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	case ast.ScalarNode:
		return strings.TrimSpace(n.GetToken().Value)
	}
	return ""
}

func isScalar(n ast.Node) bool {
	_, ok := n.(ast.ScalarNode)
	return ok && n.Type() != ast.NullType
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// channels says that channels mean nothing, unless they are the usual ones.
func (p *planner) channels(n ast.Node) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return
	}
	var odd []string
	for _, c := range list.Values {
		switch name := scalar(c); name {
		case "defaults", "nodefaults", "conda-forge", "anaconda", "pytorch", "nvidia", "main", "":
		default:
			odd = append(odd, shorten(redactURL(name)))
		}
	}
	if len(odd) > 0 {
		p.notice("packages come from the Python package index and not from the conda channels %s", strings.Join(odd, ", "))
	}
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (p *planner) variables(n ast.Node) error {
	if n.Type() == ast.NullType {
		return nil
	}
	values, ok := mappingValues(n)
	if !ok {
		return condaError(n.GetToken(), "variables is a mapping from name to value")
	}
	for _, v := range values {
		name := scalar(v.Key)
		if !variableName.MatchString(name) || v.Value.Type() != ast.NullType && !isScalar(v.Value) {
			return condaError(v.Key.GetToken(), "%q is not a variable with a single value", shorten(name))
		}
		if v.Value.Type() != ast.NullType {
			p.plan.Vars[name] = scalar(v.Value)
		}
	}
	return nil
}

// condaDependencies takes the list of packages into the plan.
func (p *planner) condaDependencies(n ast.Node) error {
	if n.Type() == ast.NullType {
		return nil
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return condaError(n.GetToken(), "dependencies is a list")
	}
	for _, item := range list.Values {
		if isScalar(item) {
			p.condaPackage(scalar(item), lineOf(item))
			continue
		}
		values, ok := mappingValues(item)
		if !ok || len(values) != 1 || scalar(values[0].Key) != "pip" {
			return condaError(item.GetToken(), "a dependency is a package, or pip: with a list of its own")
		}
		if err := p.pipSection(values[0].Value); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) pipSection(n ast.Node) error {
	if n.Type() == ast.NullType {
		return nil
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return condaError(n.GetToken(), "pip is a list of requirements")
	}
	for _, item := range list.Values {
		if !isScalar(item) {
			return condaError(item.GetToken(), "a requirement of pip is a single line")
		}
		p.requirement(scalar(item), "pip", lineOf(item))
	}
	return nil
}
