package environment

import (
	"regexp"
	"slices"
	"strings"
)

// indexHint names the settings that say which index is asked: those of the spec
// go before those of the machine.
func indexHint(options []string) string {
	for _, name := range []string{"--index-url", "--extra-index-url"} {
		if slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, name+" ") }) {
			return "check " + name + " in the conda file, and HTTPS_PROXY and SSL_CERT_FILE in the server's environment"
		}
	}
	return "check index-url, proxy and certificates in pip.conf, or PIP_INDEX_URL, HTTPS_PROXY and SSL_CERT_FILE in the server's environment"
}

var askedFor = regexp.MustCompile(`\byou (?:ask for|require) ([A-Za-z0-9][\w.\[\]-]*\s*[=<>!~][^\s,]+)`)

// loosenHint names, of a conflict, the versions that are the user's own to
// loosen.
func loosenHint(why string) string {
	var own []string
	for _, m := range askedFor.FindAllStringSubmatch(why, -1) {
		if !slices.Contains(own, m[1]) {
			own = append(own, m[1])
		}
	}
	if len(own) == 0 {
		return "loosen one of the versions named"
	}
	return "loosen " + strings.Join(own, " or ")
}

// python gives, of a package that has no wheel for this Python, the one that it
// has one for, which the finding holds as its requirement.
func (f finding) python() (Pin, bool) {
	pin, err := parsePin(f.requirement)
	return pin, f.requirement != "" && err == nil && len(pin.clauses) > 0
}

// wantedHasWheel reports whether the Python that the spec asks for, and that
// another stands in for, is the one that has the wheel.
func (r *request) wantedHasWheel(f finding) bool {
	pin, ok := f.python()
	asked, _ := r.plan.Python.anyPatch()
	return ok && r.substitute && asked.text != "" && asked.Accepts(pin.wanted())
}
