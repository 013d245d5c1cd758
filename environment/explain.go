package environment

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/disk"
)

// finding is what a tool's output says about why it failed.
type finding struct {
	code        sluice.CauseCode
	requirement string // the one at fault, as the tool names it
	why         string // a sentence, or part of one
	ask         bool   // which of several reasons it is, only the index can tell
}

var (
	diskLine      = regexp.MustCompile(`(?i)read-only file system|input/output error|\[errno (?:5|30)\]|os error (?:5|30)\b`)
	readOnlyLine  = regexp.MustCompile(`(?i)read-only|errno 30\b|os error 30\b`)
	diskFullLine  = regexp.MustCompile(`(?i)no space left on device|\[?errno 28\]?|os error 28|disk quota exceeded`)
	refusedLine   = regexp.MustCompile(`(?i)(401 unauthorized|403 forbidden|407 proxy authentication required|5\d\d (?:internal server error|bad gateway|service unavailable|gateway time-?out)|5\d\d server error|4\d\d client error)`)
	brokenLine    = regexp.MustCompile(`(?i)(connection refused|name or service not known|temporary failure in name resolution|dns error|network is unreachable|connection reset|connection timed out|read timed out|operation timed out|connecttimeout|certificate verify failed|invalid peer certificate|self-signed certificate|unknownissuer|sslerror|proxyerror|tunnel connection failed|no route to host|request failed after|error sending request|is not a trusted or secure host)`)
	fetchedURL    = regexp.MustCompile(`(?:Failed to fetch|could not be queried|An index(?: URL)?)[^(h]*[(]?(https?://[^\s)]+)`)
	mismatchLine  = regexp.MustCompile(`(?i)do not match the hashes|hash mismatch`)
	pipConflict   = regexp.MustCompile(`^ERROR: Cannot install .* because these package versions have conflicting dependencies`)
	pipNoMatch    = regexp.MustCompile(`No matching distribution found for (.+?)(?: \(from .*\))?$`)
	uvNoWheels    = regexp.MustCompile(`Because (\S+?) has no (?:usable )?wheels`)
	uvNoWheelsAll = regexp.MustCompile(`Because all versions of (\S+?) have no (?:usable )?wheels|Because only .* have no usable wheels`)
	uvNoPackage   = regexp.MustCompile(`Because (\S+) was not found in the package registry`)
	uvNoVersion   = regexp.MustCompile(`Because there (?:is|are) no versions? of (\S+?),? `)
	uvCause       = regexp.MustCompile(`^\s*(?:cause:|╰─▶|[×·└]─?▶?)\s*`)
	badLine       = regexp.MustCompile(`(?i)invalid requirement|couldn't parse requirement|invalidversion: (.*)|InvalidRequirement`)
)

// understand finds the reason in what a tool wrote. It decides only.
func understand(lines []string) finding {
	for _, l := range lines {
		if diskFullLine.MatchString(l) {
			return finding{code: sluice.CauseDiskFull}
		}
		if diskLine.MatchString(l) {
			return finding{code: sluice.CauseDiskFailed, why: l}
		}
	}
	if f, ok := indexFinding(lines); ok {
		return f
	}
	for i, l := range lines {
		switch {
		case mismatchLine.MatchString(l):
			return finding{code: sluice.CauseBuildFailed, why: "what the index serves is not what was locked"}
		case badLine.MatchString(l):
			return finding{code: sluice.CauseUnresolvable, why: "a requirement cannot be read: " + strings.TrimSpace(l)}
		case pipConflict.MatchString(l):
			return finding{code: sluice.CauseUnresolvable, why: conflictOfPip(lines[i:])}
		}
		if m := uvNoPackage.FindStringSubmatch(l); m != nil {
			return finding{code: sluice.CauseUnresolvable, requirement: m[1], why: fmt.Sprintf("the package index has no package %s", m[1])}
		}
		if m := uvNoWheels.FindStringSubmatch(l); m != nil {
			return finding{code: sluice.CauseNoWheel, requirement: m[1], ask: true}
		}
		if m := uvNoWheelsAll.FindStringSubmatch(l); m != nil && m[1] != "" {
			return finding{code: sluice.CauseNoWheel, requirement: m[1], ask: true}
		}
		if m := pipNoMatch.FindStringSubmatch(l); m != nil {
			return finding{code: sluice.CauseUnresolvable, requirement: m[1], why: "nothing was found for " + m[1], ask: true}
		}
	}
	return uvFinding(lines)
}

