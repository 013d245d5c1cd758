package manifest

import (
	"path/filepath"
	"strings"

	"github.com/sluice-ml/sluice"
)

// maxIncludes bounds the files that the requirements of a conda file name.
const maxIncludes = 20

// includes puts the lines of files that a conda file's pip section names with
// -r into their places: the server sees none of the files here. dir is where
// they stand relative to. It gives the files, as the user would type them.
func (d *decoder) includes(packages *node, dir string) []string {
	deps := packages.get("dependencies")
	if deps == nil || deps.kind != sequenceNode {
		return nil
	}
	in := &inclusion{decoder: d}
	for _, item := range deps.items {
		if pip := item.get("pip"); pip != nil && pip.kind == sequenceNode {
			pip.items = in.lines(pip.items, dir)
		}
	}
	return in.files
}

// inclusion is one conda file's requirements being put together.
type inclusion struct {
	*decoder
	files []string
}

func (in *inclusion) lines(items []*node, dir string) []*node {
	var out []*node
	for _, item := range items {
		option, name := includedFile(item)
		switch {
		case option != "" && strings.Contains(name, "://"):
			in.badHint(item, "download it and name the file", "%s: requirements are read from files of this machine", shorten(sluice.RedactURLs(item.text)))
		case option == "-r" && name != "":
			out = append(out, in.file(item, name, dir)...)
		case option == "-c":
			in.badHint(item, "write the versions it bounds as requirements of their own",
				"%s in a conda file cannot be sent along: constraints are no requirements", shorten(item.text))
		default:
			out = append(out, item)
		}
	}
	return out
}

// file gives the requirements in a file, at its own lines.
func (in *inclusion) file(item *node, name, dir string) []*node {
	path := filepath.FromSlash(name)
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	shown := in.shownPath(path)
	if in.files = append(in.files, shown); len(in.files) > maxIncludes {
		if len(in.files) == maxIncludes+1 {
			in.badHint(item, "look for a file that names itself", "the conda file's requirements name more than %d files", maxIncludes)
		}
		return nil
	}
	text, err := readText(path, name, item.at)
	if err != nil {
		in.addError(err)
		return nil
	}
	if len(text) > maxBytes {
		in.bad(item, "%s is over %d bytes", shorten(shown), maxBytes)
		return nil
	}
	var items []*node
	number := 0
	joined := ""
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if cut, ok := strings.CutSuffix(line, `\`); ok {
			joined += cut + " "
			continue
		}
		line = strings.TrimSpace(joined + line)
		joined = ""
		if line == "" || line[0] == '#' {
			continue
		}
		items = append(items, textNode(line, place{file: shown, line: number, col: 1}))
	}
	if last := strings.TrimSpace(joined); last != "" {
		items = append(items, textNode(last, place{file: shown, line: number, col: 1}))
	}
	return in.lines(items, filepath.Dir(path))
}

// shownPath gives a path as the user would type it.
func (d *decoder) shownPath(path string) string {
	if rel, err := filepath.Rel(d.dir, path); err == nil {
		return filepath.Join(d.shownDir, rel)
	}
	return path
}

// includedFile reads a requirement that names another file: "-r" or "-c", and
// the file; "" when it names none.
func includedFile(item *node) (option, name string) {
	if item.kind != scalarNode {
		return "", ""
	}
	line := strings.TrimSpace(item.text)
	if i := strings.Index(line, " #"); i >= 0 {
		line = strings.TrimSpace(line[:i])
	}
	for _, o := range [][2]string{{"--requirement", "-r"}, {"--constraint", "-c"}, {"-r", "-r"}, {"-c", "-c"}} {
		rest, ok := strings.CutPrefix(line, o[0])
		if !ok || len(o[0]) > 2 && rest != "" && !strings.ContainsAny(rest[:1], " \t=") {
			continue
		}
		return o[1], strings.Trim(strings.TrimSpace(strings.TrimPrefix(rest, "=")), `"'`)
	}
	return "", ""
}
