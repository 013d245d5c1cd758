package main

import (
	"fmt"
	"io"

	"github.com/sluice-ml/sluice/manifest"
)

// maxPiped bounds what is read of a manifest that comes through a pipe, in
// bytes; package manifest has a stricter bound and says so.
const maxPiped = 16 << 20

// manifestIn gives the manifest in a file; "-" is standard input, whose relative
// paths are those of the working directory. It is read once.
func (p *program) manifestIn(file string) (manifest.Input, error) {
	if file != "-" {
		return manifest.Input{File: file}, nil
	}
	if p.piped == nil {
		text, err := io.ReadAll(io.LimitReader(p.stdin, maxPiped))
		if err != nil {
			return manifest.Input{}, fmt.Errorf("reading standard input: %w", err)
		}
		p.piped = append([]byte{}, text...) // not nil, though nothing came
	}
	return manifest.Input{File: "standard input", Text: p.piped}, nil
}
