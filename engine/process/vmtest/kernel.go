package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func findQEMU(t testing.TB) string {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		absent(t, "QEMU is not here: install the package qemu-system-x86")
	}
	return qemu
}

// absent skips a test, but not where everything has to be there.
func absent(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// findKernel gives the kernel, which is fetched once and kept. It comes as a
// package of Debian's, is checked by apt, and is not installed.
func findKernel(t testing.TB) string {
	t.Helper()
	cache := cacheDir(t)
	kernel := filepath.Join(cache, "vmlinuz")
	if _, err := os.Stat(kernel); err == nil {
		return kernel
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		absent(t, "the kernel for emulated machines is a package of Debian's, and there is no apt-get here")
	}
	dir, err := os.MkdirTemp(cache, ".fetch-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := fetchKernel(dir, kernel); err != nil {
		if out, err := exec.Command("apt-get", "update", "-qq").CombinedOutput(); err != nil {
			absent(t, "apt-get update: "+err.Error()+"\n"+string(out))
		}
		if err := fetchKernel(dir, kernel); err != nil {
			absent(t, err.Error())
		}
	}
	return kernel
}

func cacheDir(t testing.TB) string {
	t.Helper()
	cache := os.Getenv("SLUICE_TEST_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(user, "sluice-test")
	}
	dir := filepath.Join(cache, "vm")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fetchKernel puts the kernel in place at once: two may do so together.
func fetchKernel(dir, to string) error {
	image, err := imagePackage()
	if err != nil {
		return err
	}
	if _, err := command(dir, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", image); err != nil {
		return err
	}
	archive, err := only(filepath.Join(dir, "linux-image-*.deb"))
	if err != nil {
		return err
	}
	if _, err := command(dir, "dpkg-deb", "-x", archive, "unpacked"); err != nil {
		return err
	}
	kernel, err := only(filepath.Join(dir, "unpacked/boot/vmlinuz-*"))
	if err != nil {
		return err
	}
	return os.Rename(kernel, to)
}

// imagePackage asks which package the one that is always the newest stands for.
func imagePackage() (string, error) {
	const newest = "linux-image-cloud-amd64"
	out, err := command("", "apt-cache", "depends", newest)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok && strings.HasPrefix(name, "linux-image-") {
			return name, nil
		}
	}
	return "", fmt.Errorf("the package %s stands for none", newest)
}

func only(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("looking for %s: found %q", pattern, found)
	}
	return found[0], nil
}

func command(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
