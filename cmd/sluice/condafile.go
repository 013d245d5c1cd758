package main

import (
	"errors"
	"os"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/manifest"
)

// condaName is what the server calls a conda file, whose name it never hears.
const condaName = "conda_file"

// inCondaFile puts a cause that the server found in the conda file to where the
// user wrote it: the server has the packages in a normal form, whose lines are
// not the file's. Where they stood in the manifest, that is the file.
// A next step that is to be taken in that file names it as well.
func inCondaFile(err error, d *manifest.Deployment, file string) error {
	e, ok := errors.AsType[*sluice.Error](err)
	if !ok || e.Cause == nil || d.Environment == nil {
		return err
	}
	if d.Environment.CondaPath != "" {
		file = d.Environment.CondaPath
	}
	with, cause := *e, *e.Cause
	with.Cause = &cause
	for _, said := range []string{"the environment's conda file", "the conda file"} {
		if file != "" {
			cause.Hint = strings.ReplaceAll(cause.Hint, said, file)
		}
	}
	if cause.File != condaName {
		return &with
	}
	cause.File, cause.Line, cause.Column = file, 0, 0
	if len(cause.Evidence) > 0 {
		what, _, _ := strings.Cut(cause.Evidence[0], ": ")
		for _, f := range append([]string{file}, d.Environment.CondaIncludes...) {
			text, err := os.ReadFile(f)
			if line := lineWith(string(text), what); err == nil && line > 0 {
				cause.File, cause.Line = f, line
				break
			}
		}
	}
	return &with
}

// lineWith gives the first line, from 1, that holds what outside of a comment;
// 0 when none does.
func lineWith(text, what string) int {
	n := 0
	for line := range strings.Lines(text) {
		n++
		if code, _, _ := strings.Cut(line, "#"); what != "" && strings.Contains(code, what) {
			return n
		}
	}
	return 0
}