// indexFinding recognises an index that cannot be reached or refuses. Some
// tools go on after that, and say in the end only that nothing was found.
func indexFinding(lines []string) (finding, bool) {
	var f finding
	at := ""
	for _, l := range lines {
		if m := fetchedURL.FindStringSubmatch(l); m != nil {
			at = m[1]
		}
		m := refusedLine.FindStringSubmatch(l)
		if m == nil {
			m = brokenLine.FindStringSubmatch(l)
		}
		if m != nil {
			f = finding{code: sluice.CauseIndex, why: strings.ToLower(m[1])}
		}
	}
	f.requirement = at
	return f, f.code != ""
}

// uvFinding takes uv's own sentence.
func uvFinding(lines []string) finding {
	var said []string
	for _, l := range lines {
		if uvCause.MatchString(l) && strings.Contains(l, "Because") {
			said = append(said, strings.TrimSpace(uvCause.ReplaceAllString(l, "")))
		} else if len(said) > 0 {
			if l = strings.TrimSpace(l); l == "" || strings.HasPrefix(l, "hint:") {
				break
			}
			said = append(said, l)
		}
	}
	if len(said) == 0 {
		return finding{code: sluice.CauseBuildFailed}
	}
	f := finding{code: sluice.CauseUnresolvable, why: uvReasons(strings.Join(said, " "))}
	if m := uvNoVersion.FindStringSubmatch(said[0]); m != nil {
		f.requirement = m[1]
		f.why = fmt.Sprintf("the package index has no version %s", m[1])
	}
	return f
}

var uvReason = regexp.MustCompile(`(?:Because|because) (.*?), we can conclude that .*?(?:\.(?: |$)|$)`)

// uvReasons keeps, of uv's proof, what it starts from.
func uvReasons(proof string) string {
	var reasons []string
	for _, m := range uvReason.FindAllStringSubmatch(proof, -1) {
		reasons = append(reasons, m[1])
	}
	if len(reasons) == 0 {
		return proof
	}
	return conflictSentence(reasons)
}

// conflictOfPip makes a sentence of pip's list of what clashes.
func conflictOfPip(lines []string) string {
	var parts []string
	in := false
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "The conflict is caused by"):
			in = true
		case in && strings.HasPrefix(l, "    "):
			parts = append(parts, strings.TrimSpace(l))
		case in && len(parts) > 0:
			return conflictSentence(parts)
		}
	}
	return conflictSentence(parts)
}

// conflictSentence joins what clashes. Of a long list, which pip makes by
// going through versions, the ends are enough.
func conflictSentence(parts []string) string {
	if len(parts) == 0 {
		return "the requirements contradict each other"
	}
	for i, p := range parts {
		parts[i] = strings.Replace(p, "The user requested", "you ask for", 1)
	}
	if len(parts) > 4 {
		parts = append(parts[:2:2], parts[len(parts)-2:]...)
	}
	return strings.Join(parts, ", but ")
}

// resolvePackages resolves the plan, a second time when the first came to a
// numpy that one of the packages cannot work with.
func (r *request) resolvePackages(ctx context.Context, j *job) ([]lockedPackage, []string, error) {
	options, err := j.constrained(r.plan)
	if err != nil {
		return nil, nil, err
	}
	packages, err := r.resolveAnyway(ctx, j, r.plan.Requirements, options)
	if err != nil {
		return nil, nil, err
	}
	because, needed := needsNumpy1(r.plan.Requirements, packages)
	if !needed {
		return packages, nil, nil
	}
	r.progress(sluice.StepResolving, "numpy<2")
	packages, err = r.resolveAnyway(ctx, j, append(slices.Clip(r.plan.Requirements), "numpy<2"), options)
	return packages, []string{numpyNotice(because)}, err
}

