//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// mlflowVersion is the MLflow whose models the scripts serve.
const mlflowVersion = "3.17.2"

// provideMLflow gives a script a Python with MLflow, as PYTHON, and the wheels
// that its models ask for, as WHEELS; both are made once and kept.
func provideMLflow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: mlflow")
	}
	dir, err := mlflowFolder()
	ts.Check(err)
	ts.Setenv("PYTHON", filepath.Join(dir, "venv", "bin", "python"))
	ts.Setenv("WHEELS", filepath.Join(dir, "wheels"))
}

func mlflowFolder() (string, error) {
	cache := os.Getenv("SLUICE_TEST_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(user, "sluice-test")
	}
	dir := filepath.Join(cache, "mlflow-index-"+mlflowVersion)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	ready := filepath.Join(dir, ".ready")
	if _, err := os.Stat(ready); err == nil {
		return dir, nil
	}
	python, err := exec.LookPath("python3.11") // what the environment of green.yml asks for
	if err != nil {
		return "", errors.New("install python3.11: the models of the tests are saved with it")
	}
	wheels, packages := filepath.Join(dir, "wheels"), []string{"mlflow-skinny==" + mlflowVersion, "pandas", "scikit-learn", "skops"}
	for _, args := range [][]string{
		{python, "-m", "venv", "--clear", filepath.Join(dir, "venv")},
		append([]string{filepath.Join(dir, "venv", "bin", "pip"), "download", "--quiet", "--only-binary", ":all:", "--dest", wheels}, packages...),
		append([]string{filepath.Join(dir, "venv", "bin", "pip"), "install", "--quiet", "--no-index", "--find-links", wheels}, packages...),
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", args, err, out)
		}
	}
	return dir, os.WriteFile(ready, nil, 0o600)
}
