package environment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// pip is the backend of a machine without uv: the module venv, and whichever
// pip is installed, run with the Python it is to work for. Nothing needs to be
// installed into an environment to build it.
type pip struct{}

func (pip) name() string { return "pip" }

// runner gives the script that runs pip for the job's Python.
func (pip) runner(j *job) (string, error) {
	if runner, ok := choosePip(j.python, j.all); ok {
		return runner, nil
	}
	j.builder.pythons.forget(j.python.Path)
	return "", &sluice.Cause{
		Code:    sluice.CauseBuildFailed,
		Message: fmt.Sprintf("neither uv nor a pip of version 23 or later for Python %s is installed on the server", j.python.Version.Series()),
		Hint:    fmt.Sprintf("pip install uv, or %s -m ensurepip && %s -m pip install --upgrade pip", j.python.Path, j.python.Path),
	}
}

// bare makes a virtual environment without packages.
func (pip) bare(ctx context.Context, j *job, dir string) error {
	return j.run(ctx, j.settings.pip, nil, j.python.Path, "-I", "-m", "venv", "--without-pip", dir)
}

// resolve downloads what the plan comes to, which is how pip resolves anyway,
// and keeps the wheels for the build that follows.
func (p pip) resolve(ctx context.Context, j *job, requirements, options []string) ([]lockedPackage, error) {
	runner, err := p.runner(j)
	if err != nil {
		return nil, err
	}
	in, err := j.write("requirements.in", options, requirements)
	if err != nil {
		return nil, err
	}
	wheels := filepath.Join(j.work, wheelsFolder)
	if err := os.RemoveAll(wheels); err != nil { // of an earlier resolution of this job
		return nil, fmt.Errorf("clearing the wheels: %w", err)
	}
	err = j.run(ctx, j.settings.pip, p.line(j, sluice.StepResolving), j.python.Path, "-I", runner, "download", "--only-binary", ":all:",
		"--progress-bar", "off", "--dest", wheels, "-r", in)
	if err != nil {
		return nil, err
	}
	return lockWheels(ctx, wheels, requirements)
}

// lockWheels gives the packages whose wheels lie in dir, with the digests of
// what was downloaded.
func lockWheels(ctx context.Context, dir string, requirements []string) ([]lockedPackage, error) {
	direct := map[string]string{}
	for _, r := range requirements {
		if _, address, ok := strings.Cut(r, "@"); ok {
			address, _, _ = strings.Cut(address, ";")
			address, _, _ = strings.Cut(address, "#")
			direct[requirementName(r)] = strings.TrimSpace(address)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading what pip downloaded: %w", err)
	}
	var packages []lockedPackage
	for _, e := range entries {
		m := wheelName.FindStringSubmatch(e.Name())
		if m == nil {
			return nil, fmt.Errorf("reading what pip downloaded: %s is not a wheel", e.Name())
		}
		digest, err := fileDigest(ctx, filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading what pip downloaded: %w", err)
		}
		l := lockedPackage{name: normalName(m[1]), version: m[2], hashes: []string{digest}}
		if address := direct[l.name]; address != "" {
			l.version, l.url = "", address
		}
		packages = append(packages, l)
	}
	return packages, nil
}

func fileDigest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), context.Cause(ctx)
}

func (p pip) install(ctx context.Context, j *job, dir string, packages []lockedPackage, lockFile string, options []string) error {
	if err := p.bare(ctx, j, dir); err != nil {
		return err
	}
	if len(packages) == 0 {
		return nil
	}
	runner, err := p.runner(j)
	if err != nil {
		return err
	}
	args := []string{"-I", runner, "install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile", "--progress-bar", "off"}
	var in string
	wheels := j.wheels(packages)
	if wheels != "" {
		args = append(args, "--no-index", "--find-links", wheels)
		// pip looks for wheels in a folder by name; one with an address would
		// be fetched again.
		if in, err = j.write("install.in", localLock(packages)); err != nil {
			return err
		}
	} else {
		options = slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "--pre" })
		if in, err = j.write("install.in", options, []string{"-r " + lockFile}); err != nil {
			return err
		}
	}
	err = j.run(ctx, j.settings.pip, p.line(j, sluice.StepDownloading), envPython(dir), append(args, "-r", in)...)
	if err != nil && wheels != "" && ctx.Err() == nil {
		// The wheels that were kept will not do, after a crash perhaps: once
		// more, from the index.
		if err := errors.Join(os.RemoveAll(wheels), removeEnv(dir)); err != nil {
			return fmt.Errorf("clearing the wheels: %w", err)
		}
		return p.install(ctx, j, dir, packages, lockFile, options)
	}
	return err
}

