package artifact

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestMatchGlob(t *testing.T) {
	for _, c := range []struct {
		glob, name string
		want       bool
	}{
		{"*.py", "a.py", true}, {"*.py", "a.pyc", false}, {"*", "", true}, {"a*b*c", "aXbYc", true}, {"a*b*c", "aXc", false},
		{"?", "x", true}, {"?", "", false}, {"[a-c]x", "bx", true}, {"[!a-c]x", "bx", false}, {"[^a-c]x", "dx", true},
		{"[]]", "]", true}, {"[", "[", false}, {"[a", "a", false}, {`\*`, "*", true}, {`\*`, "x", false}, {`a\`, "a", false},
		{"[[:digit:]]", "7", true}, {"[[:digit:]]", "x", false}, {"[[:nope:]]", "x", false}, {"[a-]", "-", true}, {`[\]]`, "]", true},
	} {
		if got := matchGlob(c.glob, c.name); got != c.want {
			t.Errorf("%q against %q: got %v", c.glob, c.name, got)
		}
	}
}

func TestTrimTrailingSpaces(t *testing.T) {
	for in, want := range map[string]string{"a  ": "a", `a\ `: `a\ `, `a\  `: `a\ `, `a\\ `: `a\\`, "   ": "", "a": "a"} {
		if got := trimTrailingSpaces(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// ignoredDeep answers for a path as the scan does: on the way down, once a
// folder is ignored all below it is.
func ignoredDeep(rules []ignoreRule, path string) bool {
	segments := strings.Split(path, "/")
	g := ignores{{0, rules}}
	for i := 1; i < len(segments); i++ {
		if g.ignored(segments[:i], true) {
			return true
		}
	}
	return g.ignored(segments, false)
}

// TestAsGit compares random rules on random paths with what git says.
func TestAsGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	git := func(stdin string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_DIR=", "HOME="+dir)
		cmd.Env = dropEmptyGitDir(cmd.Env)
		cmd.Stdin = strings.NewReader(stdin)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil && cmd.ProcessState.ExitCode() != 1 { // 1 is "none is ignored"
			t.Fatalf("git %v: %v: %s", args, err, &errs)
		}
		return string(out)
	}
	git("", "init", "-q")
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	// Not among them is "a**/": git takes it for "**/" or "*" by where its
	// buffers happen to lie, and its manual says "*".
	segment := func() string {
		return pick("a", "b", "ab", "a.b", "*", "a*", "*.b", "?", "[ab]", "[!a]", "**", `\a`, "[[:alpha:]]b", "*a*")
	}
	for range 200 {
		var text strings.Builder
		for range 1 + r.IntN(4) {
			text.WriteString(pick("", "", "", "!") + pick("", "", "/") + segment())
			for range r.IntN(3) {
				text.WriteString("/" + segment())
			}
			text.WriteString(pick("", "", "/", " ", "\r") + "\n")
		}
		var paths []string
		for range 30 {
			p := pick("a", "b", "ab", "a.b", "ba", "c")
			for range r.IntN(4) {
				p += "/" + pick("a", "b", "ab", "a.b", "c.b", "bab")
			}
			paths = append(paths, p)
		}
		if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		ignored := map[string]bool{}
		for p := range strings.SplitSeq(git(strings.Join(paths, "\n")+"\n", "check-ignore", "--no-index", "--stdin"), "\n") {
			ignored[p] = true
		}
		rules := parseIgnore(text.String())
		for _, p := range paths {
			if got := ignoredDeep(rules, p); got != ignored[p] {
				t.Fatalf("rules\n%s\npath %s: got %v, git says %v", text.String(), p, got, ignored[p])
			}
		}
	}
}

// dropEmptyGitDir removes GIT_DIR, which a hook that runs the tests would set.
func dropEmptyGitDir(env []string) []string {
	var kept []string
	for _, e := range env {
		if !strings.HasPrefix(e, "GIT_DIR=") && !strings.HasPrefix(e, "GIT_WORK_TREE=") && !strings.HasPrefix(e, "GIT_INDEX_FILE=") {
			kept = append(kept, e)
		}
	}
	return kept
}

func FuzzIgnore(f *testing.F) {
	for _, rules := range []string{"*.py", "!a/**/b/", `[[:alpha:]-z]\`, "a\\ ", "**/**/**", strings.Repeat("*a", 50), "[]-a]"} {
		f.Add(rules, "a/b/c.py")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		rules := parseIgnore(text)
		if path == "" {
			return
		}
		deep := ignoredDeep(rules, path)
		// A rule for everything, last, decides for every path.
		if !ignoredDeep(append(rules, parseIgnore("*")...), path) {
			t.Errorf("* does not match %q", path)
		}
		if deep && len(rules) == 0 && !strings.Contains(path, ".git") && !strings.Contains(path, "__pycache__") &&
			!strings.Contains(path, ".ipynb_checkpoints") && !strings.Contains(path, ".DS_Store") {
			t.Errorf("%q is ignored by no rule", path)
		}
	})
}
