package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"

	"github.com/sluice-ml/sluice"
)

// The bounds on what a text may make us hold. The parser keeps for every node
// the path to it, so depth × length of keys × tokens is what memory follows;
// its lexer turns the whole text into tokens at once, so the bytes that can
// start one are counted before.
const (
	maxBytes  = 1 << 20
	maxMarks  = 150_000 // bytes that can start or end a token
	maxTokens = 20_000
	maxDepth  = 24
	maxKey    = 256    // bytes
	maxNodes  = 20_000 // after aliases and merge keys are expanded
)

// parse reads one YAML document. An empty one gives an empty mapping.
func parse(file string, text []byte) (*node, error) {
	p := &treeBuilder{file: file, lines: text, anchors: map[string]*node{}}
	if err := p.checkText(text); err != nil {
		return nil, err
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	tokens, err := p.scan(string(text))
	if err != nil {
		return nil, err
	}
	// The builder reports keys that stand twice, with both lines.
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, p.syntaxError(err)
	}
	body, err := p.onlyDocument(tree)
	if err != nil {
		return nil, err
	}
	if body != nil {
		if n, err := p.build(body, 0); err != nil || !n.isNull() {
			return n, err
		}
	}
	return &node{kind: mappingNode, at: place{file: file, line: 1, col: 1}}, nil
}

// checkText refuses what is no text, or too much of it.
func (p *treeBuilder) checkText(text []byte) error {
	if len(text) > maxBytes {
		return p.fail(place{file: p.file}, "the file is larger than 1 MiB", "keep large content in files of its own")
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return p.fail(p.placeOf(text[:i]), "a NUL byte stands here: this is not a text file", "save the file as UTF-8 text")
	}
	if !utf8.Valid(text) {
		i := 0
		for i < len(text) {
			r, n := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			i += n
		}
		return p.fail(p.placeOf(text[:i]), fmt.Sprintf("byte 0x%02x is not UTF-8", text[i]), "save the file as UTF-8 text")
	}
	marks := 0
	for _, b := range text {
		if strings.IndexByte("[]{},:?-&*!#|>%@`'\"\n\r", b) >= 0 {
			marks++
		}
	}
	if marks > maxMarks {
		return p.fail(place{file: p.file}, "the file has too many parts to be a manifest", "keep large content in files of its own")
	}
	return nil
}

// placeOf gives the place that follows the text before it.
func (p *treeBuilder) placeOf(before []byte) place {
	line := 1 + bytes.Count(before, []byte("\n"))
	col := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return place{file: p.file, line: line, col: col}
}

// scan cuts the text into tokens and refuses what the parser, which recurses
// and copies paths, should not be handed.
func (p *treeBuilder) scan(text string) (token.Tokens, error) {
	var s scanner.Scanner
	s.Init(text)
	var tokens token.Tokens
	for {
		some, err := s.Scan()
		if errors.Is(err, io.EOF) {
			break
		}
		tokens.Add(some...)
		if err != nil {
			return nil, p.syntaxError(err)
		}
		if len(tokens) > maxTokens {
			return nil, p.fail(place{file: p.file}, "the file has too many parts to be a manifest", "keep large content in files of its own")
		}
	}
	return tokens, p.checkTokens(tokens)
}

// checkTokens bounds depth and the length of keys. Block depth is at most the
// number of columns that are open at once.
func (p *treeBuilder) checkTokens(tokens token.Tokens) error {
	var columns []int
	flow := 0
	for i, t := range tokens {
		opens := t.Type == token.SequenceEntryType
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.MappingKeyType:
			return p.failAt(t, "a key that is marked with ? is not used in a manifest", "write key: value")
		}
		if i+1 < len(tokens) && tokens[i+1].Type == token.MappingValueType {
			opens = true
			if len(t.Value) > maxKey {
				return p.failAt(t, fmt.Sprintf("a key is longer than %d bytes: %s", maxKey, quoteShort(t.Value)), "")
			}
		}
		if opens && flow == 0 {
			for len(columns) > 0 && columns[len(columns)-1] >= t.Position.Column {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, t.Position.Column)
		}
		if len(columns)+flow > maxDepth {
			return p.failAt(t, fmt.Sprintf("the file is nested deeper than %d levels", maxDepth), "")
		}
	}
	return nil
}

// onlyDocument gives the body of the one document, nil when it is empty.
func (p *treeBuilder) onlyDocument(tree *ast.File) (ast.Node, error) {
	var body ast.Node
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		switch doc.Body.Type() {
		case ast.CommentType, ast.DirectiveType:
			continue
		}
		if body != nil {
			return nil, p.failAt(doc.Body.GetToken(), "a second document starts here",
				"write one document per file, without another ---")
		}
		body = doc.Body
	}
	return body, nil
}

func (p *treeBuilder) at(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{file: p.file}
	}
	return place{file: p.file, line: t.Position.Line, col: t.Position.Column}
}

func (p *treeBuilder) failAt(t *token.Token, message, hint string) error {
	return p.fail(p.at(t), message, hint)
}

func (p *treeBuilder) fail(at place, message, hint string) error {
	return at.cause(sluice.CauseYAMLSyntax, hint, "%s", message)
}

// syntaxError words an error of the lexer or parser: where, the offending
// text, what was expected. (Its own Error renders the whole source each time,
// which a hostile text makes very large.)
func (p *treeBuilder) syntaxError(err error) error {
	var invalid *scanner.InvalidTokenError
	var syntax yaml.Error
	var t *token.Token
	message := ""
	switch {
	case errors.As(err, &invalid):
		t, message = invalid.Token, invalid.Token.Error
	case errors.As(err, &syntax):
		t, message = syntax.GetToken(), syntax.GetMessage()
	default:
		message = shorten(err.Error())
	}
	at := p.at(t)
	line := p.line(at.line)
	message = shorten(strings.ReplaceAll(message, "\t", "TAB"))
	if line != "" {
		message = fmt.Sprintf("the YAML does not parse at %s: %s", quoteShort(line), message)
	} else {
		message = "the YAML does not parse: " + message
	}
	return p.fail(at, message, syntaxHint(message, line))
}

// line gives a line of the text, trimmed; "" when there is none.
func (p *treeBuilder) line(n int) string {
	rest := p.lines
	for ; n > 1; n-- {
		_, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return ""
		}
		rest = after
	}
	if n != 1 {
		return ""
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return strings.TrimSpace(string(line[:min(len(line), 400)]))
}
