package environment

import (
	"path"
	"slices"
	"strings"
)

// Folder is a folder of files that somebody uploaded: code, or a model.
type Folder struct {
	Paths []string // of its files, relative, with slashes
	// Read gives the content of one of them, or an error when it is longer
	// than most bytes.
	Read func(path string, most int64) ([]byte, error)
}

// Bounds on the code that is looked into for imports.
const (
	maxSource  = 1 << 20  // bytes of one file
	maxSources = 16 << 20 // bytes of all files
	maxImports = 2000     // different ones
)

// Imports gives the modules that the Python files of a folder import and that
// are not in the folder themselves, with their dots, sorted. It reads the text
// only, as far as the bounds allow: what it misses is a package that has to be
// asked for, as on any other machine.
func Imports(code Folder) []string {
	own := map[string]bool{}
	for _, p := range code.Paths {
		if name, ok := strings.CutSuffix(p, ".py"); ok {
			for ; name != "."; name = path.Dir(name) { // packages, with an __init__.py or without
				own[name] = true
			}
		}
	}
	seen := map[string]bool{}
	left := int64(maxSources)
	for _, p := range code.Paths {
		if !strings.HasSuffix(p, ".py") || left <= 0 || len(seen) >= maxImports {
			continue
		}
		text, err := code.Read(p, min(maxSource, left))
		if err != nil {
			continue
		}
		left -= int64(len(text))
		for _, module := range importsOf(text) {
			top, _, _ := strings.Cut(module, ".")
			if !own[top] && !own[path.Join(path.Dir(p), top)] && len(seen) < maxImports {
				seen[module] = true
			}
		}
	}
	return sortedKeys(seen)
}

// importsOf gives the modules that a Python text imports: of
// "from a.b import c", both a.b and a.b.c, as c may be a module.
func importsOf(text []byte) []string {
	s := &source{text: text, start: true}
	var found []string
	for {
		t := s.next()
		if t == "" {
			return found
		}
		if !s.first {
			continue
		}
		switch t {
		case "import":
			found = append(found, s.modules()...)
		case "from":
			found = append(found, s.from()...)
		}
		if len(found) > maxImports {
			return found
		}
	}
}

// source cuts a Python text into words and marks, as far as finding its
// import statements needs.
type source struct {
	text  []byte
	at    int
	depth int  // of brackets
	start bool // the next token starts a statement
	first bool // the last token started one
}

// Tokens that are not words or marks of one byte.
const (
	tokenLine = "\n" // the end of a statement's line
	tokenText = "\"" // a string
)

// next gives the next token, "" at the end.
func (s *source) next() string {
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\f':
			s.at++
		case c == '#':
			for s.at < len(s.text) && s.text[s.at] != '\n' {
				s.at++
			}
		case c == '\\':
			s.at++
			for s.at < len(s.text) && (s.text[s.at] == '\n' || s.text[s.at] == '\r') {
				s.at++
				if s.text[s.at-1] == '\n' {
					break
				}
			}
		case c == '\n' && s.depth > 0:
			s.at++
		default:
			return s.token(c)
		}
	}
	return ""
}

func (s *source) token(c byte) string {
	s.first, s.start = s.start, false
	switch {
	case isWord(c):
		from := s.at
		for s.at < len(s.text) && isWord(s.text[s.at]) {
			s.at++
		}
		return string(s.text[from:s.at])
	case c == '"' || c == '\'':
		s.skipText(c)
		return tokenText
	}
	s.at++
	switch c {
	case '(', '[', '{':
		s.depth++
	case ')', ']', '}':
		s.depth = max(0, s.depth-1)
	case '\n':
		s.start = true
		return tokenLine
	case ';', ':':
		s.start = s.depth == 0 // "try: import a" too
	}
	return string(c)
}

// skipText goes past a string. One on a single line ends there at the latest.
func (s *source) skipText(quote byte) {
	triple := s.at+2 < len(s.text) && s.text[s.at+1] == quote && s.text[s.at+2] == quote
	if s.at++; triple {
		s.at += 2
	}
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == '\\':
			s.at++
		case c == '\n' && !triple:
			return
		case c == quote && !triple:
			s.at++
			return
		case c == quote && s.at+2 < len(s.text) && s.text[s.at+1] == quote && s.text[s.at+2] == quote:
			s.at += 3
			return
		}
		s.at++
	}
	s.at = len(s.text)
}

func isWord(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// maxModule bounds a module's name.
const maxModule = 200

// modules reads what follows import: names, with others after "as".
func (s *source) modules() (found []string) {
	for {
		name, t := s.dotted(s.next())
		if name != "" {
			found = append(found, name)
		}
		if t == "as" {
			s.next()
			t = s.next()
		}
		if t != "," || len(found) > maxImports {
			return found
		}
	}
}

// from reads what follows from. What starts with a dot is the folder's own.
func (s *source) from() (found []string) {
	module, t := s.dotted(s.next())
	if module == "" || t != "import" {
		return nil
	}
	found = []string{module}
	for len(found) <= maxImports {
		switch t = s.next(); t {
		case "(", ",", ")":
		case "as":
			s.next()
		case "", tokenLine, ";", "*":
			return found
		default:
			if isWord(t[0]) && len(module)+len(t) < maxModule {
				found = append(found, module+"."+t)
			}
		}
		if t == ")" {
			return found
		}
	}
	return found
}

// dotted reads a name with dots that starts with a token, and gives the token
// that follows it.
func (s *source) dotted(t string) (name, next string) {
	var parts []string
	length := 0
	for t != "" && isWord(t[0]) && length < maxModule {
		parts = append(parts, t)
		length += len(t) + 1
		if t = s.next(); t != "." {
			break
		}
		t = s.next()
	}
	if length >= maxModule || slices.Contains(parts, "import") {
		return "", t
	}
	return strings.Join(parts, "."), t
}
