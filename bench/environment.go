package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sluice-ml/sluice/environment"
)

// environmentRounds is how often each side builds the demo's environment from
// nothing; the medians count.
const environmentRounds = 5

// demoPackages are what the demo's conda file asks for, as uv wants it.
var demoPackages = []string{"numpy==1.26.4.*", "scikit-learn==1.5.2.*", "joblib==1.4.2.*"}

// warmLookups is how often an environment that is there is asked for.
const warmLookups = 101

// environmentRows gives the time to make the demo's environment with nothing
// cached, beside uv doing it alone with its own two commands, in turn; and the
// time to find it when it is there.
func environmentRows(ctx context.Context, _ string) ([]row, error) {
	uv, err := findUV()
	if err != nil {
		return nil, err
	}
	conda, err := os.ReadFile("examples/iris/conda.yml")
	if err != nil {
		return nil, err
	}
	spec := environment.Spec{CondaFile: string(conda), Image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest", Imports: []string{"joblib", "numpy"}}
	dir, err := os.MkdirTemp("", "sluice-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ours := &environmentSide{dir: filepath.Join(dir, "ours"), uv: uv, spec: spec}
	var us, alone []float64
	python := ""
	for n := range environmentRounds + 1 { // the first finds Pythons and fills the index's caches
		took, env, err := ours.build(ctx, n)
		if err != nil {
			return nil, err
		}
		python = env.Python
		peer, err := uvAlone(ctx, uv, python, filepath.Join(dir, fmt.Sprint("uv-", n)))
		if err != nil {
			return nil, err
		}
		progress("environment: %s, uv alone %s", took, peer)
		if n > 0 {
			us, alone = append(us, took.Seconds()), append(alone, peer.Seconds())
		}
	}
	warm, err := ours.warm(ctx)
	if err != nil {
		return nil, err
	}
	return []row{
		{"cold environment of the demo (peer: uv alone; bar: ratio 1.2)", median(us), median(alone), "s"},
		{"the same environment, found again", warm, 0, "ms"},
	}, nil
}

func findUV() (string, error) {
	path, err := exec.LookPath("uv")
	if err != nil {
		return "", fmt.Errorf("uv is the peer and must be on PATH: %w", err)
	}
	return filepath.Abs(path)
}

// environmentSide builds with Sluice's builder and an empty cache of uv's.
type environmentSide struct {
	dir, uv string
	spec    environment.Spec
}

func (s *environmentSide) open(n int) (*environment.Builder, error) {
	home := filepath.Join(s.dir, fmt.Sprint(n))
	return environment.Open(environment.Config{Dir: filepath.Join(home, "environments"), UV: s.uv,
		Environ: append(os.Environ(), "UV_CACHE_DIR="+filepath.Join(home, "cache"))})
}

// build makes the environment in a new place. The Pythons of the machine are
// known, as they are to a server that has been running for a second.
func (s *environmentSide) build(ctx context.Context, n int) (time.Duration, environment.Env, error) {
	b, err := s.open(n)
	if err != nil {
		return 0, environment.Env{}, err
	}
	defer b.Close()
	if _, err := b.Prepare(ctx, environment.Spec{}, nil); err != nil {
		return 0, environment.Env{}, err
	}
	began := time.Now()
	env, err := b.Prepare(ctx, s.spec, nil)
	return time.Since(began), env, err
}

// warm gives the median time to find the environment, in milliseconds.
func (s *environmentSide) warm(ctx context.Context) (float64, error) {
	b, err := s.open(0)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	var times []float64
	for range warmLookups {
		began := time.Now()
		env, err := b.Prepare(ctx, s.spec, nil)
		if err != nil {
			return 0, err
		}
		if !env.Reused {
			return 0, fmt.Errorf("the environment was not found again")
		}
		times = append(times, time.Since(began).Seconds()*1000)
	}
	return median(times), nil
}

// uvAlone makes the same environment with uv's own commands.
func uvAlone(ctx context.Context, uv, python, dir string) (time.Duration, error) {
	base, err := filepath.EvalSymlinks(python)
	if err != nil {
		return 0, err
	}
	venv := filepath.Join(dir, "venv")
	began := time.Now()
	for _, args := range [][]string{
		{"venv", "--python", base, venv},
		append([]string{"pip", "install", "--python", filepath.Join(venv, "bin", "python")}, demoPackages...),
	} {
		cmd := exec.CommandContext(ctx, uv, args...)
		cmd.Env = append(os.Environ(), "UV_CACHE_DIR="+filepath.Join(dir, "cache"), "UV_NO_PROGRESS=1", "UV_PYTHON_DOWNLOADS=never")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("uv %s: %w\n%s", args[0], err, out)
		}
	}
	return time.Since(began), nil
}
