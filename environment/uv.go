package environment

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sluice-ml/sluice"
)

// uv is the backend of a machine that has it.
type uv struct{ path string }

func (uv) name() string { return "uv" }

func (u uv) resolve(ctx context.Context, j *job, requirements, options []string) ([]lockedPackage, error) {
	out := filepath.Join(j.work, "lock.txt")
	if err := u.compile(ctx, j, requirements, options, "--generate-hashes", "--python", j.python.Path, "--output-file", out); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("reading uv's lock: %w", err)
	}
	return parseLock(string(text))
}

// compile runs uv's resolver over requirements.
func (u uv) compile(ctx context.Context, j *job, requirements, options []string, args ...string) error {
	lines, flags := uvOptions(options)
	in, err := j.write("requirements.in", lines, requirements)
	if err != nil {
		return err
	}
	args = append([]string{"pip", "compile", in, "--no-header", "--no-annotate", "--only-binary", ":all:"}, args...)
	quiet := *j
	quiet.mute = true // the lock, once more
	return quiet.run(ctx, j.settings.uv, u.line(j, sluice.StepResolving), u.path, append(args, flags...)...)
}

// uvOptions sorts options of a requirements file into those that uv reads
// there too, and those that it wants as flags.
func uvOptions(options []string) (lines, flags []string) {
	for _, o := range options {
		name, value, _ := strings.Cut(o, " ")
		switch name {
		case "--pre":
			flags = append(flags, "--prerelease", "allow")
		case "--trusted-host":
			flags = append(flags, "--allow-insecure-host", value)
		default:
			lines = append(lines, o)
		}
	}
	return lines, flags
}

func (u uv) install(ctx context.Context, j *job, dir string, packages []lockedPackage, lockFile string, options []string) error {
	if err := j.run(ctx, j.settings.uv, nil, u.path, "venv", "--no-project", "--python", j.python.Path, dir); err != nil {
		return err
	}
	if len(packages) == 0 {
		return nil
	}
	lines, flags := uvOptions(options)
	in, err := j.write("install.in", lines, []string{"-r " + lockFile})
	if err != nil {
		return err
	}
	args := []string{"pip", "sync", in, "--python", envPython(dir), "--require-hashes", "--only-binary", ":all:"}
	for i := 0; i < len(flags); i++ {
		if flags[i] == "--prerelease" { // every version is exact by now
			i++
			continue
		}
		args = append(args, flags[i])
	}
	return j.run(ctx, j.settings.uv, u.line(j, sluice.StepDownloading), u.path, args...)
}

func (u uv) elsewhere(ctx context.Context, j *job, requirement string, pythons []Version, options []string) (Version, bool) {
	for _, v := range pythons {
		if u.compile(ctx, j, []string{requirement}, options, "--no-deps", "--python", j.python.Path, "--python-version", v.Series()) == nil {
			return v, true
		}
	}
	return Version{}, false
}

func (u uv) settings(ctx context.Context, j *job) (string, error) {
	in, err := j.write("nothing.in")
	if err != nil {
		return "", err
	}
	out := filepath.Join(j.work, "settings.txt")
	quiet := *j
	quiet.mute = true
	if err := quiet.run(ctx, j.settings.uv, nil, u.path, "pip", "compile", in, "--no-header", "--emit-index-url", "--python", j.python.Path, "--output-file", out); err != nil {
		return "", err
	}
	text, err := os.ReadFile(out)
	return string(text), err
}

var (
	uvDownloading = regexp.MustCompile(`^\s*Downloading (\S+)(?: \(([^)]+)\))?`)
	uvDownloaded  = regexp.MustCompile(`^\s*Downloaded (\S+)`)
)

// line turns what uv says into progress. It downloads several packages at once
// and names those of some size, when it begins and when it has them.
func (uv) line(j *job, step string) func(string) {
	d := &downloads{size: map[string]int64{}}
	return func(line string) {
		if m := uvDownloading.FindStringSubmatch(line); m != nil {
			d.began(m[1], m[2])
			j.progress(sluice.StepDownloading, d.String())
		} else if m := uvDownloaded.FindStringSubmatch(line); m != nil {
			d.ended(m[1])
			j.progress(sluice.StepDownloading, d.String())
		} else if strings.HasPrefix(line, "Resolved ") && step == sluice.StepResolving {
			j.progress(step, strings.ToLower(line[:1])+line[1:])
		} else if strings.HasPrefix(line, "Prepared ") {
			j.progress(sluice.StepBuilding, "installing")
		}
	}
}
