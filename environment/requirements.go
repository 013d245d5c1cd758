package environment

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// buildTools are never runtime dependencies. pip itself is not installed.
var buildTools = map[string]bool{"pip": true, "wheel": true}

var (
	requirementForm = regexp.MustCompile(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[A-Za-z0-9._,\s-]*\])?\s*(.*)$`)
	// specifierForm is what may follow a name: versions, a marker, digests.
	specifierForm = regexp.MustCompile(`^\(?\s*(?:(?:===\s*[^\s,;)]+|(?:==|~=|!=|<=|>=|<|>)\s*v?(?:\d+!)?\d[A-Za-z0-9._+-]*\*?)\s*,?\s*)*\)?\s*(?:;[^#]*?)?\s*(?:--hash[= ]\s*\S+\s*)*$`)
	separators    = regexp.MustCompile(`[-_.]+`)
	inlineComment = regexp.MustCompile(`(^|\s+)#.*$`)
	envReference  = regexp.MustCompile(`\$\{[A-Z0-9_]+\}`)
)

// normalName gives a package's name as the index compares it.
func normalName(name string) string {
	return separators.ReplaceAllString(strings.ToLower(name), "-")
}

// requirementName gives the normalised name of a requirement, "" when the line
// names none.
func requirementName(line string) string {
	m := requirementForm.FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	return normalName(m[1])
}

// requirementLines takes the text of a requirements file into the plan.
func (p *planner) requirementLines(text, where string) {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", " ")
	for line := range strings.SplitSeq(text, "\n") {
		p.requirement(line, where, 0)
	}
}

// constraintLines takes constraints into the plan: requirements, read by the
// same rules.
func (p *planner) constraintLines(lines []string) {
	q := &planner{keepPlatform: true}
	q.requirementLines(strings.Join(lines, "\n"), "constraints")
	p.plan.Constraints = q.plan.Requirements
	p.refusals = append(p.refusals, q.refusals...)
}

// requirement takes one line of pip's into the plan.
func (p *planner) requirement(line, where string, at int) {
	line = strings.TrimSpace(inlineComment.ReplaceAllString(line, ""))
	switch {
	case line == "":
		return
	case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		p.refuse(sluice.CodeInvalid, at, shorten(line), "the line in %s holds control characters", where)
		return
	case envReference.MatchString(line):
		p.refuse(sluice.CodeNotBuilt, at, envReference.FindString(line), "variables are not replaced in %s", where)
		return
	case strings.HasPrefix(line, "-"):
		p.option(line, where, at)
		return
	}
	m := requirementForm.FindStringSubmatch(line)
	if m == nil || strings.HasPrefix(m[3], "/") || strings.HasPrefix(m[3], `\`) || strings.HasPrefix(m[3], ":") || strings.HasPrefix(m[3], "+") {
		p.refusePath(line, where, at)
		return
	}
	if url, direct := strings.CutPrefix(m[3], "@"); direct && !p.directURL(line, strings.TrimSpace(url), at) {
		return
	}
	name := normalName(m[1])
	switch {
	case !strings.HasPrefix(m[3], "@") && !specifierForm.MatchString(m[3]):
		p.refuse(sluice.CodeInvalid, at, shorten(line), "the version in %s cannot be read", where)
		return
	case buildTools[name]:
		return
	case brings[name] != nil && !p.keepPlatform:
		p.left = append(p.left, name)
		return
	}
	p.plan.Requirements = append(p.plan.Requirements, line)
}

// refusePath refuses a line that names no package of an index.
func (p *planner) refusePath(line, where string, at int) {
	switch {
	case strings.HasPrefix(line, "git+") || strings.HasPrefix(line, "hg+") || strings.HasPrefix(line, "svn+") || strings.HasPrefix(line, "bzr+"):
		p.refuse(sluice.CodeNotBuilt, at, shorten(redactURL(line)), "only packages of an index are built from source; give a version that is on one")
	case strings.HasPrefix(line, ".") || strings.HasPrefix(line, "/") || strings.HasPrefix(line, "file:") || strings.Contains(line, `\`) || strings.Contains(line, "/"):
		p.refuse(sluice.CodeNotBuilt, at, shorten(redactURL(line)), "%s cannot name a file or a folder; put the package into the code folder, or on an index", where)
	default:
		p.refuse(sluice.CodeInvalid, at, shorten(line), "the line in %s is not a requirement of pip", where)
	}
}

// directURL checks the address of "name @ address".
func (p *planner) directURL(line, address string, at int) bool {
	address, _, _ = strings.Cut(address, ";")
	u, err := url.Parse(strings.TrimSpace(address))
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		p.refusePath("file:"+address, "pip", at)
	case u.User != nil:
		p.refuse(sluice.CodeInvalid, at, shorten(redactURL(line)), "an address in a requirement cannot hold a password, which would be kept with the deployment; use ~/.netrc on the server")
	case !strings.HasSuffix(u.Path, ".whl"):
		p.refuse(sluice.CodeNotBuilt, at, shorten(line), "only packages of an index are built from source; give the address of a wheel (.whl)")
	default:
		return true
	}
	return false
}

// pipOptions are the options of a requirements file that say where to look,
// by every spelling, with their long form; the value says what follows.
var pipOptions = map[string]struct {
	long string
	arg  string // "url", "host" or "" for none
}{
	"-i": {"--index-url", "url"}, "--index-url": {"--index-url", "url"},
	"--extra-index-url": {"--extra-index-url", "url"},
	"-f":                {"--find-links", "url"}, "--find-links": {"--find-links", "url"},
	"--trusted-host": {"--trusted-host", "host"},
	"--no-index":     {"--no-index", ""},
	"--pre":          {"--pre", ""},
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9.-]+(:\d+)?$`)

// option takes an option of a requirements file into the plan, or refuses it.
func (p *planner) option(line, where string, at int) {
	name, value, _ := strings.Cut(line, " ")
	if n, v, ok := strings.Cut(name, "="); ok {
		name, value = n, v
	}
	value = strings.Trim(strings.TrimSpace(value), `"'`)
	opt, known := pipOptions[name]
	if !known && len(name) > 2 && name[1] != '-' { // -ihttps://…
		if opt, known = pipOptions[name[:2]]; known {
			value = name[2:]
			name = name[:2]
		}
	}
	if !known {
		p.refuseOption(name, where, at)
		return
	}
	switch opt.arg {
	case "":
		if value != "" {
			p.refuse(sluice.CodeInvalid, at, name, "it takes no value in %s", where)
			return
		}
		p.plan.Options = append(p.plan.Options, opt.long)
		return
	case "url":
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsAny(value, " \t") {
			p.refuse(sluice.CodeInvalid, at, name, "it needs an https address in %s", where)
			return
		}
	case "host":
		if !hostForm.MatchString(value) {
			p.refuse(sluice.CodeInvalid, at, name, "it needs a host name in %s", where)
			return
		}
	}
	p.plan.Options = append(p.plan.Options, opt.long+" "+value)
}

func (p *planner) refuseOption(name, where string, at int) {
	switch name {
	case "--prefer-binary", "--require-hashes", "--only-binary":
		return // what is done anyway
	case "-r", "--requirement", "-c", "--constraint":
		p.refuse(sluice.CodeNotBuilt, at, name, "%s cannot name another file; write its lines here", where)
	case "-e", "--editable", "--no-binary", "--no-build-isolation", "--global-option", "--config-settings", "--config-setting":
		p.refuse(sluice.CodeNotBuilt, at, name, "what has no wheel is built from source where %s: allow is among the environment's tags; nothing else is", sluice.TagSourceBuilds)
	default:
		p.refuse(sluice.CodeNotBuilt, at, shorten(name), "the option is not one that %s may give", where)
	}
}

// shorten keeps what a stranger wrote readable in a message, and its passwords
// to himself.
func shorten(s string) string {
	const most = 100
	s = redactURL(s)
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
