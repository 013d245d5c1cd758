package environment

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

// The outputs are as the tools write them.
func TestUnderstand(t *testing.T) {
	for name, c := range map[string]struct {
		output string
		want   finding
	}{
		"pip conflict": {`Collecting scipy>=1.6.0 (from scikit-learn==1.5.2->-r conflict.in (line 1))
ERROR: Cannot install -r conflict.in (line 1) and joblib==1.0.0 because these package versions have conflicting dependencies.

The conflict is caused by:
    The user requested joblib==1.0.0
    scikit-learn 1.5.2 depends on joblib>=1.2.0

To fix this you could try to:
1. loosen the range of package versions you've specified
ERROR: ResolutionImpossible: for help visit https://pip.example/`,
			finding{code: sluice.CauseUnresolvable, why: "you ask for joblib==1.0.0, but scikit-learn 1.5.2 depends on joblib>=1.2.0"}},
		"uv conflict": {`error: No solution found when resolving dependencies
  cause: Because scikit-learn==1.5.2 depends on joblib>=1.2.0 and you require scikit-learn==1.5.2, we can conclude that you require joblib>=1.2.0.
         And because you require joblib==1.0.0, we can conclude that your requirements are unsatisfiable.`,
			finding{code: sluice.CauseUnresolvable, why: "scikit-learn==1.5.2 depends on joblib>=1.2.0 and you require scikit-learn==1.5.2, but you require joblib==1.0.0"}},
		"uv of before": {`  × No solution found when resolving dependencies:
  ╰─▶ Because there is no version of joblib==99.1 and you require joblib==99.1,
      we can conclude that your requirements are unsatisfiable.`,
			finding{code: sluice.CauseUnresolvable, requirement: "joblib==99.1", why: "the package index has no version joblib==99.1"}},
		"pip nothing": {`ERROR: Could not find a version that satisfies the requirement numpy==1.26.4 (from versions: 2.1.0, 2.1.1)
ERROR: No matching distribution found for numpy==1.26.4`,
			finding{code: sluice.CauseUnresolvable, requirement: "numpy==1.26.4", why: "nothing was found for numpy==1.26.4", ask: true}},
		"uv no wheels": {`error: No solution found when resolving dependencies
  cause: Because numpy==1.26.4 has no usable wheels and you require numpy==1.26.4, we can conclude that your requirements are unsatisfiable.`,
			finding{code: sluice.CauseNoWheel, requirement: "numpy==1.26.4", ask: true}},
		"uv no package": {`  cause: Because nope was not found in the package registry and you require nope, we can conclude that your requirements are unsatisfiable.`,
			finding{code: sluice.CauseUnresolvable, requirement: "nope", why: "the package index has no package nope"}},
		"pip refused": {`WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<x>: Failed to establish a new connection: [Errno 111] Connection refused')': /simple/requests/
ERROR: No matching distribution found for requests==2.31`,
			finding{code: sluice.CauseIndex, why: "connection refused"}},
		"uv refused": {`error: Request failed after 1 retry in 1.2s
  cause: Failed to fetch: http://127.0.0.1:9/simple/requests/
  cause: tcp connect error
  cause: Connection refused (os error 111)`,
			finding{code: sluice.CauseIndex, requirement: "http://127.0.0.1:9/simple/requests/", why: "connection refused"}},
		"uv 401": {`  cause: Because requests was not found in the package registry and you require requests==2.31, we can conclude that your requirements are unsatisfiable.

hint: An index URL (http://127.0.0.1:8901/simple) could not be queried due to a lack of valid authentication credentials (401 Unauthorized)`,
			finding{code: sluice.CauseIndex, requirement: "http://127.0.0.1:8901/simple", why: "401 unauthorized"}},
		"certificate": {`WARNING: Retrying after connection broken by 'SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate'))'`,
			finding{code: sluice.CauseIndex, why: "sslerror"}},
		"readonly": {"OSError: [Errno 30] Read-only file system: '/x'", finding{code: sluice.CauseDiskFailed, why: "OSError: [Errno 30] Read-only file system: '/x'"}},
		"broken":   {"error: Failed to write: Input/output error (os error 5)", finding{code: sluice.CauseDiskFailed, why: "error: Failed to write: Input/output error (os error 5)"}},
		"disk":     {"ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", finding{code: sluice.CauseDiskFull}},
		"digest":   {"ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", finding{code: sluice.CauseBuildFailed, why: "what the index serves is not what was locked"}},
		"anything": {"Segmentation fault", finding{code: sluice.CauseBuildFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			got := understand(strings.Split(c.output, "\n"))
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(finding{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLockComesBack(t *testing.T) {
	packages := []lockedPackage{
		{name: "numpy", version: "1.26.4", hashes: []string{"sha256:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("b", 64)}},
		{name: "direct", url: "https://example.com/direct-1-py3-none-any.whl", hashes: []string{"sha256:" + strings.Repeat("c", 64)}},
	}
	text := renderLock(Version{3, 11, 7}, "linux-x86_64", packages)
	got, err := parseLock(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(packages, got, cmp.AllowUnexported(lockedPackage{})); diff != "" {
		t.Error(diff)
	}
	if renderLock(Version{3, 11, 7}, "linux-x86_64", got) != text {
		t.Error("the lock changes when it is written again")
	}
	for _, bad := range []string{"numpy==1", "numpy>=1 --hash=sha256:" + strings.Repeat("a", 64), "./x"} {
		if _, err := parseLock(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestIndexFiles(t *testing.T) {
	const at = "https://files.example/packages/a2/"
	for _, c := range []struct {
		line   string
		python Version
		fits   bool
	}{
		{"  Found link " + at + "numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl#sha256=00 (from x) (requires-python:>=3.9), version: 1.26.4", Version{3, 11, 0}, true},
		{"  Skipping link: none of the wheel's tags (cp39-cp39-win32) are compatible (run pip debug --verbose to show compatible tags): " + at + "numpy-1.26.4-cp39-cp39-win32.whl#sha256=00 (from x)", Version{3, 9, 0}, false},
		{"  Skipping link: none of the wheel's tags (x) are compatible: " + at + "numpy-1.26.4-cp39-cp39-musllinux_1_1_x86_64.whl", Version{3, 9, 0}, false},
		{"  Skipping link: none of the wheel's tags (x) are compatible: " + at + "numpy-1.26.4-cp39-cp39-manylinux2014_aarch64.whl", Version{3, 9, 0}, false},
		{"  Link requires a different Python (3.12.1 not in: '>=3.8,<3.12'): " + at + "numpy-1.26.4-py3-none-any.whl#sha256=00 (from x) (requires-python:>=3.8,<3.12)", Version{3, 12, 0}, false},
		{"  Link requires a different Python (3.12.1 not in: '>=3.8,<3.12'): " + at + "numpy-1.26.4-py3-none-any.whl#sha256=00 (from x) (requires-python:>=3.8,<3.12)", Version{3, 11, 0}, true},
		{"  Found link " + at + "numpy-1.26.4-cp38-abi3-manylinux1_x86_64.whl", Version{3, 13, 0}, true},
		{"  Found link " + at + "numpy-1.26.4-cp39-abi3-manylinux1_x86_64.whl", Version{3, 8, 0}, false},
		{"  Found link " + at + "numpy-1.26.4.tar.gz#sha256=00 (from x)", Version{3, 11, 0}, false},
	} {
		f, ok := readIndexFile(c.line)
		if !ok || f.version != "1.26.4" || f.fits(c.python, "linux-x86_64") != c.fits {
			t.Errorf("%s\nfor %s: got %+v, %v", c.line, c.python, f, ok)
		}
	}
	if _, ok := readIndexFile("Collecting numpy"); ok {
		t.Error("a line without a file gave one")
	}
	for _, c := range []struct {
		v, wanted string
		want      bool
	}{{"1.2.3", "1.2.3", true}, {"1.2.3", "1.2.*", true}, {"1.20", "1.2.*", false}, {"1.2", "1.2.*", true}, {"9", "", true}, {"1.2.3", "1.2", false}} {
		if isVersion(c.v, c.wanted) != c.want {
			t.Errorf("isVersion(%s, %s)", c.v, c.wanted)
		}
	}
}

func TestNeedsNumpy1(t *testing.T) {
	lock := func(pairs ...string) (l []lockedPackage) {
		for i := 0; i < len(pairs); i += 2 {
			l = append(l, lockedPackage{name: pairs[i], version: pairs[i+1]})
		}
		return l
	}
	for _, c := range []struct {
		requirements []string
		packages     []lockedPackage
		want         string
	}{
		{nil, lock("numpy", "2.0.1", "scikit-learn", "1.2.2"), "scikit-learn 1.2.2"},
		{[]string{"numpy"}, lock("numpy", "2.0.1", "pandas", "2.2.1"), "pandas 2.2.1"},
		{[]string{"numpy>=1.2"}, lock("numpy", "2.0.1", "pandas", "2.2.1"), ""},
		{nil, lock("numpy", "1.26.4", "pandas", "1.0"), ""},
		{nil, lock("numpy", "2.0.1", "pandas", "2.2.2", "torch", "2.3.0+cpu"), ""},
		{nil, lock("numpy", "2.0.1", "torch", "2.2.2+cpu"), "torch 2.2.2+cpu"},
	} {
		because, needed := needsNumpy1(c.requirements, c.packages)
		if needed != (c.want != "") || needed && because != c.want {
			t.Errorf("%v %v: got %q, %v", c.requirements, c.packages, because, needed)
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	var got []string
	eachLine(strings.NewReader("a\r\n"+long+"\nb"), func(l string) { got = append(got, l) })
	if got[0] != "a" || got[len(got)-1] != "b" {
		t.Errorf("got %d lines, %.10s … %.10s", len(got), got[0], got[len(got)-1])
	}
	for _, l := range got {
		if len(l) > maxLine {
			t.Errorf("a line of %d bytes", len(l))
		}
	}
	if last := lastLines([]string{"a", "", fmt.Sprint(strings.Repeat("y", 1000)), " "}, 1); len(last) != 1 || len(last[0]) > 500 {
		t.Errorf("got %q", last)
	}
}

// TestProgress reads how far a download is from what uv and pip say.
func TestProgress(t *testing.T) {
	for _, c := range []struct {
		line func(*job, string) func(string)
		says []string
		want []string
	}{
		{uv{}.line, []string{"Resolved 5 packages in 2ms", "Downloading scipy (33.7MiB)", "Downloading numpy (17.4MiB)", " Downloaded numpy", " Downloaded scipy", "Downloading odd", "Prepared 5 packages in 1s"},
			[]string{"0.0 of 33.7 MiB scipy", "0.0 of 51.1 MiB scipy, numpy", "17.4 of 51.1 MiB scipy", "51.1 of 51.1 MiB", "51.1 of 51.1 MiB odd", "installing"}},
		{pip{}.line, []string{"Collecting numpy==1.26.4", "  Downloading https://host/numpy-1.26.4-cp311-cp311-manylinux.whl (18.3 MB)", "  Using cached numpy-1.26.4-cp311-cp311-manylinux.whl.metadata (61 kB)", "Installing collected packages: numpy"},
			[]string{"numpy==1.26.4", "numpy 1.26.4 18.3 MB", "installing"}},
	} {
		var got []string
		line := c.line(&job{progress: func(_, detail string) { got = append(got, detail) }}, sluice.StepDownloading)
		for _, l := range c.says {
			line(l)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