// explain turns a tool's failure into a cause.
func (r *request) explain(ctx context.Context, j *job, key string, err error) error {
	var failed *toolError
	if !errors.As(err, &failed) || ctx.Err() != nil {
		return err
	}
	f := understand(failed.lines)
	if f.ask {
		asking, cancel := context.WithTimeout(ctx, askIndexFor)
		defer cancel()
		f = r.askIndex(asking, j, f)
	}
	c := &sluice.Cause{Code: f.code, Evidence: append(lastLines(failed.lines, 12), "the whole log: "+r.b.logPath(key))}
	switch f.code {
	case sluice.CauseDiskFull:
		return r.b.fullDisk("the environment")
	case sluice.CauseDiskFailed:
		return sluice.DiskFailed(disk.Refusal("the environment", r.b.dir, diskErrno(f.why)), failed)
	case sluice.CauseIndex:
		at := firstOf(r.settings.redact(f.requirement), r.settings.index, "as configured by default")
		c.Message = fmt.Sprintf("the package index %s cannot be used: %s", at, f.why)
		c.Hint = indexHint(r.plan.Options)
	case sluice.CauseNoWheel:
		c.Message, c.Hint = f.why, r.wheelHint(f)
		if r.wantedHasWheel(f) {
			c.Code = sluice.CausePythonMissing
			c.Message = fmt.Sprintf("Python %s is not installed, and %s, the nearest, will not do: %s", r.plan.Python, r.python.Version.Series(), f.why)
		}
	case sluice.CauseUnresolvable:
		c.Message = "the packages cannot be resolved: " + f.why
		c.Hint = loosenHint(f.why)
		if f.requirement != "" {
			c.Hint = "correct the name or the version of " + f.requirement
		}
	default:
		c.Message = fmt.Sprintf("making the environment failed (%s): %s", r.b.backend.name(), firstOf(f.why, lastWord(failed.lines), failed.err.Error()))
		c.Hint = "see the log: " + r.b.logPath(key)
	}
	r.b.logger.Warn("environment failed", "code", string(c.Code), "message", c.Message, "log", r.b.logPath(key))
	return c
}

// askIndexFor bounds how long the index is asked about a failure.
const askIndexFor = 45 * time.Second

// wheelSeries are the Pythons that the index is asked about.
var wheelSeries = []Version{{3, 8, 0}, {3, 9, 0}, {3, 10, 0}, {3, 11, 0}, {3, 12, 0}, {3, 13, 0}, {3, 14, 0}}

// askIndex finds out whether another Python has a wheel for what was not
// found, or why there is none.
func (r *request) askIndex(ctx context.Context, j *job, f finding) finding {
	here := r.python.Version
	series := slices.Clone(wheelSeries)
	slices.SortStableFunc(series, func(a, b Version) int { return distance(a, here) - distance(b, here) })
	if p, ok := r.b.backend.(pip); ok {
		versions, refused := p.diagnose(ctx, j, f.requirement, r.plan.Options)
		if known, ok := f.diagnosed(versions, refused, ctx.Err() == nil); ok {
			return known
		}
	}
	series = slices.DeleteFunc(series, func(v Version) bool { return v.Series() == here.Series() })
	if v, ok := r.b.backend.elsewhere(ctx, j, f.requirement, series, r.plan.Options); ok {
		return finding{code: sluice.CauseNoWheel, requirement: v.Series(),
			why: fmt.Sprintf("%s has no wheel for Python %s; for Python %s there is one", f.requirement, here.Series(), v.Series())}
	}
	if ctx.Err() == nil {
		f.code, f.why = sluice.CauseNoWheel, fmt.Sprintf("%s has no wheel for Python %s nor for any other: the index has it only as source, or for another system", f.requirement, here.Series())
		f.requirement = ""
	} else if f.why == "" {
		f.why = fmt.Sprintf("%s has no wheel for Python %s", f.requirement, here.Series())
	}
	return f
}

