package manifest

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/sluice-ml/sluice"
)

// Input is what one object is read from. The layers lie on top of one another:
// Base, then the file, then the patches, then the overrides.
type Input struct {
	// File is the manifest as the user typed it; "" when there are only flags.
	// Relative paths inside resolve against its folder, without a file against
	// the working directory.
	File string
	// Text is the file's content. When nil, File is read.
	Text []byte
	// Base is the current object's document, for an update: the file is merged
	// over it. What Base holds is never a path on this machine.
	Base Doc
	// Patches are --set, --add and --remove, in the order given.
	Patches []Patch
	// Overrides are the flags that beat everything, such as --name.
	Overrides []Override
	// SkipScript leaves out the check that the scoring script is there.
	SkipScript bool
}

// Override is a flag that sets one property, whatever the file says.
type Override struct {
	Flag     string // as typed, "--name"
	Property string // "name"
	Value    string
}

// Local is a file or folder on this machine that a manifest names.
type Local struct {
	Path string // absolute
	Base string // its own name, which it keeps where it is placed
	Dir  bool
}

// open lays the layers of an input on top of one another.
func (in Input) open() (*decoder, error) {
	d := &decoder{origin: place{file: in.File}, skipScript: in.SkipScript,
		meant: map[string]bool{}, faulty: map[*node]bool{}, listed: map[string]bool{}}
	if in.File != "" {
		d.origin.line = 1
	}
	dir, err := filepath.Abs(filepath.Dir(in.File))
	if err != nil {
		return nil, err
	}
	d.dir, d.shownDir = dir, filepath.Dir(in.File)
	root := &node{kind: mappingNode, at: d.origin}
	if len(in.Base) > 0 {
		root = in.Base.node()
	}
	if in.File != "" || in.Text != nil {
		over, err := in.read()
		if err != nil {
			return nil, err
		}
		root = merge(root, over)
	}
	for _, p := range in.Patches {
		if root.kind != mappingNode {
			break
		}
		if err := p.apply(root); err != nil {
			var c *sluice.Cause
			if errors.As(err, &c) {
				return nil, Causes{c}
			}
			return nil, err
		}
	}
	if root.kind != mappingNode {
		d.object(root, "", nil)
		return nil, d.err()
	}
	for _, o := range in.Overrides {
		at := place{flag: o.Flag}
		root.put(o.Property, at, textNode(o.Value, at))
	}
	d.root = root
	return d, nil
}

// read reads and parses the file.
func (in Input) read() (*node, error) {
	text := in.Text
	if text == nil {
		var err error
		if text, err = readText(in.File, in.File, place{}); err != nil {
			return nil, asCauses(err)
		}
	}
	n, err := parse(in.File, text)
	if err != nil {
		return nil, asCauses(err)
	}
	return n, nil
}

func asCauses(err error) error {
	var c *sluice.Cause
	if errors.As(err, &c) {
		return Causes{c}
	}
	return err
}

// readText reads a text file of at most 1 MiB (and one byte, so that parse
// sees that there was more). It may be a pipe. What is wrong with it is told
// at the place that names it.
func readText(path, written string, at place) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, missingPath(at, written, path, "a file", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, missingPath(at, written, path, "a file", errIsFolder)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, missingPath(at, written, path, "a file", err)
	}
	return text, nil
}
