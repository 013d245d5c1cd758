package main

import (
	"cmp"
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/sluice-ml/sluice/environment"
	"github.com/sluice-ml/sluice/manifest"
	"github.com/sluice-ml/sluice/scoring/script"
)

// checkScript finds what is wrong with the scoring script before anything is
// uploaded. What cannot be found here is left to the server, which checks it
// again with the environment's own Python.
func (o *deploymentOptions) checkScript(ctx context.Context, d *manifest.Deployment) error {
	if o.skipScript || d.Code == nil || d.Spec.Code == nil {
		return nil
	}
	found := script.Check(ctx, pythonsFor(environment.Pythons(o.env)), d.Code.Path, d.Spec.Code.ScoringScript)
	if found.Cause != nil {
		return found.Cause
	}
	if found.Unchecked != "" && ctx.Err() == nil {
		o.note("note: the server alone checks %s, because %s", d.Spec.Code.ScoringScript, found.Unchecked)
	}
	return ctx.Err()
}

var pythonMinor = regexp.MustCompile(`^python3\.(\d+)(?:\.exe)?$`)

// pythonsFor orders the Pythons of a machine for reading a script: the one that
// its user means by python3, and then the newest, which refuse the least.
func pythonsFor(programs []string) []string {
	var all []string
	for _, usual := range []string{"python3", "python3.exe", "python", "python.exe"} {
		i := slices.IndexFunc(programs, func(p string) bool { return filepath.Base(p) == usual })
		if i >= 0 {
			all = append(all, programs[i])
			break
		}
	}
	newest := map[int]string{}
	var minors []int
	for _, p := range programs {
		m := pythonMinor.FindStringSubmatch(filepath.Base(p))
		if m == nil {
			continue
		}
		minor, err := strconv.Atoi(m[1])
		if _, known := newest[minor]; err != nil || known {
			continue
		}
		newest[minor] = p
		minors = append(minors, minor)
	}
	slices.SortFunc(minors, func(a, b int) int { return cmp.Compare(b, a) })
	for _, minor := range minors {
		all = append(all, newest[minor])
	}
	return all
}