// diagnosed says what the index's answer makes of a finding, by the versions
// that it has of the package, and whether that is all there is to know. One that
// was not waited for to its end says nothing.
func (f finding) diagnosed(versions []string, refused string, complete bool) (finding, bool) {
	switch {
	case !complete:
		return f, true
	case refused != "":
		return finding{code: sluice.CauseIndex, why: strings.ToLower(refused)}, true
	case len(versions) == 0:
		f.why = "the package index has no package " + requirementName(f.requirement)
		return f, true
	case !slices.ContainsFunc(versions, func(v string) bool { return isVersion(v, exactVersion(f.requirement)) }):
		f.why = fmt.Sprintf("the package index has no version %s (the last it has are %s)", f.requirement, strings.Join(versions[max(0, len(versions)-5):], ", "))
		return f, true
	}
	return f, false
}

// wheelHint says how to get the Python that a package has a wheel for, which
// the finding holds as its requirement.
func (r *request) wheelHint(f finding) string {
	pin, ok := f.python()
	if !ok {
		return "choose another version of it" + r.sourceHint()
	}
	change := fmt.Sprintf("set python=%s in the conda file", f.requirement)
	if r.wantedHasWheel(f) {
		change = "deploy again" // the spec asks for it already
	}
	for _, i := range r.installed {
		if i.Version.Series() == f.requirement {
			return change + ", which is installed"
		}
	}
	return fmt.Sprintf("%s, then %s", installCommand(pin.wanted()), change)
}

// sourceHint says what would have a package built from source.
func (r *request) sourceHint() string {
	var missing []string
	if !r.plan.SourceBuilds {
		missing = append(missing, fmt.Sprintf("tags: {%s: allow} in the environment", sluice.TagSourceBuilds))
	}
	if !r.b.sourceBuilds {
		missing = append(missing, "python: {source_builds: true} in the server's sluice.yml")
	}
	why := canConfine()
	switch {
	case why != nil && r.plan.SourceBuilds:
		return ": it cannot be built from source here, because " + why.Error()
	case why != nil || len(missing) == 0:
		return ""
	}
	return ", or have it built from source: write " + strings.Join(missing, " and ")
}

// lastLines gives the last lines that say something.
func lastLines(lines []string, n int) []string {
	var out []string
	for _, l := range slices.Backward(lines) {
		if strings.TrimSpace(l) != "" {
			out = append(out, shortenLine(l))
		}
		if len(out) == n {
			break
		}
	}
	slices.Reverse(out)
	return out
}

func shortenLine(l string) string {
	const most = 400
	if len(l) > most {
		return strings.ToValidUTF8(l[:most], "") + "…"
	}
	return l
}

// lastWord gives the line that most likely says what went wrong.
func lastWord(lines []string) string {
	for _, l := range slices.Backward(lines) {
		for _, start := range []string{"ERROR: ", "error: "} {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(l), start); ok {
				return shortenLine(rest)
			}
		}
	}
	if last := lastLines(lines, 1); len(last) > 0 {
		return strings.TrimSpace(last[0])
	}
	return ""
}

// isDiskFull reports whether err says that the disk or a quota is full.
func isDiskFull(err error) bool {
	if disk.IsFull(err) {
		return true
	}
	var failed *toolError
	return errors.As(err, &failed) && slices.ContainsFunc(failed.lines, diskFullLine.MatchString)
}

// diskCause gives err, or the cause when it says that the disk refuses to write.
func (b *Builder) diskCause(err error) error {
	if c := (*sluice.Cause)(nil); errors.As(err, &c) {
		return err
	}
	if isDiskFull(err) {
		return b.fullDisk("the environment")
	}
	if failed := (*toolError)(nil); errors.As(err, &failed) {
		if i := slices.IndexFunc(failed.lines, diskLine.MatchString); i >= 0 {
			return sluice.DiskFailed(disk.Refusal("the environment", b.dir, diskErrno(failed.lines[i])), err)
		}
	}
	return disk.Explain("the environment", b.dir, err)
}

// diskErrno gives the error of the system that a line of a tool tells of.
func diskErrno(line string) error {
	if readOnlyLine.MatchString(line) {
		return syscall.EROFS
	}
	return syscall.EIO
}

func (b *Builder) fullDisk(what string) error {
	return sluice.DiskFull(disk.Sentence(what, b.dir), syscall.ENOSPC)
}