// localLock gives the lock's lines for installing from a folder.
func localLock(packages []lockedPackage) []string {
	var lines []string
	for _, p := range packages {
		line := p.name
		if p.version != "" {
			line += "==" + p.version
		}
		for _, h := range p.hashes {
			line += " --hash=" + h
		}
		lines = append(lines, line)
	}
	return lines
}

func (p pip) elsewhere(ctx context.Context, j *job, requirement string, pythons []Version, options []string) (Version, bool) {
	files := p.files(ctx, j, requirement, options)
	for _, v := range pythons {
		for _, f := range files {
			if isVersion(f.version, exactVersion(requirement)) && f.fits(v, j.python.Platform) {
				return v, true
			}
		}
	}
	return Version{}, false
}

// files asks the index for all it has of a package. What pip lists as
// versions counts source as well, so its verbose output is what is read.
func (p pip) files(ctx context.Context, j *job, requirement string, options []string) []indexFile {
	name := requirementName(requirement)
	if known, ok := j.files[name]; ok {
		return known
	}
	runner, err := p.runner(j)
	if err != nil || name == "" {
		return nil
	}
	args := []string{"-I", runner, "index", "versions", name, "-vv"}
	for _, o := range options {
		flag, value, ok := strings.Cut(o, " ")
		switch {
		case !ok:
			args = append(args, flag)
		case !strings.Contains(value, "@"): // no password onto a command line
			args = append(args, flag, value)
		}
	}
	var found []indexFile
	// It fails when nothing fits; what it has said until then counts.
	_ = j.run(ctx, j.settings.pip, func(line string) {
		if f, ok := readIndexFile(line); ok && len(found) < maxIndexFiles {
			found = append(found, f)
		}
	}, j.python.Path, args...)
	j.files = map[string][]indexFile{name: found}
	return found
}

// diagnose asks why nothing was found for a requirement: pip says only that.
// It gives the versions there are for any Python and of any kind, and what the
// index answered when it could not be asked.
func (p pip) diagnose(ctx context.Context, j *job, requirement string, options []string) (versions []string, refused string) {
	for _, f := range p.files(ctx, j, requirement, options) {
		if !slices.Contains(versions, f.version) {
			versions = append(versions, f.version)
		}
	}
	for _, line := range j.log.lines {
		if m := pipNotFetched.FindStringSubmatch(line); m != nil && !strings.Contains(m[2], "404") {
			refused = m[2]
		}
	}
	return versions, refused
}

func (p pip) settings(ctx context.Context, j *job) (string, error) {
	runner, err := p.runner(j)
	if err != nil {
		return "", err
	}
	var said strings.Builder
	err = j.run(ctx, j.settings.pip, func(line string) { said.WriteString(strings.TrimSpace(line) + "\n") }, j.python.Path, "-I", runner, "download", "--help")
	return said.String(), err
}

var (
	pipCollecting  = regexp.MustCompile(`^Collecting (\S+)`)
	pipDownloading = regexp.MustCompile(`^\s+(?:Downloading|Using cached) (?:\S*/)?([A-Za-z0-9_.]+)-([^-\s/]+)-\S+\.whl(\.metadata)?(?: \(([^)]+)\))?`)
)

// line turns what pip says into progress.
func (pip) line(j *job, step string) func(string) {
	return func(line string) {
		if m := pipCollecting.FindStringSubmatch(line); m != nil {
			j.progress(step, m[1])
		} else if m := pipDownloading.FindStringSubmatch(line); m != nil && m[3] == "" {
			j.progress(sluice.StepDownloading, strings.TrimSpace(m[1]+" "+m[2]+" "+m[4]))
		} else if strings.HasPrefix(line, "Installing collected packages") {
			j.progress(sluice.StepBuilding, "installing")
		}
	}
}
